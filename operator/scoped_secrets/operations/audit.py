"""What the cluster still tells about changes and uses of secrets: names, times and reasons, never a value.

Kubernetes keeps no history. What is here is the last change of each part, the pods that exist, and events until they
expire; who sent which request is in the audit log of the API server only.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.admission_record import parse_admission_record
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.injection.report import pins_of
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.operations.cluster_view import Collected, Reach, read_readable, read_view
from scoped_secrets.operations.place import PlaceRequest, matches_place
from scoped_secrets.operations.usage import read_injected
from scoped_secrets.timestamps import parse_timestamp

__all__ = ["NOT_KNOWN", "Activity", "Record", "read_activity"]

NOT_KNOWN: Final = (
    "who sent a request, reads, and objects that were deleted are in the audit log of the API server only",
    "of each field manager only the last change is stored, and of each value the last time that it changed",
    "events live for an hour by default (--event-ttl of the API server), and pods until they are deleted",
)
"""What no answer can contain, as sentences."""

_EVENTS: Final = f"source={names.EVENT_REPORTER}"
# Of a field manager: a list keyed by names or paths, as managed fields write it.
_KEY: Final = re.compile(r'k:\{"(?:name|path|env)":"(.*)"\}')


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened.

    Attributes:
        time: When.
        action: What, in one or two words.
        location: The object as `kind namespace/name`.
        actor: Who or what did it, as far as the cluster tells; empty otherwise.
        detail: A part of a sentence.
        source: Where this is stored.
    """

    time: datetime
    action: str
    location: str
    actor: str
    detail: str
    source: str


@dataclass(frozen=True, slots=True)
class Activity:
    """What was found.

    Attributes:
        records: What happened, the newest first.
        unread: What could not be read, as parts of sentences.
    """

    records: tuple[Record, ...]
    unread: tuple[str, ...]


async def read_activity(
    cluster: Cluster, name: str | None, request: PlaceRequest, since: datetime, selector: str = ""
) -> Activity:
    """Read what happened to secrets, and which pods got them.

    Args:
        cluster: The client.
        name: The name of an object or of its bundle; ``None`` for all of the place.
        request: What is stated about the place.
        since: Nothing older is returned.
        selector: Only definitions with these labels.

    Raises:
        ClusterError: A request failed for another reason than missing rights.
    """
    reach = Reach(request.known, name, selector, namespace=request.namespace, policies=False)
    view = await read_view(cluster, reach)
    definitions = {
        location: body
        for location, body in view.bodies.items()
        if matches_place(body, view.binding(body["metadata"]["namespace"]), request)
    }
    everything = replace(reach, selector="")
    policies = await read_readable(cluster, paths.secret_policies, [""], everything, "SecretPolicies")
    events = await read_readable(cluster, paths.events, [_EVENTS], everything, "events")
    pods = await read_injected(cluster, request.known, everywhere=request.namespace is None, metadata_only=True)
    is_all = name is None and not selector
    records = [
        *(record for body in definitions.values() for record in _changes(body, names.SCOPED_SECRET_KIND)),
        *(record for body in definitions.values() for record in _values(body)),
        *(
            record
            for body in policies.items
            if is_all or set((body.get("status") or {}).get("matched") or ()) & definitions.keys()
            for record in _changes(body, names.SECRET_POLICY_KIND)
        ),
        *_uses(pods.bodies, {str(body["metadata"]["uid"]): location for location, body in definitions.items()}),
        *_told(events, None if is_all else {*definitions, *([name] if name else [])}),
    ]
    recent = sorted((each for each in records if each.time >= since), key=_order, reverse=True)
    unread = (each.what for part in (policies, events) for each in part.unread)
    return Activity(tuple(recent), (*view.unread, *unread, *pods.unread))


def _order(record: Record) -> tuple[datetime, str, str]:
    return record.time, record.location, record.action


def _changes(body: Body, kind: str) -> Iterator[Record]:
    """Yield the creation of an object, and the last change by each field manager."""
    metadata = body["metadata"]
    location = f"{kind} {metadata['namespace']}/{metadata['name']}"
    created = parse_timestamp(metadata.get("creationTimestamp"))
    if created is not None:
        yield Record(created, "created", location, "", "", "metadata.creationTimestamp")
    for each in metadata.get("managedFields") or ():
        changed = parse_timestamp(each.get("time"))
        # The controller writes statuses all the time; what they tell is read from them.
        if changed is None or each.get("subresource"):
            continue
        fields = _fields(each.get("fieldsV1") or {})
        detail = f"owns {', '.join(fields)}" if fields else ""
        yield Record(
            changed, "changed", location, f"program {each.get('manager', '')}", detail, "metadata.managedFields"
        )


def _fields(owned: Mapping[str, Any]) -> list[str]:
    """Return the fields of the spec that a manager owns; entries by their names."""
    found: list[str] = []
    for field, content in (owned.get("f:spec") or {}).items():
        plain = field.removeprefix("f:")
        entries = [match[1] for key in content if (match := _KEY.fullmatch(key))]
        found += [f"{plain}[{entry}]" for entry in entries] if plain in {k.spec_list for k in EntryKind} else [plain]
    return sorted(found)


def _values(body: Body) -> Iterator[Record]:
    """Yield the last change of each value, which the controller sees by its fingerprint."""
    metadata = body["metadata"]
    location = f"{names.SCOPED_SECRET_KIND} {metadata['namespace']}/{metadata['name']}"
    for each in (body.get("status") or {}).get("entries") or ():
        changed = parse_timestamp(each.get("changedTime"))
        if changed is not None:
            key = EntryKey(EntryKind(each["kind"]), str(each["name"]))
            yield Record(changed, "value changed", location, "", str(key), "status.entries")


def _uses(pods: Sequence[Body], locations: Mapping[str, str]) -> Iterator[Record]:
    """Yield the pods that got one of the definitions, with the user whom admission saw."""
    for body in pods:
        metadata = body["metadata"]
        annotations = metadata.get("annotations") or {}
        created = parse_timestamp(metadata.get("creationTimestamp"))
        pins = pins_of(annotations.get(names.RESOLUTION_ANNOTATION)) or ()
        got = sorted({locations[uid] for pin in pins if (uid := pin.partition("@")[0]) in locations})
        if created is not None and got:
            creator = parse_admission_record(annotations.get(names.CLAIMS_ANNOTATION)).creator
            location = f"Pod {metadata['namespace']}/{metadata['name']}"
            actor = f"user {creator}" if creator else ""
            yield Record(created, "used", location, actor, f"got {', '.join(got)}", "pod")


def _told(events: Collected, about: set[str] | None) -> Iterator[Record]:
    """Yield the operator's events about objects and bundles; ``None`` for all events."""
    for body in events.items:
        told = parse_timestamp(body.get("lastTimestamp") or body.get("eventTime") or body.get("firstTimestamp"))
        involved, message = body.get("involvedObject") or {}, str(body.get("message", ""))
        place = f"{involved.get('namespace', '')}/{involved.get('name', '')}"
        if told is None or not (about is None or place in about or any(f"'{each}'" in message for each in about)):
            continue
        location = f"{involved.get('kind', '')} {place}"
        yield Record(told, str(body.get("reason", "")), location, "controller", message, "event")
