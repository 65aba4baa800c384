"""A pod as the core reads it: the fields that decisions and injection need.

The API server has validated the body against its schema. `parse_pod` still denies a body whose fields do not have the
right shape, because an admission review can be forged.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

from scoped_secrets import names
from scoped_secrets.core.admission_record import AdmissionRecord, parse_admission_record
from scoped_secrets.core.unexpanded import unexpanded_texts
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = [
    "Container",
    "EnvFrom",
    "Mount",
    "Pod",
    "SecretItem",
    "SecurityContext",
    "Variable",
    "Volume",
    "VolumeKind",
    "parse_pod",
    "pod_identity",
]

_READ_ONLY_SOURCES = frozenset({"configMap", "downwardAPI", "image", "projected", "secret"})
"""The sources of volumes that no container can write to."""

_POD_SOURCES = frozenset({"csi", "emptyDir", "ephemeral", "gitRepo"})
"""The sources of volumes that end with the pod; `csi` in a pod's own spec is an ephemeral inline volume."""


class Variable(NamedTuple):
    """One entry of a container's ``env``: a literal value, a reference to a key of a Secret, or another source.

    A pod has dozens of them, and a named tuple takes half the time of a dataclass to make.
    """

    name: str
    value: str | None = None
    secret: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        """Return the names, without the value."""
        return f"Variable(name={self.name!r}, secret={self.secret!r}, key={self.key!r})"


@dataclass(frozen=True, slots=True)
class EnvFrom:
    """One entry of a container's ``envFrom``: all keys of a ConfigMap or Secret, with a prefix."""

    kind: str
    name: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Mount:
    """One entry of a container's ``volumeMounts``."""

    volume: str
    path: str
    sub_path: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class SecretItem:
    """One file of a projected Secret."""

    secret: str
    key: str
    path: str
    mode: int | None


class VolumeKind(Enum):
    """What becomes of a mount point that the kubelet makes in a volume for one of our files."""

    READ_ONLY = auto()
    """No mount point can be made: the container would not start."""
    POD = auto()
    """The mount point ends with the pod."""
    PERSISTENT = auto()
    """The mount point stays in the volume as an empty file."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume; ``items`` only for a projected volume made of Secrets with items, as injection makes it."""

    name: str
    items: tuple[SecretItem, ...] | None = None
    source: str = "projected"
    """The field of its source, such as ``configMap``."""
    kind: VolumeKind = VolumeKind.READ_ONLY


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """The user that a process runs as; ``None`` where the pod does not state it."""

    user: int | None = None
    non_root: bool | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """One container or init container."""

    field: str
    """``containers`` or ``initContainers``: where it stands in the spec."""
    index: int
    name: str
    has_env: bool
    env: tuple[Variable, ...]
    env_from: tuple[EnvFrom, ...]
    command: tuple[str, ...] = dataclasses.field(repr=False)
    args: tuple[str, ...] = dataclasses.field(repr=False)
    has_mounts: bool
    mounts: tuple[Mount, ...]
    security: SecurityContext

    @property
    def pointer(self) -> str:
        """Return the JSON pointer of the container."""
        return f"/spec/{self.field}/{self.index}"

    def texts_with(self, mark: str) -> Iterator[tuple[str, str]]:
        """Yield the pointer and the text of every command, argument and value that holds a mark."""
        for field, values in (("command", self.command), ("args", self.args)):
            for index, value in enumerate(values):
                if mark in value:
                    yield f"{self.pointer}/{field}/{index}", value
        for index, variable in enumerate(self.env):
            if variable.value and mark in variable.value:
                yield f"{self.pointer}/env/{index}/value", variable.value


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod, before or after it was stored."""

    namespace: str
    name: str
    generate_name: str
    uid: str
    owner_uid: str
    phase: str
    is_deleting: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = dataclasses.field(repr=False)
    has_annotations: bool
    service_account: str
    containers: tuple[Container, ...]
    has_volumes: bool
    volumes: tuple[Volume, ...]
    fs_group: int | None
    is_windows: bool
    gates: tuple[str, ...]
    """The names of its scheduling gates, in their order."""
    node: str
    """The name of the node that its author, or the scheduler, chose; empty before."""
    unexpanded: tuple[str, ...]
    """The JSON pointers of texts that hold an expression in fields where expressions are not expanded."""
    record: AdmissionRecord = dataclasses.field(default_factory=AdmissionRecord)
    """What admission vouches for; of a stored pod only as its annotation says, which its bundle's name confirms."""

    @property
    def identity(self) -> str:
        """Return what is known of the pod both before and after it has its name: a bundle is bound to it."""
        return pod_identity(self.name, self.generate_name, self.record.text())

    @property
    def is_finished(self) -> bool:
        """Tell whether no container will run any more, so that the bundle has no use."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def wants_injection(self) -> bool:
        """Tell whether the pod opted in."""
        return self.labels.get(names.INJECT_LABEL) == names.INJECT_VALUE

    def flag(self, annotation: str) -> bool:
        """Return the value of an annotation that says yes or no, by default no.

        Raises:
            DeniedError: It has another value.
        """
        text = self.annotations.get(annotation, "false")
        if text not in ("true", "false"):
            raise DeniedError(Reason.INVALID_ANNOTATION, f"annotation {annotation} must be 'true' or 'false'")
        return text == "true"

    @property
    def is_mislabeled(self) -> bool:
        """Tell whether the opt-in label has a value that means neither yes nor no, such as `True`."""
        return self.labels.get(names.INJECT_LABEL, names.NO_INJECT_VALUE) not in (
            names.INJECT_VALUE,
            names.NO_INJECT_VALUE,
        )


def pod_identity(name: str, generate_name: str, record: str) -> str:
    """Return the identity of a pod.

    A given name and one to be generated are told apart: a copy of a pod with `generateName` is another pod. The record
    is part of it: it tells the pods of two users or of two workloads apart.

    Args:
        name: Its name; empty as long as it has none.
        generate_name: The beginning of a name that is generated; empty without one.
        record: The text of its record.
    """
    subject = f"generateName:{generate_name}" if generate_name else f"name:{name}"
    return f"{subject}/{record}"


def parse_pod(body: Mapping[str, Any], namespace: str | None = None) -> Pod:
    """Read a pod's body.

    Args:
        body: The pod as JSON.
        namespace: The namespace of the request, which wins: at admission the body may not have one.

    Raises:
        DeniedError: The body is no pod.
    """
    try:
        return _parse_pod(body, namespace)
    except (AttributeError, KeyError, TypeError, ValueError):
        # The text of the error would repeat the input.
        raise DeniedError(Reason.INVALID_POD, "the object is no pod that the API server would accept") from None


def _parse_pod(body: Mapping[str, Any], namespace: str | None) -> Pod:
    metadata = body["metadata"]
    spec = body["spec"]
    pod_security = spec.get("securityContext")
    security = _security(pod_security or {}, SecurityContext())
    containers = [
        (field, index, container)
        for field in ("initContainers", "containers")
        for index, container in enumerate(_items(spec, field))
    ]
    annotations = metadata.get("annotations")
    annotation_texts = _texts_by_name(annotations)
    volumes = spec.get("volumes")
    return Pod(
        namespace=_text(namespace or metadata["namespace"]),
        name=_text(metadata.get("name") or ""),
        generate_name=_text(metadata.get("generateName") or ""),
        uid=_text(metadata.get("uid") or ""),
        owner_uid=next((_text(o["uid"]) for o in _items(metadata, "ownerReferences") if o.get("controller")), ""),
        phase=_text((body.get("status") or {}).get("phase") or ""),
        is_deleting=metadata.get("deletionTimestamp") is not None,
        labels=_texts_by_name(metadata.get("labels")),
        annotations=annotation_texts,
        has_annotations=annotations is not None,
        service_account=_text(spec.get("serviceAccountName") or "default"),
        containers=tuple(_container(field, index, container, security) for field, index, container in containers),
        has_volumes=volumes is not None,
        volumes=tuple(map(_volume, _items(spec, "volumes"))),
        fs_group=_number((pod_security or {}).get("fsGroup")),
        is_windows=_is_windows(spec),
        gates=tuple(_text(gate["name"]) for gate in _items(spec, "schedulingGates")),
        node=_text(spec.get("nodeName") or ""),
        unexpanded=unexpanded_texts(spec, containers),
        record=parse_admission_record(annotation_texts.get(names.CLAIMS_ANNOTATION)),
    )


def _is_windows(spec: Mapping[str, Any]) -> bool:
    stated = (spec.get("os") or {}).get("name"), (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    return "windows" in stated


def _container(field: str, index: int, body: Mapping[str, Any], inherited: SecurityContext) -> Container:
    return Container(
        field=field,
        index=index,
        name=_text(body["name"]),
        has_env=body.get("env") is not None,
        env=tuple(map(_variable, _items(body, "env"))),
        env_from=tuple(map(_env_from, _items(body, "envFrom"))),
        command=tuple(map(_text, _items(body, "command"))),
        args=tuple(map(_text, _items(body, "args"))),
        has_mounts=body.get("volumeMounts") is not None,
        mounts=tuple(map(_mount, _items(body, "volumeMounts"))),
        security=_security(body.get("securityContext") or {}, inherited),
    )


def _variable(body: Mapping[str, Any]) -> Variable:
    name = _text(body["name"])
    source = body.get("valueFrom")
    if source is None:
        return Variable(name, _text(body.get("value") or ""))
    reference = source.get("secretKeyRef")
    if reference is None:
        return Variable(name)
    return Variable(name, secret=_text(reference.get("name") or ""), key=_text(reference["key"]))


def _env_from(body: Mapping[str, Any]) -> EnvFrom:
    kind, field = ("ConfigMap", "configMapRef") if body.get("configMapRef") else ("Secret", "secretRef")
    return EnvFrom(kind, _text((body.get(field) or {}).get("name") or ""), _text(body.get("prefix") or ""))


def _mount(body: Mapping[str, Any]) -> Mount:
    return Mount(
        volume=_text(body["name"]),
        path=_text(body["mountPath"]),
        sub_path=_text(body.get("subPath") or ""),
        read_only=bool(body.get("readOnly")),
    )


def _volume(body: Mapping[str, Any]) -> Volume:
    name = _text(body["name"])
    projected = body.get("projected")
    if projected is None:
        return _other_volume(name, body)
    items: list[SecretItem] = []
    for source in _items(projected, "sources"):
        secret = source.get("secret")
        if secret is None or secret.get("optional") or not secret.get("items"):
            return Volume(name)
        items += (
            SecretItem(
                _text(secret.get("name") or ""), _text(item["key"]), _text(item["path"]), _number(item.get("mode"))
            )
            for item in _items(secret, "items")
        )
    return Volume(name, tuple(items))


def _other_volume(name: str, body: Mapping[str, Any]) -> Volume:
    # A volume without a source is an emptyDir.
    source = next((field for field, value in body.items() if field != "name" and value is not None), "emptyDir")
    if source in _READ_ONLY_SOURCES or (body.get(source) or {}).get("readOnly"):
        kind = VolumeKind.READ_ONLY
    else:
        kind = VolumeKind.POD if source in _POD_SOURCES else VolumeKind.PERSISTENT
    return Volume(name, source=_text(source), kind=kind)


def _security(body: Mapping[str, Any], inherited: SecurityContext) -> SecurityContext:
    user = _number(body.get("runAsUser"))
    non_root = body.get("runAsNonRoot")
    return SecurityContext(
        user=inherited.user if user is None else user,
        non_root=inherited.non_root if non_root is None else bool(non_root),
    )


def _items(body: Mapping[str, Any], field: str) -> Sequence[Any]:
    value = body.get(field)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise TypeError
    return value


def _texts_by_name(value: Any) -> Mapping[str, str]:
    return {_text(name): _text(text) for name, text in value.items()} if value is not None else {}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> int | None:
    # JSON's true is a number in Python and none in a pod.
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError
    return value
