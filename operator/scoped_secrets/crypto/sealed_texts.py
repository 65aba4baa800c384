"""What the headers of sealed texts tell, in both formats: self-contained (``v1:``) and under a data key (``v2:``)."""

import hmac
from typing import TypeAlias

from scoped_secrets.crypto import entry_header, envelope_header
from scoped_secrets.crypto.entry_header import EntryHeader
from scoped_secrets.crypto.envelope_header import SealedHeader
from scoped_secrets.crypto.sealing_context import SealingContext, context_digest

__all__ = ["TextHeader", "matches_context", "parse_header", "plaintext_bound"]

TextHeader: TypeAlias = SealedHeader | EntryHeader


def parse_header(text: str) -> TextHeader:
    """Return the header of a sealed text of either format, reading only its first characters and its length.

    Raises:
        SealingError: It is not the beginning of a sealed text.
    """
    if text.startswith(entry_header.PREFIX):
        return entry_header.parse_header(text)
    return envelope_header.parse_header(text)


def plaintext_bound(text: str) -> int:
    """Return the largest size in bytes that the value can have; the real one is at most 63 bytes smaller.

    Raises:
        SealingError: It is not the beginning of a sealed text.
    """
    if text.startswith(entry_header.PREFIX):
        return entry_header.plaintext_bound(text)
    return envelope_header.plaintext_bound(text)


def matches_context(header: TextHeader, context: SealingContext) -> bool:
    """Return whether the text says that it was sealed for this context.

    A forged header may say so; then the text does not open. False is certain: it can not open here.
    """
    digest = context_digest(context.encode())
    return hmac.compare_digest(header.context_digest, digest[: len(header.context_digest)])
