"""Definitions, policies, pods and inventories for tests, with everything that a test does not care about filled in."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from scoped_secrets import names
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.decide import DecisionSettings, Denied, Granted, decide
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.inventory import Inventory, RejectedDefinition
from scoped_secrets.core.pod import parse_pod
from scoped_secrets.core.policy.label_selector import LabelSelector, Operator, Requirement
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import (
    Attach,
    Definition,
    Entry,
    Override,
    PlainSource,
    SealedSource,
    SlottedDefinition,
    Source,
)
from scoped_secrets.core.scope.binding import bind
from scoped_secrets.core.scope.slot import Scope, Slot

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BASE = f"{names.BUNDLE_PREFIX}abcdefghijklmnop0123"
ORGANIZATION = "acme"


def definition(location: str, **given: Any) -> Definition:
    """Return a definition; ``env`` and ``files`` may be mappings of names to values in plain text.

    A file is named by its path; ``PATH=NAME`` gives it a variable too, and ``=NAME`` a variable alone.
    """
    namespace, name = location.split("/")
    given.setdefault("secret_name", name)
    given["scope"] = Scope(given.get("scope", Scope.ORGANIZATION))
    given["override"] = Override(given.get("override", Override.REPLACE))
    given["attach"] = Attach(given.get("attach", Attach.ON_REFERENCE))
    given.setdefault("uid", f"uid-{namespace}-{name}")
    given.setdefault("generation", 1)
    given.setdefault("created", "2026-01-01T00:00:00Z")
    given["env"] = tuple(_variables(given.get("env", ())))
    given["files"] = tuple(_files(given.get("files", ())))
    given.setdefault("previous_end", tuple(each.previous.until for each in given["env"] if each.previous is not None))
    return Definition(namespace=namespace, name=name, **given)


def plain_text(source: Source) -> str:
    """Return the text of a source that must be plain."""
    assert isinstance(source, PlainSource), source
    return source.data.decode()


def entry_key(kind: str, name: str) -> EntryKey:
    """Return the key of an entry: ``env`` and ``file`` are the kinds, as in sealing contexts."""
    return EntryKey({"env": EntryKind.ENV, "file": EntryKind.FILE}[kind], name)


def sealed(text: str, size: int = 10) -> SealedSource:
    """Return a source that only the controller could open."""
    return SealedSource(text, size)


def policy(location: str, **given: Any) -> Policy:
    """Return a policy as it is read, before the inventory gives it its place."""
    namespace, name = location.split("/")
    given["scopes"] = tuple(map(Scope, given.get("scopes", ())))
    return Policy(namespace=namespace, name=name, organization="", **given)


def selector(**labels: str) -> LabelSelector:
    """Return a selector that asks for these labels."""
    return LabelSelector(tuple(Requirement(key, Operator.IN, (value,)) for key, value in labels.items()))


def scope_labels(
    organization: str | None = None, project: str | None = None, environment: str | None = None
) -> dict[str, str]:
    """Return the labels that give a namespace its scope path."""
    given = {
        names.ORGANIZATION_LABEL: organization,
        names.PROJECT_LABEL: project,
        names.ENVIRONMENT_LABEL: environment,
    }
    return {label: value for label, value in given.items() if value is not None}


def inventory(
    namespaces: Mapping[str, Mapping[str, Mapping[str, str]]],
    definitions: Iterable[Definition] = (),
    policies: Iterable[Policy] = (),
) -> Inventory:
    """Return an inventory of namespaces (their labels and annotations), definitions and policies."""
    built = Inventory()
    for namespace, metadata in namespaces.items():
        binding = bind(namespace, metadata.get("labels", {}), metadata.get("annotations", {}), "default")
        built.put_binding(namespace, binding, 0.0)
    for item in definitions:
        built.put_definition(item, 0.0)
    for each in policies:
        built.put_policy(each)
    return built


def definition_at(snapshot: Inventory, location: str) -> SlottedDefinition | RejectedDefinition:
    """Return a definition that must be in the inventory."""
    found = snapshot.get(location)
    assert found is not None, location
    return found


def slot_at(snapshot: Inventory, location: str) -> Slot:
    """Return the slot of a definition that must have one."""
    found = definition_at(snapshot, location)
    assert isinstance(found, SlottedDefinition), found
    return found.slot


def home_and_project(**annotations: str) -> dict[str, dict[str, dict[str, str]]]:
    """Return the smallest organization: its home ``acme`` and the namespace ``web`` of its project ``web``."""
    return {
        "acme": {"labels": scope_labels(ORGANIZATION)},
        "web": {"labels": scope_labels(ORGANIZATION, "web"), "annotations": annotations},
    }


def container(name: str = "job", **fields: Any) -> dict[str, Any]:
    """Return a container's body."""
    return {"name": name, "image": "busybox", **fields}


def pod_body(
    secrets: str | None = None,
    *,
    namespace: str = "web",
    annotations: Mapping[str, str] | None = None,
    containers: Sequence[Mapping[str, Any]] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a pod that opts in, as a client writes it."""
    given = dict(annotations or {})
    if secrets is not None:
        given[names.SECRETS_ANNOTATION] = secrets
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "job",
            "namespace": namespace,
            "labels": {names.INJECT_LABEL: names.INJECT_VALUE},
            **({"annotations": given} if given else {}),
            **(metadata or {}),
        },
        "spec": {"containers": list(containers or [container()]), **spec},
    }


def decide_about(
    body: Mapping[str, Any], snapshot: ClusterSnapshot, rules: DecisionSettings | None = None
) -> Granted | Denied:
    """Decide about a pod's body now."""
    return decide(parse_pod(body), snapshot, BASE, rules or DecisionSettings(), NOW)


def granted(body: Mapping[str, Any], snapshot: ClusterSnapshot, rules: DecisionSettings | None = None) -> Granted:
    """Decide about a pod that must be granted."""
    decision = decide_about(body, snapshot, rules)
    assert isinstance(decision, Granted), decision
    return decision


def denied(body: Mapping[str, Any], snapshot: ClusterSnapshot, rules: DecisionSettings | None = None) -> Denied:
    """Decide about a pod that must be refused."""
    decision = decide_about(body, snapshot, rules)
    assert isinstance(decision, Denied), decision
    return decision


def _variables(given: Mapping[str, str | Source] | Iterable[Entry]) -> Iterable[Entry]:
    if not isinstance(given, Mapping):
        return given
    return [Entry.variable(name, _source(value)) for name, value in given.items()]


def _files(given: Mapping[str, str | Source | tuple[str, int]] | Iterable[Entry]) -> Iterable[Entry]:
    if not isinstance(given, Mapping):
        return given
    entries = []
    for written, value in given.items():
        text, mode = value if isinstance(value, tuple) else (value, 0o600)
        path, _, env = written.partition("=")
        entries.append(Entry.file(path or None, mode, _source(text), env or None))
    return entries


def _source(value: str | Source) -> Source:
    return PlainSource(value.encode()) if isinstance(value, str) else value
