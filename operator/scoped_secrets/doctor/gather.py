"""Asks the cluster for everything that is judged; what may not be asked for is a fact as well.

With these rules it can ask for all of it, and it goes on without any of them:

    apiextensions.k8s.io          customresourcedefinitions, by the two names              get
    admissionregistration.k8s.io  mutating- and validatingwebhookconfigurations, by name   get
    apps                          deployments, in the operator's namespace                 list
    coordination.k8s.io           leases/scoped-secrets-controller, there                  get
    (core)                        configmaps/scoped-secrets-public-key, there              get (everybody may)
    (core)                        namespaces                                               list
    scopedsecrets.dev             scopedsecrets, secretpolicies                            list
    authorization.k8s.io          subjectaccessreviews                                     create
    (core)                        pods, in the namespace of the dry run                    create

No rule is about Secrets. Creating pods is a power also where it is only used for a dry run.
"""

import asyncio
import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from scoped_secrets import __version__, names
from scoped_secrets.api.crds import crd_documents
from scoped_secrets.clock import utc_now
from scoped_secrets.crypto.certificates import bundle_end
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.doctor.facts import (
    Answer,
    Crd,
    Facts,
    Hook,
    Hooks,
    Injection,
    Lease,
    NamespaceLabels,
    Published,
    Readiness,
    RightAnswer,
    Served,
    ServerVersion,
    Unreadable,
    Workload,
)
from scoped_secrets.doctor.injection import read_answer, trial_pod
from scoped_secrets.doctor.reach import ask_admission, origin_of
from scoped_secrets.doctor.rights import Right, admission_rights, controller_rights
from scoped_secrets.errors import ClusterError, ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.timestamps import parse_timestamp

__all__ = ["gather"]

_T = TypeVar("_T")

_UNAUTHORIZED = 401
_COMPONENTS = "app.kubernetes.io/component in (controller, admission)"
_KEPT_OUT = frozenset({"kube-system", "kube-public", "kube-node-lease"})


async def gather(cluster: Cluster, operator_namespace: str, namespace: str | None) -> Facts:
    """Return all facts.

    Args:
        cluster: The API server.
        operator_namespace: Where the operator is.
        namespace: Where a pod is created as a dry run; by default the first namespace with a project.

    Raises:
        ClusterError: The API server does not answer, or does not know who asks.
    """
    server = await _asked("get on /version", _server(cluster))
    ask = _Asking(cluster, operator_namespace)
    workloads, namespaces = await asyncio.gather(ask.workloads(), ask.namespaces())
    # Flags of the controller tell what is called differently here.
    known = Facts(
        now=utc_now(),
        version=__version__,
        namespace=operator_namespace,
        server=server,
        crds=(),
        workloads=workloads,
        lease=None,
        hooks=(),
        served=None,
        published=Published(is_there=False),
        namespaces=namespaces,
        objects=(),
        rights=(),
        injection=Unreadable(),
    )
    configuration = known.flag("controller", "--webhook-configuration", names.WEBHOOK_CONFIGURATION)
    bodies = await asyncio.gather(*(ask.configuration(kind, configuration) for kind in _CONFIGURATIONS))
    return replace(
        known,
        crds=await ask.crds(),
        lease=await ask.lease(),
        hooks=tuple(_hooks(kind, configuration, body) for kind, body in zip(_CONFIGURATIONS, bodies, strict=True)),
        served=await _served(bodies),
        published=await ask.published(),
        objects=tuple([await ask.objects(kind) for kind in _OBJECTS]),
        rights=await ask.rights(known, configuration),
        injection=await ask.injection(namespace, namespaces),
    )


_CONFIGURATIONS: Mapping[str, Callable[[str], str]] = {
    "MutatingWebhookConfiguration": paths.mutating_webhook_configurations,
    "ValidatingWebhookConfiguration": paths.validating_webhook_configurations,
}
_OBJECTS = {
    names.SCOPED_SECRET_KIND: (names.SCOPED_SECRET_PLURAL, paths.scoped_secrets),
    names.SECRET_POLICY_KIND: (names.SECRET_POLICY_PLURAL, paths.secret_policies),
}


async def _asked(needs: str, question: Awaitable[_T]) -> Answer[_T]:
    """Return an answer, or why there is none.

    Raises:
        ClusterError: Nobody answers, or nobody knows who asks: then nothing else can be asked for either.
    """
    try:
        return await question
    except ForbiddenError as error:
        if error.status == _UNAUTHORIZED:
            raise
        return Unreadable(needs=needs)
    except ClusterError as error:
        if not error.status:
            raise
        return Unreadable(failure=f"the API server answers {error.status}")


async def _server(cluster: Cluster) -> ServerVersion:
    body = await cluster.get("/version") or {}
    major, minor = ("".join(filter(str.isdecimal, str(body.get(part, "")))) for part in ("major", "minor"))
    return ServerVersion(int(major or 0), int(minor or 0))


@dataclass(frozen=True, slots=True)
class _Asking:
    """The questions, each of which may be refused on its own."""

    cluster: Cluster
    namespace: str

    async def crds(self) -> Answer[tuple[Crd, ...]]:
        needs = "get on customresourcedefinitions.apiextensions.k8s.io"
        return await _asked(needs, self._crds())

    async def workloads(self) -> Answer[tuple[Workload, ...]]:
        needs = f"list on deployments.apps in namespace '{self.namespace}'"
        listed = await _asked(
            needs, self.cluster.list_all(paths.deployments(self.namespace), label_selector=_COMPONENTS)
        )
        if isinstance(listed, Unreadable):
            return listed
        workloads = (_workload(body) for body in listed)
        # Others may have a component of that name in the same namespace; ours begin with the command of this program.
        return tuple(each for each in workloads if each.arguments[:1] == (each.component,))

    async def namespaces(self) -> Answer[tuple[NamespaceLabels, ...]]:
        listed = await _asked("list on namespaces", self.cluster.list_all(paths.namespaces()))
        return listed if isinstance(listed, Unreadable) else tuple(_labels(body["metadata"]) for body in listed)

    async def configuration(self, kind: str, name: str) -> Answer[Body | None]:
        needs = f"get on {kind.lower()}s.admissionregistration.k8s.io '{name}'"
        return await _asked(needs, self.cluster.get(_CONFIGURATIONS[kind](name)))

    async def lease(self) -> Answer[Lease | None]:
        needs = f"get on leases.coordination.k8s.io '{names.LEASE_NAME}' in namespace '{self.namespace}'"
        body = await _asked(needs, self.cluster.get(paths.leases(self.namespace, names.LEASE_NAME)))
        return body if body is None or isinstance(body, Unreadable) else _lease(body.get("spec") or {})

    async def published(self) -> Answer[Published]:
        needs = f"get on configmaps '{names.CERTIFICATE_CONFIG_MAP}' in namespace '{self.namespace}'"
        path = paths.config_maps(self.namespace, names.CERTIFICATE_CONFIG_MAP)
        body = await _asked(needs, self.cluster.get(path))
        return body if isinstance(body, Unreadable) else _published(body)

    async def objects(self, kind: str) -> Answer[tuple[Readiness, ...]]:
        plural, path = _OBJECTS[kind]
        listed = await _asked(f"list on {plural}.{names.GROUP}", self.cluster.list_all(path()))
        return listed if isinstance(listed, Unreadable) else tuple(_readiness(kind, body) for body in listed)

    async def rights(self, known: Facts, configuration: str) -> Answer[tuple[RightAnswer, ...]]:
        makes = known.flag("controller", "--certificates", "selfManaged") == "selfManaged"
        writes = makes or bool(known.flag("controller", "--ca-file", ""))
        wanted = {
            "controller": controller_rights(
                self.namespace, configuration, makes_certificates=makes, writes_bundle=writes
            ),
            "admission": admission_rights(),
        }
        usual = {"controller": names.CONTROLLER_ACCOUNT, "admission": names.ADMISSION_ACCOUNT}
        workloads = {component: known.workload(component) for component in usual}
        questions = [
            (usual[component] if workload is None else workload.account, right)
            for component, workload in workloads.items()
            for right in wanted[component]
        ]
        return await _asked("create on subjectaccessreviews.authorization.k8s.io", self._rights(questions))

    async def injection(self, chosen: str | None, known: Answer[tuple[NamespaceLabels, ...]]) -> Answer[Injection]:
        where = chosen or _namespace_for_trial(known, self.namespace)
        pod = trial_pod(f"{names.DISTRIBUTION}-doctor-{secrets.token_hex(4)}")

        async def attempt() -> Answer[Injection]:
            status, body = await self.cluster.dry_run_create(paths.pods(where), pod)
            return read_answer(where, status, body, is_chosen=chosen is not None)

        return await _asked(f"create on pods in namespace '{where}'", attempt())

    async def _crds(self) -> tuple[Crd, ...]:
        found = []
        for document in crd_documents().values():
            name = document["metadata"]["name"]
            body = await self.cluster.get(paths.custom_resource_definitions(name))
            found.append(Crd(name, is_there=False) if body is None else _crd(name, body, document))
        return tuple(found)

    async def _rights(self, questions: Sequence[tuple[str, Right]]) -> tuple[RightAnswer, ...]:
        # The first one alone: whoever may not ask it need not hear so forty times.
        first = await self._right(*questions[0])
        others = await asyncio.gather(*(self._right(*each) for each in questions[1:]), return_exceptions=True)
        # All have ended: none is left behind whose failure nobody hears of.
        return first, *(_result(other) for other in others)

    async def _right(self, account: str, right: Right) -> RightAnswer:
        resource, _, sub_resource = right.resource.partition("/")
        attributes = {
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": sub_resource,
            "name": right.name,
            "namespace": right.namespace,
        }
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated"]
        user = f"system:serviceaccount:{self.namespace}:{account}"
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
        }
        answer = await self.cluster.create(paths.subject_access_reviews(), body)
        return RightAnswer(account, right, bool((answer.get("status") or {}).get("allowed")))


def _result(outcome: _T | BaseException) -> _T:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def _served(bodies: Sequence[Answer[Body | None]]) -> Served | None:
    """Ask the admission server where the first webhook says that it is; ``None`` where nothing says so."""
    for body in bodies:
        if body is None or isinstance(body, Unreadable):
            continue
        for webhook in body.get("webhooks") or ():
            config = webhook.get("clientConfig") or {}
            bundle = _decoded(config.get("caBundle"))
            if bundle:
                return await ask_admission(origin_of(config), bundle)
    return None


def _namespace_for_trial(known: Answer[tuple[NamespaceLabels, ...]], operator_namespace: str) -> str:
    """Return the first namespace with a project; `default` where there is none, whose pods are denied by us."""
    found = () if isinstance(known, Unreadable) else known
    kept_out = _KEPT_OUT | {operator_namespace}
    return next((each.name for each in found if each.project and each.name not in kept_out), "default")


def _crd(name: str, body: Body, ours: Mapping[str, Any]) -> Crd:
    conditions = (body.get("status") or {}).get("conditions") or ()
    is_established = any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)
    stored = {each["name"]: each.get("schema") for each in body["spec"]["versions"]}
    wanted = {each["name"]: each.get("schema") for each in ours["spec"]["versions"]}
    is_ours = all(stored.get(version) == schema for version, schema in wanted.items())
    return Crd(name, is_there=True, is_established=is_established, is_ours=is_ours)


def _workload(body: Body) -> Workload:
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


def _hooks(kind: str, name: str, body: Answer[Body | None]) -> Answer[Hooks]:
    if isinstance(body, Unreadable):
        return body
    return Hooks(kind, name, None if body is None else tuple(_hook(each) for each in body.get("webhooks") or ()))


def _hook(webhook: Mapping[str, Any]) -> Hook:
    config = webhook.get("clientConfig") or {}
    service = config.get("service") or {}
    path = str(service.get("path") or "") or "/" + str(config.get("url") or "").partition("://")[2].partition("/")[2]
    selected = ((webhook.get("objectSelector") or {}).get("matchLabels")) or {}
    bundle = _decoded(config.get("caBundle"))
    return Hook(
        name=str(webhook.get("name", "")),
        path=path,
        is_strict=webhook.get("failurePolicy") == "Fail",
        is_selective=selected.get(names.INJECT_LABEL) == names.INJECT_VALUE,
        has_bundle=bool(bundle),
        bundle_end=bundle_end(bundle),
    )


def _lease(spec: Mapping[str, Any]) -> Lease:
    renewed = parse_timestamp(spec.get("renewTime"))
    age = (utc_now() - renewed).total_seconds() if renewed is not None else float("inf")
    return Lease(str(spec.get("holderIdentity") or ""), age, float(spec.get("leaseDurationSeconds") or 0))


def _published(body: Body | None) -> Published:
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


def _labels(metadata: Mapping[str, Any]) -> NamespaceLabels:
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return NamespaceLabels(
        name=metadata["name"],
        organization=labels.get(names.ORGANIZATION_LABEL),
        project=labels.get(names.PROJECT_LABEL),
        environment=labels.get(names.ENVIRONMENT_LABEL),
        allows_environments=bool(annotations.get(names.ALLOW_ENVIRONMENTS_ANNOTATION)),
    )


def _readiness(kind: str, body: Body) -> Readiness:
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
        age=0.0 if created is None else (utc_now() - created).total_seconds(),
    )


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except (binascii.Error, ValueError):
        return b""
