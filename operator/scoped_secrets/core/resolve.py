"""Rule A of DESIGN section 4: one name, several definitions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scoped_secrets.core.definitions import Definition, EnvEntry, FileEntry, Override, Placed
from scoped_secrets.core.scope import ScopePath

__all__ = ["Contribution", "Resolution", "holders", "resolve"]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One entry of a resolved bundle and the definition that it comes from."""

    definition: Definition
    entry: EnvEntry | FileEntry


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
    winner: Placed
    contributors: tuple[Placed, ...]
    shadowed: tuple[Placed, ...] = ()
    blocked: tuple[Placed, ...] = ()

    def env(self) -> dict[str, Contribution]:
        """Return the variables, a narrower definition's over a wider one's."""
        return {
            entry.name: Contribution(placed.definition, entry)
            for placed in reversed(self.contributors)
            for entry in placed.definition.env
        }

    def files(self) -> dict[str, Contribution]:
        """Return the files by path as written, wider definitions' first."""
        merged: dict[str, Contribution] = {}
        for placed in reversed(self.contributors):
            for entry in placed.definition.files:
                # A file that is overwritten moves to the end: paths that are one after normalisation are decided by
                # the last one, and that must be the narrowest.
                merged.pop(entry.path, None)
                merged[entry.path] = Contribution(placed.definition, entry)
        return merged


def holders(placed: Iterable[Placed]) -> tuple[Placed, ...]:
    """Return the definition that holds each slot, without the losers of conflicts (rule A.1)."""
    oldest: dict[object, Placed] = {}
    for candidate in placed:
        current = oldest.get(candidate.slot)
        if current is None or candidate.definition.seniority < current.definition.seniority:
            oldest[candidate.slot] = candidate
    return tuple(oldest.values())


def resolve(name: str, definitions: Iterable[Placed], path: ScopePath) -> Resolution | None:
    """Choose the winner among the definitions of one name for a job at one path.

    Args:
        name: The ``secretName`` that is looked for.
        definitions: Placed definitions, in any order; those of other names or paths are passed over here as well, so
            that no caller can widen what a job sees.
        path: Where the job stands.

    Returns:
        The resolution, ``None`` when there is no candidate.
    """
    candidates = sorted(
        holders(placed for placed in definitions if placed.slot.secret_name == name and placed.slot.applies_to(path)),
        key=lambda placed: placed.slot.rank,
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


def _first_allowed(candidates: Sequence[Placed]) -> int:
    """Return the index of the widest final candidate, 0 when none is final (rule A.5)."""
    for index in range(len(candidates) - 1, -1, -1):
        if candidates[index].definition.final:
            return index
    return 0


def _merge_chain(candidates: Sequence[Placed]) -> tuple[Placed, ...]:
    """Return the winner and, while each says Merge, the next wider candidate (rule A.4)."""
    chain = [candidates[0]]
    for wider in candidates[1:]:
        if chain[-1].definition.override is not Override.MERGE:
            break
        chain.append(wider)
    return tuple(chain)
