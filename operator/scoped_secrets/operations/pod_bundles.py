"""What a stored pod holds: from its spec, which cannot change, and from what admission wrote about it; names only."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scoped_secrets import names
from scoped_secrets.core.injection.bundle_entry import bundle_of
from scoped_secrets.core.injection.held_bundles import held_bundles
from scoped_secrets.core.injection.inject import existing_base
from scoped_secrets.core.injection.layout import part_base
from scoped_secrets.core.pod import Container, Pod, parse_pod
from scoped_secrets.errors import DeniedError

__all__ = ["PodBundle", "PodBundles", "read_pod_bundles"]


@dataclass(frozen=True, slots=True)
class PodBundle:
    """One bundle of a pod.

    Attributes:
        name: The bundle.
        definition: The winner at admission, as `namespace/name`; empty when the pod does not tell.
        scope: The winner's scope; empty when the pod does not tell.
        merged: The definitions that it merges.
        allowed_by: The policies and rules that allowed it.
        is_attached: Whether the pod did not ask for it.
    """

    name: str
    definition: str = ""
    scope: str = ""
    merged: tuple[str, ...] = ()
    allowed_by: tuple[str, ...] = ()
    is_attached: bool = False


@dataclass(frozen=True, slots=True)
class PodBundles:
    """What one pod holds.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        phase: Its phase.
        organization: The organization at admission; empty when the pod does not tell, like the next two.
        bundles: The bundles that its spec refers to.
        left_out: The bundles that it runs without, with the reasons.
        variables: The bundle of each variable, by container.
        files: The bundle of each file, by container.
        has_unknown: Whether it also refers to bundle Secrets in a way that does not tell the bundle.
    """

    namespace: str
    name: str
    phase: str
    organization: str
    project: str
    environment: str
    bundles: tuple[PodBundle, ...]
    left_out: Mapping[str, str]
    variables: Mapping[str, Mapping[str, str]]
    files: Mapping[str, Mapping[str, str]]
    has_unknown: bool


def read_pod_bundles(body: Mapping[str, Any]) -> PodBundles | None:
    """Return what a stored pod holds; ``None`` for a pod that no bundle was injected into."""
    try:
        pod = parse_pod(body)
        base = existing_base(pod)
    except DeniedError:
        return None
    held = held_bundles(body["spec"])
    if base is None and not held:
        return None
    report = _report(pod)
    told = {bundle.name: bundle for bundle in _bundles(report)}
    return PodBundles(
        namespace=pod.namespace,
        name=pod.name,
        phase=pod.phase,
        organization=_text(report.get("organization")),
        project=_text(report.get("project")),
        environment=_text(report.get("environment")),
        bundles=tuple(told.get(name, PodBundle(name)) for name in _in_order(held.names, tuple(told))),
        left_out={_text(each.get("name")): _text(each.get("reason")) for each in _objects(report.get("leftOut"))},
        variables={container.name: dict(_variables(container, base)) for container in pod.containers},
        files={container.name: dict(_files(container, pod)) for container in pod.containers},
        has_unknown=held.has_unknown,
    )


def _report(pod: Pod) -> Mapping[str, Any]:
    try:
        report = json.loads(pod.annotations.get(names.RESOLUTION_ANNOTATION, "{}"))
    except (RecursionError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _bundles(report: Mapping[str, Any]) -> Iterator[PodBundle]:
    for each in _objects(report.get("bundles")):
        yield PodBundle(
            name=_text(each.get("name")),
            definition=_text(each.get("definition")),
            scope=_text(each.get("scope")),
            merged=tuple(_text(merged.get("definition")) for merged in _objects(each.get("mergedFrom"))),
            allowed_by=tuple(
                f"{_text(allowed.get('policy'))}, rule {_text(allowed.get('rule'))}"
                for allowed in _objects(each.get("allowedBy"))
            ),
            is_attached=each.get("attached") is True,
        )


def _in_order(held: frozenset[str], told: Sequence[str]) -> list[str]:
    """Return the bundles of the spec in the order of the report: a bundle without an entry is in the report only."""
    return [*told, *sorted(held - set(told))]


def _variables(container: Container, base: str | None) -> Iterator[tuple[str, str]]:
    for variable in container.env:
        if variable.secret is not None and base is not None and part_base(variable.secret) == base:
            bundle = bundle_of(variable.key or "")
            if bundle is not None and not variable.name.startswith(names.HIDDEN_VARIABLE_PREFIX):
                yield variable.name, bundle


def _files(container: Container, pod: Pod) -> Iterator[tuple[str, str]]:
    keys = {
        item.path: item.key for volume in pod.volumes if volume.name == names.VOLUME_NAME for item in volume.items or ()
    }
    for mount in container.mounts:
        key = keys.get(mount.sub_path)
        bundle = None if key is None else bundle_of(key)
        if mount.volume == names.VOLUME_NAME and bundle is not None:
            yield mount.path, bundle


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
