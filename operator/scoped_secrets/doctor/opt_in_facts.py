"""The facts about how pods and workloads opt in, and their parsing from bodies: names, and no value of a variable."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scoped_secrets import names

__all__ = [
    "Marks",
    "OptIn",
    "Overlap",
    "Source",
    "WarningPolicy",
    "decode_marks",
    "decode_opt_in",
    "decode_policy",
    "decode_sources",
    "find_overlap",
    "warning_bindings",
]

_PREFIX: Final = f"{names.GROUP}/"
# A pod of these has the metadata of their template, and the template itself is checked.
_MAKERS: Final = frozenset({"Job", "CronJob", "ReplicaSet", "StatefulSet", "DaemonSet"})
_MAKER_GROUPS: Final = frozenset({"apps", "batch"})


@dataclass(frozen=True, slots=True)
class Marks:
    """The labels and annotations with our prefix in the metadata of an object.

    Attributes:
        inject: The value of the opt-in label; None when there is none.
        labels: The names of all labels with our prefix.
        annotations: The names of all annotations with our prefix.
    """

    inject: str | None = None
    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OptIn:
    """What a pod, or a workload with its pod template, says about the opt-in.

    Attributes:
        place: Kind, namespace and name, such as `Job web/deploy`.
        path: Where the metadata of the pods are in the object.
        pod: The marks of the pod or of the template.
        around: The marks of the workload; None for a pod.
    """

    place: str
    path: str
    pod: Marks
    around: Marks | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A ConfigMap that a container of an injected pod reads with `envFrom`.

    Attributes:
        namespace: The namespace of the pod and of the ConfigMap.
        pod: The name of the pod.
        container: The name of the container.
        config_map: The name of the ConfigMap.
        prefix: What is put before the ConfigMap's keys.
        variables: The variables that the container has from its bundle.
    """

    namespace: str
    pod: str
    container: str
    config_map: str
    prefix: str
    variables: frozenset[str]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Variables that a container has both from a ConfigMap and from its bundle."""

    source: Source
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WarningPolicy:
    """The policy by which the API server warns.

    Attributes:
        name: The name of the policy.
        is_there: Whether the policy exists.
        unbound: The names of the bindings that do not exist, or do not let the policy warn.
    """

    name: str
    is_there: bool
    unbound: tuple[str, ...] = ()


def decode_marks(metadata: Mapping[str, Any] | None) -> Marks:
    """Return what metadata have of ours."""
    labels, annotations = ((metadata or {}).get(field) or {} for field in ("labels", "annotations"))
    inject = labels.get(names.INJECT_LABEL)
    return Marks(None if inject is None else str(inject), _ours(labels), _ours(annotations))


def decode_opt_in(kind: str, body: Mapping[str, Any]) -> OptIn | None:
    """Return what a pod or workload says about the opt-in.

    None when it has nothing of ours, and when another workload made it, whose template says the same.
    """
    metadata = body["metadata"]
    if any(_is_maker(owner) for owner in metadata.get("ownerReferences") or ()):
        return None
    place = f"{kind} {metadata.get('namespace', '')}/{metadata['name']}"
    if kind == "Pod":
        found = OptIn(place, "metadata", decode_marks(metadata))
    elif kind == "CronJob":
        job = body["spec"]["jobTemplate"]
        around = _union(decode_marks(metadata), decode_marks(job.get("metadata")))
        pod = decode_marks(job["spec"]["template"].get("metadata"))
        found = OptIn(place, "spec.jobTemplate.spec.template.metadata", pod, around)
    else:
        pod = decode_marks(body["spec"]["template"].get("metadata"))
        found = OptIn(place, "spec.template.metadata", pod, decode_marks(metadata))
    return None if found.pod == Marks() and found.around in (None, Marks()) else found


def decode_sources(body: Mapping[str, Any]) -> Iterator[Source]:
    """Yield the ConfigMaps that containers of an injected pod read beside variables from their bundle."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    if not any(volume.get("name") == names.VOLUME_NAME for volume in spec.get("volumes") or ()):
        return
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        variables = frozenset(_injected(container.get("env") or ()))
        for each in container.get("envFrom") or ():
            config_map = (each.get("configMapRef") or {}).get("name")
            if variables and config_map:
                yield Source(
                    namespace=metadata["namespace"],
                    pod=metadata["name"],
                    container=container["name"],
                    config_map=config_map,
                    prefix=each.get("prefix") or "",
                    variables=variables,
                )


def find_overlap(source: Source, config_map: Mapping[str, Any] | None) -> Overlap | None:
    """Return the variables that a container has from its bundle and from this ConfigMap; None without any."""
    keys = {f"{source.prefix}{key}" for key in (config_map or {}).get("data") or ()}
    both = tuple(sorted(keys & source.variables))
    return Overlap(source, both) if both else None


def warning_bindings(policy: str) -> tuple[str, str]:
    """Return the names of the bindings of the policy that warns: that of pods, and that of workloads."""
    return policy, f"{policy}-workloads"


def decode_policy(
    name: str, policy: Mapping[str, Any] | None, bindings: Mapping[str, Mapping[str, Any] | None]
) -> WarningPolicy:
    """Return whether the policy is installed and in force; None means that an object does not exist."""
    unbound = tuple(binding for binding, body in bindings.items() if not _warns(name, (body or {}).get("spec") or {}))
    return WarningPolicy(name, is_there=policy is not None, unbound=unbound)


def _warns(policy: str, spec: Mapping[str, Any]) -> bool:
    return spec.get("policyName") == policy and "Warn" in (spec.get("validationActions") or ())


def _ours(given: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(name for name in given if name.startswith(_PREFIX)))


def _union(one: Marks, other: Marks) -> Marks:
    """Return the marks of both; the opt-in of the second wins, because it is nearer to the pods."""
    return Marks(
        other.inject if other.inject is not None else one.inject,
        tuple(sorted({*one.labels, *other.labels})),
        tuple(sorted({*one.annotations, *other.annotations})),
    )


def _is_maker(owner: Mapping[str, Any]) -> bool:
    group = str(owner.get("apiVersion", "")).partition("/")[0]
    return bool(owner.get("controller")) and owner.get("kind") in _MAKERS and group in _MAKER_GROUPS


def _injected(env: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the variables whose value is in a bundle Secret, without the hidden ones."""
    for variable in env:
        secret = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
        name = str(variable.get("name", ""))
        is_ours = str(secret.get("name", "")).startswith(names.BUNDLE_PREFIX)
        if is_ours and not name.startswith(names.HIDDEN_VARIABLE_PREFIX):
            yield name
