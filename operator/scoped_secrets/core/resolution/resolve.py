"""Rule A of DESIGN section 4: choose among several definitions of one name."""

from collections.abc import Iterable, Sequence

from scoped_secrets.core.resolution.definitions import Definition, Entry, Override, SlottedDefinition
from scoped_secrets.core.scope.slot import ScopePath
from scoped_secrets.core.scope.trust import Territory
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["Resolution", "ResolvedEntry", "resolve", "slot_owners"]


_OPEN = Territory()


@dataclass(frozen=True, slots=True)
class ResolvedEntry:
    """One entry of a resolved bundle and the definition that contributes it."""

    definition: Definition
    entry: Entry


@dataclass(frozen=True, slots=True)
class Resolution:
    """What one name means for one job.

    Attributes:
        name: The ``secretName``.
        winner: The definition of the highest rank.
        contributors: The winner first, then the wider definitions that it merges, from narrow to wide.
        shadowed: Candidates that contribute nothing because a narrower one won, from narrow to wide.
        blocked: Candidates that contribute nothing because a wider one is final, from narrow to wide.
    """

    name: str
    winner: SlottedDefinition
    contributors: tuple[SlottedDefinition, ...]
    shadowed: tuple[SlottedDefinition, ...] = ()
    blocked: tuple[SlottedDefinition, ...] = ()

    def variables(self) -> dict[str, ResolvedEntry]:
        """Return the entry of each variable: its value, or the file whose path it holds.

        Those of narrower definitions override those of wider ones. A file that is overridden sets no variable.
        """
        files = self._files()
        merged: dict[str, ResolvedEntry] = {}
        for slotted in reversed(self.contributors):
            definition = slotted.definition
            for entry in definition.env:
                merged[entry.name] = ResolvedEntry(definition, entry)
            for entry in definition.files:
                if entry.env is not None and files[entry.name].entry is entry:
                    merged[entry.env] = files[entry.name]
        return merged

    def files(self) -> tuple[ResolvedEntry, ...]:
        """Return the files, those of wider definitions first.

        A file without a path is nothing without its variable, and goes with it where another entry overrides that.
        """
        files = tuple(self._files().values())
        if all(resolved.entry.path is not None for resolved in files):
            return files
        winners = {id(resolved.entry) for resolved in self.variables().values()}
        return tuple(resolved for resolved in files if resolved.entry.path is not None or id(resolved.entry) in winners)

    def _files(self) -> dict[str, ResolvedEntry]:
        """Return the files by name, those of wider definitions first."""
        merged: dict[str, ResolvedEntry] = {}
        for slotted in reversed(self.contributors):
            for entry in slotted.definition.files:
                # An overridden file moves to the end: of paths that are equal after normalisation the last one wins,
                # and that must be the narrowest.
                merged.pop(entry.name, None)
                merged[entry.name] = ResolvedEntry(slotted.definition, entry)
        return merged


def slot_owners(slotted: Iterable[SlottedDefinition]) -> tuple[SlottedDefinition, ...]:
    """Return the owner of each slot; the others are in conflict and have no effect (rule A.1).

    The owner is the definition in the namespace that is trusted most, and of these the oldest.
    """
    owners: dict[object, SlottedDefinition] = {}
    for candidate in slotted:
        current = owners.get(candidate.slot)
        if current is None or candidate.seniority < current.seniority:
            owners[candidate.slot] = candidate
    return tuple(owners.values())


def resolve(
    name: str,
    definitions: Iterable[SlottedDefinition],
    path: ScopePath,
    territory: Territory = _OPEN,
    *,
    is_referenced: bool = True,
) -> Resolution | None:
    """Choose the winner among the definitions of one name for a job at one path.

    Args:
        name: The ``secretName`` that is looked for.
        definitions: Slotted definitions, in any order; those of other names or paths are skipped here too, so
            that no caller can widen what a job sees.
        path: Where the job stands.
        territory: Whose objects count there.
        is_referenced: Whether the pod or its namespace names the bundle.

    Returns:
        The resolution, ``None`` when there is no candidate.
    """
    candidates = sorted(
        slot_owners(
            slotted
            for slotted in definitions
            if slotted.slot.secret_name == name
            and slotted.slot.applies_to(path)
            and slotted.counts_in(territory, is_referenced=is_referenced)
        ),
        key=lambda slotted: slotted.slot.rank,
        reverse=True,
    )
    if not candidates:
        return None
    start = _first_allowed(candidates)
    contributors = _merge_chain(candidates[start:])
    return Resolution(
        name=name,
        winner=candidates[start],
        contributors=contributors,
        shadowed=tuple(candidates[start + len(contributors) :]),
        blocked=tuple(candidates[:start]),
    )


def _first_allowed(candidates: Sequence[SlottedDefinition]) -> int:
    """Return the index of the widest final candidate, 0 when none is final (rule A.5)."""
    for index in range(len(candidates) - 1, -1, -1):
        if candidates[index].is_final:
            return index
    return 0


def _merge_chain(candidates: Sequence[SlottedDefinition]) -> tuple[SlottedDefinition, ...]:
    """Return the winner and, while each says Merge, the next wider candidate (rule A.4)."""
    chain = [candidates[0]]
    for wider in candidates[1:]:
        if chain[-1].definition.override is not Override.MERGE:
            break
        chain.append(wider)
    return tuple(chain)
