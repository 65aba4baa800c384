"""Which bundles a pod names: ``aws, registry?`` (DESIGN sections 4 and 8)."""

import re
from collections.abc import Iterable

from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["MAX_REFERENCES", "SECRET_NAME", "Reference", "merge_references", "parse_references"]

MAX_REFERENCES = 50
SECRET_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """One bundle name that a pod references; an optional bundle may be missing or denied."""

    name: str
    optional: bool = False


def parse_references(text: str, *, field: str) -> tuple[Reference, ...]:
    """Parse a comma-separated list of names, each of which may end in ``?``.

    Args:
        text: The annotation's text; empty for none.
        field: The name of the text in an error.

    Raises:
        DeniedError: A name is malformed, or there are too many.
    """
    references = []
    for position, item in enumerate(text.split(","), start=1):
        stripped = item.strip()
        if not stripped:
            continue
        name = stripped.removesuffix("?").rstrip()
        if SECRET_NAME.fullmatch(name) is None:
            raise DeniedError(
                Reason.INVALID_REFERENCE,
                f"{field}: item {position} is no bundle name; write names of letters, digits, '.', '_' and '-', "
                "separated by commas, each with '?' behind it if it is optional",
            )
        references.append(Reference(name, optional=stripped.endswith("?")))
    if len(references) > MAX_REFERENCES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"{field}: must name at most {MAX_REFERENCES} bundles, not {len(references)}",
        )
    return tuple(references)


def merge_references(references: Iterable[Reference]) -> tuple[Reference, ...]:
    """Keep each name once, at its last position (rule B); it is optional only if every reference to it is optional."""
    merged: dict[str, Reference] = {}
    for reference in references:
        earlier = merged.pop(reference.name, None)
        optional = reference.optional and (earlier is None or earlier.optional)
        merged[reference.name] = Reference(reference.name, optional)
    return tuple(merged.values())
