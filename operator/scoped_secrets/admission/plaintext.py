"""Finds plain text in raw bodies: in a spec, and in the copy of it that ``kubectl apply`` keeps in an annotation.

It works on raw bodies because it must also answer for bodies that no model accepts: a malformed object must not be
stored in plain text.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.entry import EntryKey, EntryKind, EntryPosition

__all__ = ["PLAINTEXT_MEMBERS", "has_plaintext_anywhere", "last_applied", "scrub", "sensitive_plaintext"]

PLAINTEXT_MEMBERS: Final[Mapping[EntryKind, tuple[str, ...]]] = {
    EntryKind.ENV: ("value",),
    EntryKind.FILE: ("content", "contentBase64"),
}
"""The members of entries that hold plain text."""

_ALL_MEMBERS: Final = frozenset(member for members in PLAINTEXT_MEMBERS.values() for member in members)
# Characters that Go's JSON encoder escapes and Python's does not.
_ESCAPED_BY_GO: Final = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


class _DuplicateError(ValueError):
    """A JSON object has the same member twice; parsers differ in which one they return."""


def last_applied(body: Mapping[str, Any]) -> object:
    """Return the annotation of client-side apply, ``None`` when there is none."""
    metadata = body.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations.get(names.LAST_APPLIED_ANNOTATION) if isinstance(annotations, dict) else None


def sensitive_plaintext(spec: object) -> Iterator[str]:
    """Yield the path of every member of a spec that holds plain text and is not marked as not sensitive."""
    for kind, members in PLAINTEXT_MEMBERS.items():
        entries = spec.get(kind.spec_list) if isinstance(spec, dict) else None
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            # Most entries have none of the members.
            if isinstance(entry, dict) and not _ALL_MEMBERS.isdisjoint(entry) and entry.get("sensitive") is not False:
                for member in members:
                    if entry.get(member) is not None:
                        yield f"{EntryPosition(kind, index).field}.{member}"


def has_plaintext_anywhere(body: Mapping[str, Any]) -> bool:
    """Return whether a body that no model accepts may hold a value at any depth."""
    copy = last_applied(body)
    if copy is not None:
        document = _parse(copy)
        if document is None or _holds_member(document.get("spec")):
            return True
    return _holds_member(body.get("spec"))


def scrub(text: object, sensitive: Collection[EntryKey]) -> str | None:
    """Return the annotation's text without sensitive plain text; ``None`` when it cannot be kept.

    Everything else stays unchanged, in the form that kubectl writes, because kubectl compares it with its next apply.

    Args:
        text: The annotation.
        sensitive: The sensitive entries of the object itself. The annotation cannot exempt them.
    """
    document = _parse(text)
    if document is None or not isinstance(text, str):
        return None
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return None if _holds_member(document) else text
    changed = False
    for kind, members in PLAINTEXT_MEMBERS.items():
        entries = spec.get(kind.spec_list)
        if entries is None:
            continue
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            return None
        for entry in entries:
            name = kind.name_in(entry)
            is_overruled = name is not None and EntryKey(kind, name) in sensitive
            if entry.get("sensitive") is False and not is_overruled:
                continue
            for member in members:
                changed |= entry.pop(member, None) is not None
    return _encode(document) + text[len(text.rstrip()) :] if changed else text


def _parse(text: object) -> dict[str, Any] | None:
    if not isinstance(text, str):
        return None
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DuplicateError
    return members


def _encode(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).translate(_ESCAPED_BY_GO)


def _holds_member(document: object) -> bool:
    pending = [document]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if any(part.get(member) is not None for member in _ALL_MEMBERS):
                return True
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return False
