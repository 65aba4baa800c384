"""The names of a context of CircleCI, from the JSON that its API lists them with; it never has values."""

import json
from typing import Any

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.imports import ImportedBundle, ImportedEntry, require_unique

__all__ = ["parse_circleci"]


def parse_circleci(content: bytes, name: str) -> ImportedBundle:
    """Return the context as a bundle without values.

    Args:
        content: The answer of `GET /api/v2/context/ID/environment-variable`, or its list of items alone; the variables
            of a project have the same form.
        name: The name of the bundle; the answer has only the id of the context.

    Raises:
        ConfigurationError: The text does not have this form.
    """
    title = f"context '{name}'"
    try:
        answer: Any = json.loads(content)
    except ValueError:
        answer = None
    items = answer.get("items") if isinstance(answer, dict) else answer
    if not isinstance(items, list):
        raise ConfigurationError(
            "the file must be the JSON of `GET /api/v2/context/ID/environment-variable`, with a list `items`"
        )
    if isinstance(answer, dict) and answer.get("next_page_token"):
        raise ConfigurationError(
            "the file has one page of several, because `next_page_token` is given; put the items of all pages into one"
        )
    if not items:
        raise ConfigurationError("the file has no variables; nothing is there to import")
    entries = [ImportedEntry(EntryKey(EntryKind.ENV, _name(index, item))) for index, item in enumerate(items)]
    return ImportedBundle(title=title, secret_name=name, entries=require_unique(title, entries))


def _name(index: int, item: Any) -> str:
    # Variables of a context have `variable`, those of a project `name`.
    found = item.get("variable") or item.get("name") if isinstance(item, dict) else None
    if not isinstance(found, str):
        raise ConfigurationError(f"`items[{index}].variable` must be the name of a variable")
    return found
