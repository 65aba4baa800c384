"""Keep the former values of variables that are replaced, for jobs that still need them for some time."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from scoped_secrets.core.entry import EntryKey, EntryKind, previous_name
from scoped_secrets.errors import InvalidObjectError
from scoped_secrets.kube.client import Body
from scoped_secrets.operations.change_entries import SealedEntries
from scoped_secrets.timestamps import rfc3339

__all__ = ["with_former_values"]


def with_former_values(body: Body, sealed: SealedEntries, keys: Iterable[EntryKey], until: datetime) -> SealedEntries:
    """Return sealed entries, and beside them the present sealed text of each variable as its former value.

    The text stays as it is and in its object, so that its value is neither read nor sealed again.

    Args:
        body: The object as it is.
        sealed: The entries with their new values.
        keys: The variables whose present value is kept.
        until: From when on new jobs run without the former values.

    Raises:
        InvalidObjectError: An entry is a file, has no sealed value, or its former value would replace another entry.
    """
    stored = {entry["name"]: entry for entry in body["spec"].get(EntryKind.ENV.spec_list) or ()}
    kept: dict[EntryKey, Body] = {}
    for key in keys:
        if key.kind is not EntryKind.ENV:
            raise InvalidObjectError(
                f"--keep-previous is for variables, and {key} is a file; store its present content at another path "
                "first"
            )
        entry, name = stored.get(key.name, {}), previous_name(key.name)
        if "sealed" not in entry:
            raise InvalidObjectError(f"{key} has no sealed value to keep; leave --keep-previous out")
        if "previousOf" in entry:
            raise InvalidObjectError(f"{key} is a former value itself; rotate '{entry['previousOf']}' instead")
        if name in stored and "previousOf" not in stored[name]:
            raise InvalidObjectError(
                f"variable '{name}' exists and is no former value, so that nothing is kept there; rename it, or leave "
                "--keep-previous out"
            )
        fields = {"name": name, "previousOf": key.name, "sealed": entry["sealed"], "expireTime": rfc3339(until)}
        kept[EntryKey(EntryKind.ENV, name)] = fields
    return replace(sealed, entries={**sealed.entries, **kept})
