"""Change single entries of a stored ScopedSecret: nothing else is touched, and a concurrent change is not lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.api.parsing import check_scoped_secret, parse_scoped_secret
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import Scope, Slot, assign_slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.data_keys import NewDataKey
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import (
    ClusterError,
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InvalidObjectError,
)
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.public_key import fetch_certificate
from scoped_secrets.messages import quoted_names
from scoped_secrets.operations.admission_warnings import warning_texts
from scoped_secrets.operations.create import Stored
from scoped_secrets.operations.dry_run import DryRun, manifest_of
from scoped_secrets.operations.locate import Located, locate, slot_of
from scoped_secrets.operations.patching import apply_operations
from scoped_secrets.operations.place import PlaceRequest
from scoped_secrets.operations.sealing_plan import PlainEntry

__all__ = [
    "Change",
    "SealedEntries",
    "SetPlan",
    "change_entries",
    "describe_change",
    "named_entries",
    "plan_set",
    "removal",
    "replacement",
    "require_entries",
    "seal_for",
    "sealed_entries",
]

# Each change of another person is one more version, and so is each status that the controller writes for it.
_ATTEMPTS: Final = 10
_NAMED: Final = 10
_UNPROCESSABLE: Final = 422
_SOURCES: Final = frozenset(
    {"value", "content", "contentBase64", "sealed", "valueFrom", "sensitive", "previousOf", "expireTime"}
)


@dataclass(frozen=True, slots=True)
class Change:
    """A JSON patch of one object, and what it does.

    Attributes:
        operations: The operations, without a precondition.
        changed: The entries that have another value afterwards.
        added: The entries that are new.
    """

    operations: tuple[Mapping[str, Any], ...]
    changed: tuple[EntryKey, ...] = ()
    added: tuple[EntryKey, ...] = ()


@dataclass(frozen=True, slots=True)
class SealedEntries:
    """Entries whose values are sealed under one data key.

    Attributes:
        entries: The entries as they stand in a spec.
        data_keys: Their data key as it stands in a spec; none without entries.
    """

    entries: Mapping[EntryKey, Body]
    data_keys: tuple[Body, ...] = ()


@dataclass(frozen=True, slots=True)
class SetPlan:
    """The object whose entries are set, and what they are sealed for.

    Attributes:
        located: The object.
        slot: Its slot.
        certificate: The cluster's certificate.
    """

    located: Located
    slot: Slot
    certificate: SealingCertificate


async def plan_set(cluster: Cluster, name: str, request: PlaceRequest, operator_namespace: str) -> SetPlan:
    """Find the object before any value is read.

    Args:
        cluster: The client.
        name: The name of the object or of its bundle.
        request: What is stated about its place.
        operator_namespace: The operator's own namespace, which publishes the certificate.

    Raises:
        ConfigurationError: Several objects fit, or the scope of the object is not known.
        ClusterError: No object fits, or a request failed.
    """
    certificate = await fetch_certificate(cluster, operator_namespace)
    located = await locate(cluster, name, request, policies=False)
    slot = slot_of(located.location, located.view.inventory) or _stated_slot(located, request)
    if slot is None:
        raise ConfigurationError(
            f"you may not read the labels of namespace '{located.namespace}', or they do not allow the object; state "
            "--organization, and --project with a project's secret"
        )
    return SetPlan(located, slot, certificate)


def seal_for(plan: SetPlan, entries: Sequence[PlainEntry]) -> SealedEntries:
    """Return entries with their values sealed for the object of a plan; the errors are those of `sealed_entries`."""
    return sealed_entries(plan.located.body, plan.slot, entries, plan.certificate)


def describe_change(change: Change) -> str:
    """Return the words for what a change does."""
    parts = [
        f"{verb} {', '.join(str(key) for key in keys)}"
        for verb, keys in (("changed", change.changed), ("added", change.added))
        if keys
    ]
    return "; ".join(parts)


def named_entries(body: Body, names_of_entries: Sequence[str]) -> list[EntryKey]:
    """Return the entries of an object by their names: variables, paths of files, or `$NAME` of files without a path.

    Raises:
        ConfigurationError: The object has no such entry, or a variable and a file of this name.
    """
    present = list(_positions(body))
    found = []
    for name in dict.fromkeys(names_of_entries):
        fitting = [key for key in present if key.name == name]
        if not fitting:
            listed = quoted_names((key.name for key in present), _NAMED) or "none"
            raise ConfigurationError(f"the secret has no entry '{name}'; it has {listed}")
        if len(fitting) > 1:
            raise ConfigurationError(f"'{name}' is a variable and a file; remove one of them with `kubectl edit`")
        found += fitting
    return found


def sealed_entries(
    body: Body, slot: Slot, entries: Sequence[PlainEntry], certificate: SealingCertificate
) -> SealedEntries:
    """Return entries with their values sealed for a stored object, under a data key of their own.

    Raises:
        InvalidObjectError: A name, a size or a limit is not valid.
        ConfigurationError: The value of a variable is not UTF-8 text.
    """
    metadata = body["metadata"]
    _check(body, entries)
    data_key = NewDataKey()
    sealed: dict[EntryKey, Body] = {}
    data_keys: tuple[Body, ...] = ()
    for entry in entries:
        context = sealing_context(certificate.cluster_id, metadata["namespace"], metadata["name"], slot, entry.key)
        fields = {member: text for member, text in entry.as_written().items() if member not in _SOURCES}
        # Without a fingerprint, whose key never leaves the cluster.
        sealed[entry.key] = {**fields, "sealed": data_key.seal(entry.value, context, None)}
        if not data_keys:
            text = data_key.sealed(context, certificate.recipients.active)
            data_keys = ({"id": str(data_key.data_key_id), "sealed": text},)
    return SealedEntries(sealed, data_keys)


def replacement(body: Body, sealed: SealedEntries) -> Change:
    """Return the change that stores sealed entries: each in the place of the one of its name, or at the end.

    Their data key comes beside those that are there; admission removes those that no entry needs any more.
    """
    operations: list[Mapping[str, Any]] = []
    if sealed.data_keys and "dataKeys" not in body["spec"]:
        operations.append({"op": "add", "path": json_pointer("spec", "dataKeys"), "value": []})
    operations += (
        {"op": "add", "path": json_pointer("spec", "dataKeys", "-"), "value": each} for each in sealed.data_keys
    )
    changed, added = [], []
    present = _positions(body)
    begun = {kind: kind.spec_list in body["spec"] for kind in EntryKind}
    for key, fields in sealed.entries.items():
        index = present.get(key)
        if index is not None:
            stored = body["spec"][key.kind.spec_list][index]
            kept = {member: text for member, text in stored.items() if member not in _SOURCES}
            operations.append(_operation("replace", key.kind, str(index), {**kept, **fields}))
            changed.append(key)
            continue
        if not begun[key.kind]:
            operations.append({"op": "add", "path": json_pointer("spec", key.kind.spec_list), "value": []})
            begun[key.kind] = True
        operations.append(_operation("add", key.kind, "-", fields))
        added.append(key)
    return Change(tuple(operations), tuple(changed), tuple(added))


def removal(body: Body, entries: Sequence[EntryKey]) -> Change:
    """Return the change that removes entries.

    Raises:
        InvalidObjectError: The object does not have one of them.
    """
    require_entries(body, entries)
    present = _positions(body)
    # From the end, so that no index moves.
    ordered = sorted(set(entries), key=lambda key: (key.kind, -present[key]))
    return Change(
        tuple({"op": "remove", "path": json_pointer("spec", key.kind.spec_list, present[key])} for key in ordered),
        tuple(ordered),
    )


def require_entries(body: Body, entries: Sequence[EntryKey]) -> None:
    """Raise InvalidObjectError unless the object has all of these entries."""
    present = _positions(body)
    missing = [key.name for key in entries if key not in present]
    if missing:
        raise InvalidObjectError(f"the object has no entry {quoted_names(missing, _NAMED)} any more")


async def change_entries(
    cluster: Cluster, body: Body, decide: Callable[[Body], Change], *, dry_run: DryRun | None = None
) -> Stored:
    """Store a change of the object as it was read; when it has changed since, read it and decide again.

    Args:
        cluster: The client.
        body: The object.
        decide: Returns the change of an object.
        dry_run: Store nothing: send nothing (client), or have admission check the change (server).

    Raises:
        ConflictError: The object is another one now, or keeps changing.
        ForbiddenError: The person may not change it, or admission denies the change.
        ClusterError: The request failed.
    """
    metadata = body["metadata"]
    location = f"{metadata['namespace']}/{metadata['name']}"
    path = paths.scoped_secrets(metadata["namespace"], metadata["name"])
    if dry_run is DryRun.CLIENT:
        return Stored(manifest_of(apply_operations(body, decide(body).operations)), ())
    current = body
    for _ in range(_ATTEMPTS):
        version = current["metadata"]["resourceVersion"]
        precondition = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
        operations = [precondition, *decide(current).operations]
        try:
            stored, warnings = await cluster.submit("PATCH", path, operations, dry_run=dry_run is not None)
            return Stored(stored, warning_texts(warnings))
        except ForbiddenError as error:
            raise ForbiddenError(f"ScopedSecret '{location}' is not changed: {error}", status=error.status) from None
        except ClusterError as error:
            if error.status != _UNPROCESSABLE and not isinstance(error, ConflictError):
                raise
            refusal = error
        read = await cluster.get(path)
        if read is None or read["metadata"]["uid"] != metadata["uid"]:
            raise ConflictError(f"ScopedSecret '{location}' was deleted just now; nothing is changed")
        if read["metadata"]["resourceVersion"] == version:
            # The object is as it was, so that the change itself is not valid.
            raise ClusterError(f"ScopedSecret '{location}' is not changed: {refusal}", status=refusal.status)
        current = read
    raise ConflictError(f"ScopedSecret '{location}' keeps changing; nothing is changed, try again")


def _stated_slot(located: Located, request: PlaceRequest) -> Slot | None:
    """Return the slot from what a person states, where the labels of the namespace cannot be read."""
    if request.organization is None:
        return None
    spec = located.body["spec"]
    scope = Scope(spec["scope"])
    project = spec.get("project") or request.project
    if scope is not Scope.ORGANIZATION and project is None:
        return None
    # Admission compares what was stated with the labels: a text that is sealed for another place is denied.
    home = Binding(located.namespace, request.organization)
    return assign_slot(home, scope, project, spec.get("environment"), located.secret_name)


def _positions(body: Body) -> dict[EntryKey, int]:
    """Return the index of each entry in its list."""
    return {
        EntryKey(kind, name): index
        for kind in EntryKind
        for index, entry in enumerate(body["spec"].get(kind.spec_list) or ())
        if (name := kind.name_in(entry)) is not None
    }


def _operation(verb: str, kind: EntryKind, index: str, value: Body) -> Mapping[str, Any]:
    return {"op": verb, "path": json_pointer("spec", kind.spec_list, index), "value": value}


def _check(body: Body, entries: Sequence[PlainEntry]) -> None:
    """Check names, sizes and limits of new entries, as of an object that has nothing else."""
    metadata = {"name": body["metadata"]["name"], "namespace": body["metadata"]["namespace"]}
    written = {
        kind.spec_list: [entry.as_written() for entry in entries if entry.key.kind is kind] for kind in EntryKind
    }
    scope = {key: body["spec"][key] for key in ("scope", "project", "environment", "secretName") if key in body["spec"]}
    check_scoped_secret(
        parse_scoped_secret(
            {
                "apiVersion": names.API_VERSION,
                "kind": names.SCOPED_SECRET_KIND,
                "metadata": metadata,
                "spec": {**scope, **written},
            }
        )
    )
