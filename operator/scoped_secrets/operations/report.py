"""What a person should look at: old values, definitions without a pod, ends that come, and entries kept twice.

Only names and times are read. Values are never compared: each fingerprint has a salt of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import combinations

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.kube.client import Body
from scoped_secrets.operations.reading import entries_of
from scoped_secrets.operations.usage import Usage
from scoped_secrets.timestamps import parse_timestamp, rfc3339

__all__ = ["Concern", "Finding", "Limits", "findings"]


class Concern(StrEnum):
    """Why a definition is listed."""

    STALE = "stale"
    UNUSED = "unused"
    EXPIRING = "expiring"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is looked for; ``None`` for what is not.

    Attributes:
        stale: The age of a value from which it is listed.
        unused: The age of a definition from which it is listed when no pod has it now.
        expiring: The time before the end of a definition from which it is listed.
        duplicates: Whether entries are listed that several bundles of one job can hold.
    """

    stale: timedelta | None = None
    unused: timedelta | None = None
    expiring: timedelta | None = None
    duplicates: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        concern: Why it is there.
        location: The definition as `namespace/name`.
        entry: The entry; empty for the whole definition.
        detail: What was found, as a part of a sentence.
    """

    concern: Concern
    location: str
    entry: str
    detail: str


def findings(
    bodies: Mapping[str, Body], inventory: Inventory, usage: Usage | None, limits: Limits, now: datetime
) -> list[Finding]:
    """Return what is found, by concern and in the order of the definitions.

    Args:
        bodies: The definitions to look at, by `namespace/name`.
        inventory: Namespaces and definitions.
        usage: The pods that have definitions; ``None`` when pods are not looked at.
        limits: What is looked for.
        now: The present time.
    """
    ordered = dict(sorted(bodies.items()))
    return [
        *_stale(ordered, limits.stale, now),
        *_unused(ordered, usage, limits.unused, now),
        *_expiring(ordered, limits.expiring, now),
        *(_duplicates(ordered, inventory) if limits.duplicates else ()),
    ]


def _stale(bodies: Mapping[str, Body], limit: timedelta | None, now: datetime) -> Iterator[Finding]:
    if limit is None:
        return
    for location, body in bodies.items():
        for entry in entries_of(body):
            changed = parse_timestamp(entry.changed)
            if changed is not None and now - changed >= limit:
                name = f"{entry.kind.noun} '{entry.name}'"
                yield Finding(Concern.STALE, location, name, f"has its value since {rfc3339(changed)}")


def _unused(
    bodies: Mapping[str, Body], usage: Usage | None, limit: timedelta | None, now: datetime
) -> Iterator[Finding]:
    if limit is None or usage is None or not usage.is_known:
        return
    for location, body in bodies.items():
        metadata = body["metadata"]
        created = parse_timestamp(metadata.get("creationTimestamp"))
        if created is not None and now - created >= limit and not usage.pods(str(metadata["uid"])):
            who = "no pod that you may read has it now" if usage.unread else "no pod has it now"
            yield Finding(Concern.UNUSED, location, "", f"{who}; created {rfc3339(created)}")


def _expiring(bodies: Mapping[str, Body], limit: timedelta | None, now: datetime) -> Iterator[Finding]:
    if limit is None:
        return
    for location, body in bodies.items():
        end = parse_timestamp(body["spec"].get("expireTime"))
        if end is not None and end - now <= limit:
            verb = "expired" if end <= now else "expires"
            yield Finding(Concern.EXPIRING, location, "", f"{verb} {rfc3339(end)}; jobs are denied from then on")


def _duplicates(bodies: Mapping[str, Body], inventory: Inventory) -> Iterator[Finding]:
    """Yield the entries that two bundles of one job can hold under one name: one of them replaces the other."""
    held: dict[tuple[str, str], list[tuple[str, SlottedDefinition]]] = {}
    for location, body in bodies.items():
        placed = inventory.get(location)
        if not isinstance(placed, SlottedDefinition):
            continue
        for entry in entries_of(body):
            held.setdefault((entry.kind.noun, entry.name), []).append((location, placed))
    for (noun, name), holders in sorted(held.items()):
        for (first, one), (second, other) in combinations(holders, 2):
            if _meet_in_a_job(one, other):
                detail = f"is also in {second}; a job that gets both has the value of the one that it names last"
                yield Finding(Concern.DUPLICATE, first, f"{noun} '{name}'", detail)


def _meet_in_a_job(one: SlottedDefinition, other: SlottedDefinition) -> bool:
    """Tell whether two definitions are of different bundles that one job can get."""
    name = one.slot.secret_name
    return name != other.slot.secret_name and one.slot.overlaps(replace(other.slot, secret_name=name))
