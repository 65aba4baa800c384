"""Globs of environments, names and claims: anchored, ``*`` only, ``*`` never crosses ``/`` (DESIGN sections 4 and 6).

Matching is linear in the text for each literal piece, so that no pattern written by a tenant can be slow: there is no
backtracking and no regular expression.
"""

from functools import lru_cache

__all__ = ["covers", "is_exact", "matches", "overlaps", "specificity"]


def is_exact(pattern: str) -> bool:
    """Tell whether the pattern is one name and not a family of names."""
    return "*" not in pattern


def matches(pattern: str, text: str) -> bool:
    """Tell whether the whole text matches the whole pattern."""
    if "*" not in pattern:
        return pattern == text
    if pattern == "*":
        return "/" not in text
    patterns = pattern.split("/")
    segments = text.split("/")
    return len(patterns) == len(segments) and all(map(_segment_matches, patterns, segments))


def specificity(pattern: str) -> tuple[bool, int, int, int, str]:
    """Return the rank of an environment pattern; the greater tuple is the narrower pattern.

    The order is that of DESIGN section 4, rule A.3: exact name, longer literal prefix, more literal characters, fewer
    ``*``, and at last the text itself, the lesser text first, so that the order is total.
    """
    stars = pattern.count("*")
    prefix = pattern.find("*") if stars else len(pattern)
    return stars == 0, prefix, len(pattern) - stars, -stars, _reverse_order(pattern)


def covers(wider: str, narrower: str) -> bool:
    """Tell whether every name that matches ``narrower`` matches ``wider`` too.

    The narrower pattern is matched as text: a literal of the wider one can never match its ``*``, so only a ``*`` of
    the wider pattern absorbs it, and that absorbs whatever it stands for. Sound, and complete for what people write.
    """
    return matches(wider, narrower)


@lru_cache(maxsize=4096)
def overlaps(one: str, other: str) -> bool:
    """Tell whether some name matches both patterns."""
    if "*" not in one:
        return matches(other, one)
    if "*" not in other:
        return matches(one, other)
    ones, others = one.split("/"), other.split("/")
    return len(ones) == len(others) and all(map(_segments_overlap, ones, others))


def _segment_matches(pattern: str, text: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for literal in middle:
        # The leftmost place is as good as any other: whatever follows may only start later.
        found = text.find(literal, position, end)
        if found < 0:
            return False
        position = found + len(literal)
    return True


def _segments_overlap(one: str, other: str) -> bool:
    # Two patterns that both hold a star overlap exactly when their literal ends agree: what stands between the first
    # star of one and the last star of the other can always be written out.
    if "*" not in one:
        return _segment_matches(other, one)
    if "*" not in other:
        return _segment_matches(one, other)
    heads = one.partition("*")[0], other.partition("*")[0]
    tails = one.rpartition("*")[2], other.rpartition("*")[2]
    return _agree(*heads, from_start=True) and _agree(*tails, from_start=False)


def _agree(one: str, other: str, *, from_start: bool) -> bool:
    if from_start:
        return one.startswith(other) or other.startswith(one)
    return one.endswith(other) or other.endswith(one)


def _reverse_order(text: str) -> str:
    """Return a text that sorts the other way round: the lesser pattern text shall win, as the greater rank."""
    return "".join(chr(0x10FFFF - ord(character)) for character in text) + chr(0x10FFFF)
