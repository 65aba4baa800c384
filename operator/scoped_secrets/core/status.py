"""The status of a ScopedSecret: from the inventory, the age of its values and the time (DESIGN section 5).

Some conditions change by time alone. A status therefore says when that happens next, so that no earlier requeue is
needed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.inventory import Inventory, RejectedDefinition
from scoped_secrets.core.resolution.definitions import Definition, SlottedDefinition
from scoped_secrets.core.resolution.resolve import slot_owners
from scoped_secrets.core.rotation import EntryState, due
from scoped_secrets.names import ConditionType, Reason

__all__ = ["MAX_LISTED", "Condition", "DefinitionStatus", "status_of"]

MAX_LISTED = 20
"""The maximum length of a list of names in a status, so that no status grows with the cluster."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without its transition time, which the writer adds."""

    type: ConditionType
    reason: Reason
    message: str
    is_true: bool


@dataclass(frozen=True, slots=True)
class DefinitionStatus:
    """The status that one definition should have.

    Attributes:
        observed_generation: The generation that the status describes.
        conditions: The conditions, without those of optional fields that the definition omits.
        env_count: Number of variables.
        file_count: Number of files.
        shadows: Definitions that this one hides, as `namespace/name`.
        shadowed_by: Definitions that hide this one, as `namespace/name`.
        key_id: The oldest sealing key that a value needs; a lost key counts as the oldest.
        entries: The sealed entries, and since when they have their values.
        missing: The optional entries that jobs run without.
        changes_at: When the status changes by time alone; None when it never does.
    """

    observed_generation: int
    conditions: tuple[Condition, ...]
    env_count: int
    file_count: int
    shadows: tuple[str, ...] = ()
    shadowed_by: tuple[str, ...] = ()
    key_id: str = ""
    entries: tuple[EntryState, ...] = ()
    missing: tuple[EntryKey, ...] = ()
    changes_at: datetime | None = None


def status_of(
    entry: SlottedDefinition | RejectedDefinition,
    inventory: Inventory,
    now: datetime,
    entries: tuple[EntryState, ...] = (),
) -> DefinitionStatus:
    """Return the status of one definition.

    ``shadows`` lists the wider definitions of its name that lose where both are candidates; ``shadowedBy`` lists the
    narrower definitions that win there.

    Args:
        entry: The definition.
        inventory: All definitions.
        now: The present time, with a time zone.
        entries: The sealed entries, and since when they have their values.
    """
    definition = entry.definition
    if isinstance(entry, RejectedDefinition):
        return DefinitionStatus(
            observed_generation=definition.generation,
            conditions=(Condition(ConditionType.READY, entry.denial.reason, entry.denial.message, is_true=False),),
            env_count=len(definition.env),
            file_count=len(definition.files),
            entries=entries,
        )
    slot = entry.slot
    holding = slot_owners(inventory.overlap_candidates(slot))
    senior = next((other for other in holding if other.slot == slot), entry)
    others = [other for other in holding if other.slot != slot and other.slot.overlaps(slot)]
    finals = _finals_over(entry, others)
    shadows: list[SlottedDefinition] = []
    shadowed_by: list[SlottedDefinition] = []
    # A definition that loses a conflict is never a candidate, and one that is blocked wherever it is a candidate meets
    # only the final definition: neither hides another definition or is hidden by one.
    if senior.definition.location == definition.location and not finals:
        final = _finals_by_project((*others, entry))
        meeting = [other for other in others if not _finals_over(other, _near(other, final))]
        shadows = [other for other in meeting if other.slot.rank < slot.rank and not other.definition.final]
        shadowed_by = [other for other in meeting if other.slot.rank > slot.rank and not definition.final]
    return DefinitionStatus(
        observed_generation=definition.generation,
        conditions=(
            _ready(entry, senior, now),
            _conflicted(entry, senior),
            _blocked(finals),
            *_rotation_due(definition, entries, now),
            *_expired(definition, now),
        ),
        env_count=len(definition.env),
        file_count=len(definition.files),
        shadows=_listed(shadows),
        shadowed_by=_listed(shadowed_by),
        entries=entries,
        changes_at=_next_moment(definition, entries, now),
    )


def _finals_over(slotted: SlottedDefinition, others: Iterable[SlottedDefinition]) -> list[SlottedDefinition]:
    """Return the final definitions that block a definition for every job of its scope."""
    return [
        other
        for other in others
        if other.definition.final and other.slot.rank < slotted.slot.rank and other.slot.covers(slotted.slot)
    ]


def _finals_by_project(slotted: Iterable[SlottedDefinition]) -> dict[str | None, list[SlottedDefinition]]:
    """Return the final definitions by project: an organization may have those of thousands of projects."""
    finals: dict[str | None, list[SlottedDefinition]] = {}
    for each in slotted:
        if each.definition.final:
            finals.setdefault(each.slot.project, []).append(each)
    return finals


def _near(slotted: SlottedDefinition, finals: Mapping[str | None, list[SlottedDefinition]]) -> list[SlottedDefinition]:
    """Return the final definitions of the organization and of the definition's project; no others can block it."""
    return [final for project in {None, slotted.slot.project} for final in finals.get(project, ())]


def _ready(entry: SlottedDefinition, senior: SlottedDefinition, now: datetime) -> Condition:
    reason = Reason.EXPIRED if entry.definition.is_expired(now) else entry.definition.not_ready
    if reason is not None:
        return Condition(ConditionType.READY, reason, _NOT_READY[reason], is_true=False)
    if senior.definition.location != entry.definition.location:
        return Condition(
            ConditionType.READY,
            Reason.SLOT_TAKEN,
            f"'{senior.definition.location}' holds this slot; remove one of the two",
            is_true=False,
        )
    return Condition(
        ConditionType.READY, Reason.AVAILABLE, "jobs of this scope may use it where policy allows", is_true=True
    )


def _conflicted(entry: SlottedDefinition, senior: SlottedDefinition) -> Condition:
    if senior.definition.location == entry.definition.location:
        return Condition(
            ConditionType.CONFLICTED, Reason.UNIQUE, "no older definition has the same slot", is_true=False
        )
    return Condition(
        ConditionType.CONFLICTED,
        Reason.SLOT_TAKEN,
        f"'{senior.definition.location}' is older and has the same organization, scope, project, environment and "
        "`spec.secretName`; remove one of the two",
        is_true=True,
    )


def _blocked(finals: list[SlottedDefinition]) -> Condition:
    if not finals:
        return Condition(ConditionType.BLOCKED, Reason.NOT_BLOCKED, "no wider definition is final", is_true=False)
    widest = min(finals, key=lambda slotted: slotted.slot.rank)
    return Condition(
        ConditionType.BLOCKED,
        Reason.SHADOWED_BY_FINAL,
        f"'{widest.definition.location}' is wider and says `final: true`, so jobs get that one; use another "
        "`spec.secretName`",
        is_true=True,
    )


def _rotation_due(definition: Definition, entries: Sequence[EntryState], now: datetime) -> Iterator[Condition]:
    """Yield the condition of a definition that has `spec.rotation`; it does not affect jobs."""
    if definition.rotation is None:
        return
    date = due(definition.rotation, entries)
    if date is None:
        message = "the definition has no sealed value, so no value needs to be replaced"
        yield Condition(ConditionType.ROTATION_DUE, Reason.UP_TO_DATE, message, is_true=False)
    elif now < date.remind:
        message = f"every value is new enough until {_rfc3339(date.remind)}"
        yield Condition(ConditionType.ROTATION_DUE, Reason.UP_TO_DATE, message, is_true=False)
    else:
        yield Condition(
            ConditionType.ROTATION_DUE,
            Reason.ROTATION_DUE,
            f"{date.oldest.mark.entry} has had its value since {_rfc3339(date.oldest.changed)} and should have another "
            f"one by {_rfc3339(date.deadline)}; store a new value",
            is_true=True,
        )


def _expired(definition: Definition, now: datetime) -> Iterator[Condition]:
    """Yield the condition of a definition that has `spec.expireTime`."""
    if definition.expires is None:
        return
    moment = _rfc3339(definition.expires)
    if definition.is_expired(now):
        message = f"jobs have been refused since {moment}; store new values and a later `spec.expireTime`"
        yield Condition(ConditionType.EXPIRED, Reason.EXPIRED, message, is_true=True)
    else:
        yield Condition(ConditionType.EXPIRED, Reason.NOT_EXPIRED, f"jobs may use it until {moment}", is_true=False)


def _next_moment(definition: Definition, entries: Sequence[EntryState], now: datetime) -> datetime | None:
    """Return the next time at which a condition changes by time alone."""
    date = due(definition.rotation, entries) if definition.rotation is not None else None
    moments = (definition.expires, date.remind if date is not None else None)
    return min((moment for moment in moments if moment is not None and moment > now), default=None)


def _rfc3339(moment: datetime) -> str:
    """Return a time for a message: RFC 3339 in UTC, as `kubectl` prints times."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _listed(slotted: Iterable[SlottedDefinition]) -> tuple[str, ...]:
    return tuple(sorted(other.definition.location for other in slotted)[:MAX_LISTED])


_NOT_READY = {
    Reason.EXPIRED: "`spec.expireTime` has passed; store a new value and a later time",
    Reason.INVALID: "a value breaks a limit or is no sealed text; apply the object again while the webhook runs",
    Reason.KEY_LOST: "the key that sealed a value, `status.keyId`, is lost; restore its Secret from the backup of the "
    "operator's keys, or store the value again",
    Reason.PLAINTEXT_REFUSED: "a sensitive value is stored unsealed; apply the object again while the webhook runs",
    Reason.SEALED_FOR_ANOTHER: "a value was sealed for another object, scope or entry; store the value again",
    Reason.SOURCE_MISSING: "a Secret or key that `valueFrom` names is missing; create it",
}
