"""Parses Kubernetes bodies, of the cluster and of the shipped manifests, into facts."""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scoped_secrets import names
from scoped_secrets.crypto.certificates import bundle_end
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.doctor.facts import Crd, Hook, Hooks, Lease, NamespaceLabels, Published, Readiness, Workload
from scoped_secrets.doctor.opt_in_facts import decode_marks
from scoped_secrets.timestamps import parse_timestamp

__all__ = [
    "decode_base64",
    "decode_crd",
    "decode_hooks",
    "decode_labels",
    "decode_lease",
    "decode_published",
    "decode_readiness",
    "decode_workload",
]


def decode_crd(name: str, body: Mapping[str, Any], shipped: Mapping[str, Any]) -> Crd:
    """Return a CustomResourceDefinition of the cluster, compared with the shipped one."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    is_established = any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)
    stored = {each["name"]: each.get("schema") for each in body["spec"]["versions"]}
    expected = {each["name"]: each.get("schema") for each in shipped["spec"]["versions"]}
    is_ours = all(stored.get(version) == schema for version, schema in expected.items())
    return Crd(name, is_there=True, is_established=is_established, is_ours=is_ours)


def decode_workload(body: Mapping[str, Any]) -> Workload:
    """Return a Deployment of the operator."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    template = spec["template"]["spec"]
    container = template["containers"][0]
    wanted = int(spec.get("replicas", 1))
    is_rolled_out = (
        status.get("observedGeneration") == metadata.get("generation") and status.get("updatedReplicas", 0) == wanted
    )
    return Workload(
        component=(metadata.get("labels") or {}).get("app.kubernetes.io/component", ""),
        name=metadata["name"],
        wanted=wanted,
        ready=int(status.get("readyReplicas") or 0),
        is_rolled_out=is_rolled_out,
        image=str(container.get("image", "")),
        account=str(template.get("serviceAccountName") or "default"),
        arguments=tuple(str(argument) for argument in container.get("args") or ()),
    )


def decode_hooks(kind: str, name: str, body: Mapping[str, Any] | None) -> Hooks:
    """Return a webhook configuration, of the cluster or of a manifest; None means that it does not exist."""
    return Hooks(kind, name, None if body is None else tuple(_hook(each) for each in body.get("webhooks") or ()))


def _hook(webhook: Mapping[str, Any]) -> Hook:
    config = webhook.get("clientConfig") or {}
    service = config.get("service") or {}
    path = str(service.get("path") or "") or "/" + str(config.get("url") or "").partition("://")[2].partition("/")[2]
    selected = ((webhook.get("objectSelector") or {}).get("matchLabels")) or {}
    bundle = decode_base64(config.get("caBundle"))
    return Hook(
        name=str(webhook.get("name", "")),
        path=path,
        is_strict=webhook.get("failurePolicy") == "Fail",
        is_selective=selected.get(names.INJECT_LABEL) == names.INJECT_VALUE,
        has_bundle=bool(bundle),
        bundle_end=bundle_end(bundle),
    )


def decode_lease(spec: Mapping[str, Any], now: datetime) -> Lease:
    """Return who leads, from the spec of the Lease."""
    renewed = parse_timestamp(spec.get("renewTime"))
    age = (now - renewed).total_seconds() if renewed is not None else float("inf")
    return Lease(str(spec.get("holderIdentity") or ""), age, float(spec.get("leaseDurationSeconds") or 0))


def decode_published(body: Mapping[str, Any] | None) -> Published:
    """Return what the ConfigMap with the sealing certificate holds; None means that it does not exist."""
    if body is None:
        return Published(is_there=False)
    text = (body.get("data") or {}).get(names.CERTIFICATE_FILE)
    try:
        certificate = SealingCertificate.parse(str(text).encode())
    except KeyMaterialError:
        return Published(is_there=True)
    created = certificate.recipients.active.created
    return Published(
        is_there=True, checksum=certificate.checksum, key_created=created, cluster_id=certificate.cluster_id
    )


def decode_labels(metadata: Mapping[str, Any]) -> NamespaceLabels:
    """Return what the metadata of a namespace say about its scope."""
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return NamespaceLabels(
        name=metadata["name"],
        organization=labels.get(names.ORGANIZATION_LABEL),
        project=labels.get(names.PROJECT_LABEL),
        environment=labels.get(names.ENVIRONMENT_LABEL),
        allows_environments=bool(annotations.get(names.ALLOW_ENVIRONMENTS_ANNOTATION)),
        marks=decode_marks(metadata),
    )


def decode_readiness(kind: str, body: Mapping[str, Any], now: datetime) -> Readiness:
    """Return the condition Ready of a ScopedSecret or a SecretPolicy."""
    metadata, status = body["metadata"], body.get("status") or {}
    conditions = {each.get("type"): each for each in status.get("conditions") or ()}
    ready = conditions.get(names.ConditionType.READY) or {}
    observed = ready.get("observedGeneration", status.get("observedGeneration"))
    created = parse_timestamp(metadata.get("creationTimestamp"))
    return Readiness(
        kind=kind,
        location=f"{metadata['namespace']}/{metadata['name']}",
        reason="" if ready.get("status") in (None, "True") else str(ready.get("reason", "")),
        is_observed=bool(ready) and observed == metadata.get("generation"),
        age=0.0 if created is None else (now - created).total_seconds(),
    )


def decode_base64(text: object) -> bytes:
    """Return the bytes of base64 text; no bytes if the text is not valid base64."""
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except (binascii.Error, ValueError):
        return b""
