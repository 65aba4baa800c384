"""What a decision reads of a pod, without what differs between pods of one kind.

Pods come in series: the replicas of a workload, the runs of a CronJob, the jobs of a CI engine. They differ in names,
owners, generated labels, annotations of other programs, the volume of their token, and in the values of their own
variables. Decisions read none of these, so that all pods of one shape get the same but for the name of the bundle and
the record of their creation (`known_pods.py`).

A pod has a shape only when it has opted in and nothing of it depends on texts that the shape leaves out: it has no
expression, no name of a bundle Secret, and nothing of an earlier injection. The test of `Pod` in test_known_pods.py
fails when decisions read a field that is not considered here.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from scoped_secrets import names
from scoped_secrets.core.injection.exec_limits import texts_bound

__all__ = ["PodShape", "read_shape"]

_MAX_BYTES: Final = 64 * 1024
"""A forged review may be larger, and must not fill the memory with what is kept under its key."""
_MARKS: Final = (names.EXPRESSION_MARK.encode(), names.BUNDLE_PREFIX.encode())
_PREFIX: Final = f"{names.GROUP}/"
_NOT_FIRST: Final = frozenset({names.CLAIMS_ANNOTATION, names.RESOLUTION_ANNOTATION, names.MIRROR_ANNOTATION})
"""Annotations of pods that were injected before, or that may be no subject of injection."""

_CONTAINER_FIELDS: Final = ("initContainers", "containers")
_TOKEN_VOLUME: Final = "kube-api-access-"  # noqa: S105 - the beginning of a volume's name
_TOKEN: Final = b"{TOKEN,"
"""What stands for the beginning of the token's volume and of its mounts; it is no JSON, so that no pod writes it."""


class PodShape(NamedTuple):
    """A pod as far as decisions read it, and what only the pod itself has.

    A named tuple, which takes a fifth of the time of a dataclass to make.
    """

    namespace: str
    key: tuple[Hashable, ...]
    """Equal for pods about which decisions are equal, beside the labels that policies select by."""
    size: int
    """An upper bound of the size of the key in bytes."""
    own_bound: int
    """The largest of the upper bounds of what a container's own texts take (`texts_bound`)."""
    expansions: int
    """The largest number of expansions in a container's command and arguments."""
    name: str
    generate_name: str
    owner_uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def read_shape(body: Mapping[str, Any] | None, namespace: str) -> PodShape | None:
    """Return the shape of a pod; ``None`` when it has none.

    Args:
        body: The pod as JSON.
        namespace: The namespace of the request.
    """
    try:
        return None if body is None or not namespace else _read(body, namespace)
    except (AttributeError, KeyError, TypeError, ValueError):
        # `parse_pod` denies it.
        return None


def _read(body: Mapping[str, Any], namespace: str) -> PodShape | None:
    metadata, spec = body["metadata"], body["spec"]
    labels, annotations = metadata["labels"], metadata.get("annotations")
    has_annotations = annotations is not None
    annotations = annotations if has_annotations else {}
    if labels.get(names.INJECT_LABEL) != names.INJECT_VALUE or not _NOT_FIRST.isdisjoint(annotations):
        return None
    text = to_json(spec)
    if len(text) > _MAX_BYTES or any(mark in text for mark in _MARKS):
        return None
    name, generate_name = metadata.get("name") or "", metadata.get("generateName") or ""
    others = metadata.get("uid") or "", (body.get("status") or {}).get("phase") or ""
    # Only texts can be joined.
    written = "".join((*labels.values(), *annotations.values(), name, generate_name, *others))
    if len(written) > _MAX_BYTES:
        return None
    volumes = spec.get("volumes")
    token = None
    for volume in _list(volumes):
        if volume["name"] == names.VOLUME_NAME:
            return None
        if volume["name"].startswith(_TOKEN_VOLUME):
            token = b'{"name":' + to_json(volume["name"]) + b","
    containers = _Containers(token)
    for field in _CONTAINER_FIELDS:
        for container in _list(spec.get(field)):
            containers.add(field, container)
    key = (
        namespace,
        has_annotations,
        tuple([item for item in annotations.items() if item[0].startswith(_PREFIX)]),
        tuple([item for item in labels.items() if item[0].startswith(_PREFIX)]),
        to_json([spec.get(field) for field in _POD_FIELDS]),
        _without_token(to_json(volumes), token),
        *containers.keys,
    )
    return PodShape(
        namespace,
        key,
        len(text) + len(written),
        containers.own_bound,
        containers.expansions,
        name,
        generate_name,
        _owner_uid(metadata),
        labels,
        annotations,
    )


_POD_FIELDS: Final = (
    "serviceAccountName",
    "securityContext",
    "os",
    "nodeSelector",
    "nodeName",
    "schedulingGates",
    # Decisions only read whether they name a bundle Secret. Equal ones are equally well formed.
    "imagePullSecrets",
    "ephemeralContainers",
)
_FIELDS_OF_CONTAINERS: Final = ("name", "envFrom", "securityContext")


class _Containers:
    """What is read of a pod's containers."""

    __slots__ = ("_token", "expansions", "keys", "own_bound")

    def __init__(self, token: bytes | None) -> None:
        self._token = token
        self.keys: list[Hashable] = []
        self.own_bound = 0
        self.expansions = 0

    def add(self, field: str, container: Mapping[str, Any]) -> None:
        env, command, args = container.get("env"), _list(container.get("command")), _list(container.get("args"))
        variables: list[str | bytes] = []
        values: list[str] = []
        for variable in _list(env):
            name = variable["name"]
            if name == "HOME" or variable.get("valueFrom") is not None:
                whole = to_json(variable)
                variables.append(whole)
                values.append(whole.decode())
            else:
                variables.append(name)
                values.append(name)
                values.append(variable.get("value") or "")
        own, run = "".join(values), "".join((*command, *args))
        self.keys += (
            field,
            env is None,
            tuple(variables),
            to_json([container.get(each) for each in _FIELDS_OF_CONTAINERS]),
            _without_token(to_json(container.get("volumeMounts")), self._token),
        )
        if "$(" in own:
            # The size of one variable follows from the texts of others. A digest, so that no value is kept.
            self.keys.append(hashlib.sha256(to_json([values, command, args])).digest())
            return
        bound = texts_bound(len(own) + len(run), len(values) + len(command) + len(args))
        self.own_bound = max(self.own_bound, bound)
        self.expansions = max(self.expansions, run.count("$("))


def _without_token(text: bytes, token: bytes | None) -> bytes:
    """Return JSON in which the volume of the token, whose name is generated, and its mounts have no name."""
    return text if token is None else text.replace(token, _TOKEN)


def _owner_uid(metadata: Mapping[str, Any]) -> str:
    return next(
        ("".join((owner["uid"],)) for owner in _list(metadata.get("ownerReferences")) if owner.get("controller")), ""
    )


def _list(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if type(value) is not list:
        raise TypeError
    return value
