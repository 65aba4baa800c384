"""The trusted issuers of the process: a file that administrators write, read again periodically.

A file that cannot be used changes nothing: the issuers before it stay, the log says why, and a metric shows it. Without
any issuer, no claim about refs and events holds, which allows less.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final

from scoped_secrets.api.trusted_issuers import parse_trusted_issuers
from scoped_secrets.core.policy.issuers import TrustedIssuer
from scoped_secrets.errors import InvalidObjectError
from scoped_secrets.logs import context

__all__ = ["IssuersFile"]

_logger = logging.getLogger(__name__)

_MAX_BYTES: Final = 1024 * 1024
"""The limit of a ConfigMap."""


class IssuersFile:
    """The issuers as the file last stated them validly.

    Attributes:
        issuers: The issuers, in the file's order.
        is_valid: Whether the present file is the one that is used.
    """

    def __init__(self, path: str | None) -> None:
        """Take the path of the file; ``None`` when there is none."""
        self._path = None if path is None else Path(path)
        self._read: bytes | None = None
        self._has_read = False
        self.issuers: tuple[TrustedIssuer, ...] = ()
        self.is_valid = path is None

    async def reload(self) -> None:
        """Use the file if it has changed and is valid."""
        if self._path is None:
            return
        data = await asyncio.to_thread(_content, self._path)
        if self._has_read and data == self._read:
            return
        self._read, self._has_read = data, True
        try:
            self.issuers = _parse(data)
        except InvalidObjectError as error:
            self.is_valid = False
            _logger.error(  # noqa: TRY400 - the message is all that concerns the administrator
                "trusted issuers rejected, the former ones stay",
                extra=context(error=error.message, count=len(self.issuers)),
            )
        else:
            self.is_valid = True
            _logger.info("trusted issuers loaded", extra=context(count=len(self.issuers)))


def _parse(data: bytes | None) -> tuple[TrustedIssuer, ...]:
    """Return the issuers of a file.

    Raises:
        InvalidObjectError: The file cannot be used; the message names the field.
    """
    if data is None:
        raise InvalidObjectError("--trusted-issuers-file must name a file that can be read")
    if len(data) > _MAX_BYTES:
        raise InvalidObjectError("the file must have at most 1 MiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None:
        # Raised outside of the handler: the context would quote the input.
        raise InvalidObjectError("the file must be UTF-8 text")
    return parse_trusted_issuers(text)


def _content(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES + 1)
    except OSError:
        return None
