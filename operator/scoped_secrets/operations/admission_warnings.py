"""The warnings of admission, as the header of the protocol has them."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["warning_texts"]

# RFC 7234, section 5.5: a code, an agent and a quoted text.
_HEADER: Final = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")


def warning_texts(headers: Iterable[str]) -> tuple[str, ...]:
    """Return the texts of the headers `Warning`, each once."""
    texts = (text for header in headers for text in _HEADER.findall(header))
    return tuple(dict.fromkeys(_ESCAPE.sub(r"\1", text) for text in texts))
