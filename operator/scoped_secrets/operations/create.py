"""Create a ScopedSecret: choose its place, seal its values in this process, and store it."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Any, Final

from scoped_secrets.api.accepted import valid_definition
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import ConflictError, ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.decoding import Decoder
from scoped_secrets.kube.locations import location_of
from scoped_secrets.kube.pipelining import gather
from scoped_secrets.kube.public_key import fetch_certificate
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.operations.admission_warnings import warning_texts
from scoped_secrets.operations.cluster_view import ClusterView, Reach, read_view
from scoped_secrets.operations.effects import Effects, effects_of
from scoped_secrets.operations.place import Place, PlaceRequest, choose_place, object_name
from scoped_secrets.operations.sealing_plan import PlainEntry, SealingTarget, sealed_object
from scoped_secrets.timestamps import rfc3339

__all__ = [
    "NewSecret",
    "Plan",
    "Stored",
    "lacks_final_newline",
    "plan_create",
    "plan_place",
    "sealed_body",
    "store",
    "take_effect",
]

_PEM: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----\r?\n.*-----END [A-Z0-9 ]+-----\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """What a person asks for.

    Attributes:
        secret_name: The name by which jobs reference the bundle.
        place: What is stated about the place.
        object_name: The name of the object; ``None`` for one that follows from bundle and place.
        spec: Further fields of the spec, as in a manifest.
        labels: The labels of the object, which policies select.
        operator_namespace: The operator's own namespace, which publishes the certificate.
    """

    secret_name: str
    place: PlaceRequest
    operator_namespace: str
    object_name: str | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the object goes, and what its values are sealed for.

    Attributes:
        place: The place.
        name: The name of the object.
        certificate: The cluster's certificate.
        view: The definitions of the name and the policies that the person may see.
    """

    place: Place
    name: str
    certificate: SealingCertificate
    view: ClusterView


@dataclass(frozen=True, slots=True)
class Stored:
    """What the API server answered.

    Attributes:
        body: The object.
        warnings: What admission warns of.
    """

    body: Body
    warnings: tuple[str, ...]


async def plan_create(cluster: Cluster, request: NewSecret) -> Plan:
    """Choose the place of a new object, before any value is read.

    Raises:
        ConfigurationError: No namespace fits, or several do.
        DeniedError: The namespace may not define this.
        ConflictError: The object exists.
        ClusterError: A request failed.
    """
    plan = await plan_place(cluster, request)
    if f"{plan.place.namespace}/{plan.name}" in plan.view.bodies:
        raise ConflictError(_exists(plan.place.namespace, plan.name))
    return plan


async def plan_place(cluster: Cluster, request: NewSecret) -> Plan:
    """Choose the place of an object that may exist.

    Raises:
        ConfigurationError: No namespace fits, or several do.
        DeniedError: The namespace may not define this.
        ClusterError: A request failed.
    """
    asked = request.place
    reach = Reach(asked.known, request.secret_name)
    if asked.namespace is not None and asked.organization is not None:
        # What is stated about one namespace stands for the operator's default organization where it has no label.
        reach = replace(reach, organization=asked.organization)
    certificate, view = await gather(fetch_certificate(cluster, request.operator_namespace), read_view(cluster, reach))
    place = choose_place(asked, view.bindings)
    place.slot(request.secret_name)
    name = request.object_name or object_name(request.secret_name, place)
    return Plan(place, name, certificate, view)


def sealed_body(plan: Plan, request: NewSecret, entries: Sequence[PlainEntry]) -> Body:
    """Return the object with every value sealed.

    Raises:
        UserError: A name, a size or a limit is not valid.
    """
    place = plan.place
    target = SealingTarget(
        namespace=place.namespace,
        name=plan.name,
        organization=place.binding.organization,
        project=place.project if place.scope is not Scope.ORGANIZATION else None,
        scope=place.scope,
        environment=place.environment,
    )
    named = {} if request.secret_name == plan.name else {"secretName": request.secret_name}
    body = sealed_object(target, {**named, **request.spec}, entries, plan.certificate)
    if request.labels:
        body["metadata"]["labels"] = dict(request.labels)
    return body


def take_effect(plan: Plan, body: Body, now: datetime) -> Effects:
    """Return what the object does among the definitions that the person may see.

    Raises:
        DeniedError: The namespace may not hold it.
    """
    inventory = plan.view.inventory
    if inventory.binding(plan.place.namespace) is None:
        inventory.put_binding(plan.place.namespace, plan.place.binding, 0.0)
    planned = copy.deepcopy(dict(body))
    # An object that is stored now is younger than all others.
    planned["metadata"].setdefault("creationTimestamp", rfc3339(now))
    # Sealing has checked it.
    definition = valid_definition(planned)
    if definition is None:
        definition, _ = Decoder(plan.place.binding.organization, keep_sealed=False).definition(planned)
    if definition is not None:
        inventory.put_definition(definition, 0.0)
    return effects_of(location_of(body), inventory, now)


async def store(cluster: Cluster, body: Body, *, dry_run: bool = False) -> Stored:
    """Create the object.

    Raises:
        ConflictError: It exists.
        ForbiddenError: The person may not create it, or admission denies it.
        ClusterError: The request failed.
    """
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    try:
        stored, warnings = await cluster.submit("POST", paths.scoped_secrets(namespace), body, dry_run=dry_run)
    except ConflictError as error:
        raise ConflictError(_exists(namespace, name), status=error.status) from None
    except ForbiddenError as error:
        raise ForbiddenError(
            f"ScopedSecret '{namespace}/{name}' is not created: {error}", status=error.status
        ) from None
    return Stored(stored, warning_texts(warnings))


def lacks_final_newline(key: EntryKey, content: bytes) -> str | None:
    """Return a warning about a PEM block without a line break at its end, which OpenSSH and OpenSSL refuse."""
    if _PEM.search(content) is None:
        return None
    remedy = (
        "add the line break to the file"
        if key.kind is EntryKind.FILE
        else "programs that write it to a file must add one; a file (-f) keeps it"
    )
    return f"{key} has a PEM block without a line break at its end, which ssh and openssl refuse; {remedy}"


def _exists(namespace: str, name: str) -> str:
    return (
        f"ScopedSecret '{namespace}/{name}' exists; change its entries with `scoped-secrets set`, or give another name "
        "with --object-name"
    )
