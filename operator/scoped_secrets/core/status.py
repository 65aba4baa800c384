"""The status of a ScopedSecret: from the inventory, the age of its values and the time (DESIGN section 5).

Some conditions change by time alone. A status therefore says when that happens next, so that no earlier requeue is
needed.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from scoped_secrets import names
from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.inventory import Inventory, RejectedDefinition
from scoped_secrets.core.resolution.definitions import Attach, Definition, SlottedDefinition
from scoped_secrets.core.resolution.resolve import slot_owners
from scoped_secrets.core.rotation import EntryState, due
from scoped_secrets.core.scope.globs import matches
from scoped_secrets.core.scope.slot import Scope, ScopePath
from scoped_secrets.core.scope.trust import Trust
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.messages import quoted_names
from scoped_secrets.names import ConditionType, Reason

__all__ = ["MAX_LISTED", "Condition", "DefinitionStatus", "status_of"]

_NAMED = 5

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
    holding = slot_owners(other for other in inventory.overlap_candidates(slot) if _has_effect(other, inventory))
    senior = next((other for other in holding if other.slot == slot), entry)
    own = inventory.environments(slot.organization, slot.project)
    others = [
        other
        for other in holding
        if other.slot != slot and other.slot.overlaps(slot) and not _is_kept_out(entry, other, own)
    ]
    finals = _finals_over(entry, others)
    shadows: list[SlottedDefinition] = []
    shadowed_by: list[SlottedDefinition] = []
    # A definition that loses a conflict is never a candidate, and one that is blocked wherever it is a candidate meets
    # only the final definition: neither hides another definition or is hidden by one.
    is_effective = _has_effect(entry, inventory)
    if senior.definition.location == definition.location and not finals and is_effective:
        final = _finals_by_project((*others, entry))
        meeting = [other for other in others if not _finals_over(other, _near(other, final))]
        shadows = [other for other in meeting if other.slot.rank < slot.rank and not other.is_final]
        shadowed_by = [other for other in meeting if other.slot.rank > slot.rank and not entry.is_final]
    return DefinitionStatus(
        observed_generation=definition.generation,
        conditions=(
            _ready(entry, senior, now, is_effective=is_effective),
            _conflicted(entry, senior),
            _blocked(finals),
            *_restricted(entry, inventory),
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
        if other.is_final and other.slot.rank < slotted.slot.rank and other.slot.covers(slotted.slot)
    ]


def _finals_by_project(slotted: Iterable[SlottedDefinition]) -> dict[str | None, list[SlottedDefinition]]:
    """Return the final definitions by project: an organization may have those of thousands of projects."""
    finals: dict[str | None, list[SlottedDefinition]] = {}
    for each in slotted:
        if each.is_final:
            finals.setdefault(each.slot.project, []).append(each)
    return finals


def _near(slotted: SlottedDefinition, finals: Mapping[str | None, list[SlottedDefinition]]) -> list[SlottedDefinition]:
    """Return the final definitions of the organization and of the definition's project; no others can block it."""
    return [final for project in {None, slotted.slot.project} for final in finals.get(project, ())]


def _has_effect(entry: SlottedDefinition, inventory: Inventory) -> bool:
    """Tell whether any job can get a definition: not where its one environment has namespaces of its own."""
    slot = entry.slot
    return (
        entry.trust is not Trust.PROJECT
        or slot.scope is not Scope.ENVIRONMENT
        or (slot.environment or "") not in inventory.environments(slot.organization, slot.project)
    )


def _restrictions(entry: SlottedDefinition, inventory: Inventory) -> Iterator[str]:
    """Yield what would change something for a namespace that is trusted more (DESIGN section 3)."""
    definition, slot = entry.definition, entry.slot
    if definition.final and not entry.is_final:
        yield (
            f"`spec.final` counts only in the home of organization '{slot.organization}'; define the bundle there, or "
            "take `final` out"
        )
    if entry.trust is not Trust.PROJECT:
        return
    environments = inventory.environments(slot.organization, slot.project)
    if slot.scope is Scope.ENVIRONMENT:
        own = [environment for environment in environments if matches(slot.environment or "", environment)]
        if own:
            yield (
                f"jobs of {quoted_names(own, _NAMED)} do not get it, because the environment has its own namespaces; "
                "define it there or in the organization's home"
            )
    elif definition.attach is Attach.ALWAYS:
        own = [
            environment
            for environment in environments
            if not inventory.territory(ScopePath(slot.organization, slot.project, environment)).admits_attached
        ]
        if own:
            yield (
                f"jobs of {quoted_names(own, _NAMED)} get it only by name; annotation "
                f'{names.ALLOW_PROJECT_ATTACH_ANNOTATION}: "true" on the namespaces of the environment admits it'
            )


def _restricted(entry: SlottedDefinition, inventory: Inventory) -> Iterator[Condition]:
    """Yield the condition of a definition of which a part does not count."""
    message = "; ".join(_restrictions(entry, inventory))
    if message:
        yield Condition(ConditionType.RESTRICTED, Reason.NOT_TRUSTED, message, is_true=True)


def _is_kept_out(one: SlottedDefinition, other: SlottedDefinition, own: Container[str]) -> bool:
    """Tell whether one of two definitions does not count in the only environment of the other one."""
    if one.slot.scope is not Scope.ENVIRONMENT or other.slot.scope is not Scope.ENVIRONMENT:
        return False
    return (one.trust is Trust.PROJECT and (other.slot.environment or "") in own) or (
        other.trust is Trust.PROJECT and (one.slot.environment or "") in own
    )


def _ready(entry: SlottedDefinition, senior: SlottedDefinition, now: datetime, *, is_effective: bool) -> Condition:
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
    if not is_effective:
        return Condition(
            ConditionType.READY, Reason.NOT_TRUSTED, "no job gets it; see condition Restricted", is_true=False
        )
    return Condition(
        ConditionType.READY, Reason.AVAILABLE, "jobs of this scope may use it where policy allows", is_true=True
    )


def _conflicted(entry: SlottedDefinition, senior: SlottedDefinition) -> Condition:
    if senior.definition.location == entry.definition.location:
        return Condition(
            ConditionType.CONFLICTED, Reason.UNIQUE, "no other definition holds the same slot", is_true=False
        )
    return Condition(
        ConditionType.CONFLICTED,
        Reason.SLOT_TAKEN,
        f"'{senior.definition.location}' is older or in a namespace that is trusted more, and has the same "
        "organization, scope, project, environment and `spec.secretName`; remove one of the two",
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
    Reason.COPY_PENDING: "the controller has not copied the entries of `spec.copyFrom` yet; wait for it",
    Reason.COPY_FAILED: "the entries of `spec.copyFrom` cannot be copied; delete this object and create it again",
    Reason.EXPIRED: "`spec.expireTime` has passed; store a new value and a later time",
    Reason.INVALID: "a value breaks a limit, is no sealed text, or lacks its data key; run `kubectl replace -f` with "
    "the object",
    Reason.KEY_LOST: "the key that sealed a value, `status.keyId`, is lost; restore its Secret from the backup of the "
    "operator's keys, or store the value again",
    Reason.PLAINTEXT_REFUSED: "a sensitive value is stored unsealed; run `kubectl replace -f` with the object while "
    "the webhook runs: client-side apply sees no difference, and sends nothing",
    Reason.SEALED_FOR_ANOTHER: "a value was sealed for another object, scope or entry; store the value again",
    Reason.SOURCE_MISSING: "a Secret or key that `valueFrom` names is missing; create it",
}
