"""What a value of a ScopedSecret is compared with, and how `verify` asks for it (DESIGN section 7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scoped_secrets.api.parsing import parse_scoped_secret
from scoped_secrets.api.value_fingerprints import value_fingerprint
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["ComparisonRequest", "stored_fingerprint"]


@dataclass(frozen=True, slots=True)
class ComparisonRequest:
    """The text of the annotation `names.COMPARE_ANNOTATION`: the kind and the name of an entry, and a sealed guess.

    The three are separated by spaces. A name may hold spaces; kind and guess hold none.
    """

    entry: EntryKey
    guess: str

    def encode(self) -> str:
        """Return the text of the annotation."""
        return f"{self.entry.kind.context_word} {self.entry.name} {self.guess}"

    @classmethod
    def parse(cls, text: object) -> "ComparisonRequest | None":
        """Return the request; ``None`` when the text is none."""
        if not isinstance(text, str):
            return None
        word, _, rest = text.partition(" ")
        name, _, guess = rest.rpartition(" ")
        kind = next((each for each in EntryKind if each.context_word == word), None)
        return None if kind is None or not name else cls(EntryKey(kind, name), guess)


def stored_fingerprint(body: Mapping[str, Any], entry: EntryKey) -> Fingerprint:
    """Return the fingerprint that a value is compared with.

    Args:
        body: The stored ScopedSecret.
        entry: The entry.

    Raises:
        DeniedError: The entry cannot be verified; the message says why and what to do.
        InvalidObjectError: The object breaks the schema.
    """
    metadata = body["metadata"]
    model = parse_scoped_secret({name: value for name, value in body.items() if name != "status"})
    found = next((each for each in model.entries if each.key == entry), None)
    if found is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"ScopedSecret '{metadata['namespace']}/{metadata['name']}' has no {entry}; check its name",
        )
    if found.sealing_key != found.key:
        raise DeniedError(
            Reason.KEY_NOT_FOUND, f"{entry} is a former value, which cannot be verified; check what a job gets"
        )
    if found.sealed is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"the value of {entry} is not sealed here: it is plain configuration or comes from another Secret; "
            "look there",
        )
    stored = value_fingerprint(body, entry, found.sealed)
    if stored is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"{entry} cannot be verified, because it was sealed offline and the controller has recorded no "
            "fingerprint of it; wait until the ScopedSecret is Ready. With `settings.keepUnchanged: false` in the "
            "chart it never does: check what a job gets",
        )
    return stored
