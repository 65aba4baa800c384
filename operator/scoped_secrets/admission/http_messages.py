"""Which requests need none of what HTTP offers, and how they and invalid ones are answered."""

import asyncio
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Final, TypeAlias

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import RawRequestMessage

__all__ = ["AtOnce", "failure", "is_plain", "plain_response", "unread"]

AtOnce: TypeAlias = Callable[[str, bytes], bytes | None]
"""Returns the JSON that answers a target and a body; ``None`` to leave the request to the handler. It never raises."""

_MAX_PLAIN_BYTES: Final = 64 * 1024
"""The largest body that is answered where it arrives."""
_SIZE_DIGITS: Final = 10
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: %b\r\n\r\n"


def is_plain(message: RawRequestMessage) -> bool:
    """Tell whether a request has nothing but a small JSON body, on a connection that stays open."""
    headers = message.headers
    size = headers.get("Content-Length", "")
    return (
        message.method == "POST"
        and headers.get("Content-Type") == "application/json"
        and "Content-Encoding" not in headers
        and not (message.should_close or message.upgrade or message.chunked)
        and len(size) < _SIZE_DIGITS
        and int(size or 0) <= _MAX_PLAIN_BYTES
    )


def plain_response(answer: bytes) -> bytes:
    """Return the whole response with a JSON body."""
    return _HEAD % (len(answer), _http_date(int(time.time()))) + answer


def unread(body: bytes, protocol: BaseProtocol, loop: asyncio.AbstractEventLoop) -> StreamReader:
    """Return a body that was read from a connection as it is before it is read."""
    reader = StreamReader(protocol, _MAX_PLAIN_BYTES, loop=loop)
    reader.feed_data(body)
    reader.feed_eof()
    return reader


def failure(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error response that closes the connection, because the rest of the request is not read."""
    response = web.Response(status=status, text=f"{text}\n", headers=headers)
    response.force_close()
    return response


@lru_cache(maxsize=1)
def _http_date(second: int) -> bytes:
    """Return a time as HTTP has it."""
    return formatdate(second, usegmt=True).encode("ascii")
