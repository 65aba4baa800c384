"""Copy a ScopedSecret: by the controller where the person has the right `copy`, else with values that the person gives.

A copy is created with a request, `spec.copyFrom`, which admission grants and the controller fulfils. So the values
never reach this machine. Each step can be repeated: a copy that exists, and is a copy of the same state of the source,
is waited for instead of created.
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.entry import EntryKey, EntryKind, file_entry_name
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.core.scope.trust import Trust
from scoped_secrets.errors import ClusterError, ConflictError, DeniedError
from scoped_secrets.kube import paths
from scoped_secrets.kube.access_reviews import may_copy_oneself
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.names import ConditionType, Reason
from scoped_secrets.operations.create import NewSecret, Plan, plan_place, sealed_body
from scoped_secrets.operations.locate import Located
from scoped_secrets.operations.place import PlaceRequest
from scoped_secrets.operations.sealing_plan import PlainEntry
from scoped_secrets.timestamps import parse_timestamp

__all__ = [
    "ClonePlan",
    "CloneRequest",
    "SealedEntry",
    "body_to_copy",
    "body_with_values",
    "has_same_entries",
    "is_copy_of",
    "place_of",
    "plan_clone",
    "sealed_entries",
    "wait_until_ready",
]

_POLL_SECONDS: Final = 0.3
_KEPT_FIELDS: Final = ("description", "override", "attach", "rotation")
"""The fields of the spec that a copy takes over as they are."""


@dataclass(frozen=True, slots=True)
class CloneRequest:
    """What a person asks for.

    Attributes:
        source: The object to copy.
        secret_name: The name by which jobs reference the copy.
        place: What is stated about its place.
        operator_namespace: The operator's own namespace.
        object_name: The name of the new object; ``None`` for one that follows from bundle and place.
    """

    source: Located
    secret_name: str
    place: PlaceRequest
    operator_namespace: str
    object_name: str | None = None


@dataclass(frozen=True, slots=True)
class ClonePlan:
    """Where a copy goes, and how it is made.

    Attributes:
        source: The object to copy.
        request: The new object, without its entries.
        plan: Its place.
        may_copy: Whether the controller may copy the values for this person.
        existing: The copy, where it was made before; ``None`` when it is to be created.
        left_out: What the copy does not take over, as sentences.
    """

    source: Located
    request: NewSecret
    plan: Plan
    may_copy: bool
    existing: Body | None
    left_out: tuple[str, ...]

    @property
    def location(self) -> str:
        """Return `namespace/name` of the copy."""
        return f"{self.plan.place.namespace}/{self.plan.name}"


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """An entry of the source whose value only the controller can read.

    Attributes:
        key: The entry.
        mode: The mode of a file as octal text; ``None`` for the default.
        env: The variable that holds the path of a file with a path of its own; ``None`` for no such variable.
    """

    key: EntryKey
    mode: str | None
    env: str | None


def place_of(source: Located) -> PlaceRequest:
    """Return the place of a stored object, as a person would state it."""
    spec = source.body["spec"]
    return PlaceRequest(project=spec.get("project"), environment=spec.get("environment"), namespace=source.namespace)


async def plan_clone(cluster: Cluster, request: CloneRequest, now: datetime) -> ClonePlan:
    """Choose the place of a copy, and find out how it can be made.

    Raises:
        ConfigurationError: No namespace fits, or several do.
        DeniedError: The namespace may not define this.
        ConflictError: Another object has the name.
        ClusterError: A request failed.
    """
    source = request.source
    bare = NewSecret(
        secret_name=request.secret_name,
        place=request.place,
        operator_namespace=request.operator_namespace,
        object_name=request.object_name,
    )
    plan = await plan_place(cluster, bare)
    location = f"{plan.place.namespace}/{plan.name}"
    existing = plan.view.bodies.get(location)
    if existing is not None and (location == source.location or not is_copy_of(existing, source)):
        raise ConflictError(
            f"ScopedSecret '{location}' exists, and is no copy of '{source.location}' as it is now; choose another "
            "name, or delete it first"
        )
    spec, left_out = _taken_over(source.body["spec"], plan, now)
    labels = source.body["metadata"].get("labels") or {}
    target = NewSecret(
        secret_name=request.secret_name,
        place=request.place,
        operator_namespace=request.operator_namespace,
        object_name=request.object_name,
        spec=spec,
        labels=labels,
    )
    may_copy = existing is not None or await may_copy_oneself(cluster, source.namespace, source.name)
    return ClonePlan(source, target, plan, may_copy, existing, left_out)


def body_to_copy(planned: ClonePlan) -> Body:
    """Return the new object, whose entries the controller copies."""
    place, source = planned.plan.place, planned.source
    given = {
        "secretName": planned.request.secret_name if planned.request.secret_name != planned.plan.name else None,
        "project": place.project if place.scope is not Scope.ORGANIZATION else None,
        "environment": place.environment,
    }
    metadata: dict[str, Any] = {
        "name": planned.plan.name,
        "namespace": place.namespace,
        "annotations": {names.COPY_OF_ANNOTATION: _state_of(source.body)},
    }
    if planned.request.labels:
        metadata["labels"] = dict(planned.request.labels)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": metadata,
        "spec": {
            "scope": place.scope.value,
            **{name: text for name, text in given.items() if text is not None},
            **planned.request.spec,
            "copyFrom": {"namespace": source.namespace, "name": source.name},
        },
    }


def sealed_entries(source: Located) -> list[SealedEntry]:
    """Return the entries whose values a person has to give without the right `copy`; former values are left out."""
    return [
        SealedEntry(
            key, entry.get("mode"), entry.get("env") if key.kind is EntryKind.FILE and "path" in entry else None
        )
        for key, entry in _entries(source.body["spec"])
        if "sealed" in entry and "previousOf" not in entry
    ]


def body_with_values(planned: ClonePlan, values: Sequence[PlainEntry]) -> Body:
    """Return the new object with the given values, and the other entries of the source as they are.

    Raises:
        UserError: A value, a size or a limit is not valid.
    """
    body = copy.deepcopy(sealed_body(planned.plan, planned.request, values))
    made = dict(_entries(body["spec"]))
    for kind in EntryKind:
        entries = [
            made.get(key, entry)
            for key, entry in _entries(planned.source.body["spec"])
            if key.kind is kind and "previousOf" not in entry
        ]
        if entries:
            body["spec"][kind.spec_list] = entries
    return body


def is_copy_of(body: Body, source: Located) -> bool:
    """Tell whether an object is a copy of the source as it is now, complete or not."""
    return (body["metadata"].get("annotations") or {}).get(names.COPY_OF_ANNOTATION) == _state_of(source.body)


def has_same_entries(body: Body, source: Located) -> bool:
    """Tell whether a copy has every entry of its source, by name."""
    return {key for key, _ in _entries(source.body["spec"])} <= {key for key, _ in _entries(body["spec"])}


async def wait_until_ready(
    cluster: Cluster, namespace: str, name: str, seconds: float, progress: Callable[[], None]
) -> Body:
    """Wait until the controller has completed a copy and its definition is ready, and return it.

    Args:
        cluster: The client.
        namespace: The namespace of the copy.
        name: Its name.
        seconds: How long to wait.
        progress: Called once after a second.

    Raises:
        DeniedError: The copy cannot be made, or cannot be used; the message has the reason and the remedy.
        ClusterError: A request failed, or the time is over.
    """
    began, is_told = time.monotonic(), False
    while True:
        body = await cluster.get(paths.scoped_secrets(namespace, name))
        if body is None:
            raise ClusterError(f"ScopedSecret '{namespace}/{name}' was deleted meanwhile; run the command again")
        ready = _ready(body)
        if ready is not None and ready["status"] == "True":
            return body
        if ready is not None and ready["reason"] != Reason.COPY_PENDING:
            raise DeniedError(Reason(ready["reason"]), f"ScopedSecret '{namespace}/{name}': {ready['message']}")
        waited = time.monotonic() - began
        if waited > seconds:
            raise ClusterError(
                f"the controller has not completed ScopedSecret '{namespace}/{name}' within {seconds:g} seconds; see "
                "`scoped-secrets doctor`, and run the command again to continue"
            )
        if waited > 1 and not is_told:
            progress()
            is_told = True
        time.sleep(_POLL_SECONDS)  # noqa: ASYNC251 - a command has nothing else to do.


def _ready(body: Body) -> Mapping[str, Any] | None:
    """Return the condition Ready of the present generation, ``None`` until the controller has written it."""
    for condition in (body.get("status") or {}).get("conditions") or ():
        if (
            condition["type"] == ConditionType.READY
            and condition.get("observedGeneration") == body["metadata"]["generation"]
        ):
            found: Mapping[str, Any] = condition
            return found
    return None


def _taken_over(spec: Mapping[str, Any], plan: Plan, now: datetime) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields that a copy takes over, and what it does not."""
    taken = {field: spec[field] for field in _KEPT_FIELDS if field in spec}
    left_out: list[str] = []
    if spec.get("final"):
        if plan.place.binding.trust is Trust.HOME:
            taken["final"] = True
        else:
            left_out.append("`final` is left out, because it counts only in the organization's home")
    if "expireTime" in spec:
        moment = parse_timestamp(spec["expireTime"])
        if moment is not None and moment > now:
            taken["expireTime"] = spec["expireTime"]
        else:
            left_out.append("`expireTime` is left out, because it has passed")
    return taken, tuple(left_out)


def _entries(spec: Mapping[str, Any]) -> Iterator[tuple[EntryKey, dict[str, Any]]]:
    for entry in spec.get(EntryKind.ENV.spec_list) or ():
        yield EntryKey(EntryKind.ENV, entry["name"]), entry
    for entry in spec.get(EntryKind.FILE.spec_list) or ():
        yield EntryKey(EntryKind.FILE, file_entry_name(entry.get("path"), entry.get("env"))), entry


def _state_of(body: Body) -> str:
    return f"{body['metadata']['uid']}@{body['metadata']['generation']}"
