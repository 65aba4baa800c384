"""The HTTP server of the webhooks: paths, media types, sizes and draining (DESIGN section 9).

Every text in its answers is constant, because every client that reaches the port may send anything.

It uses aiohttp's low-level ``web.Server``. A ``web.Application`` alone fails eight attack tests of test_server.py: it
keeps silent connections open, accepts any number of connections and large bodies, repeats invalid requests in answers
and logs, and drops a body that is being read when the server stops. Above what prevents this, its router and
``client_max_size`` would replace six lines, for more processor time.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final, TypeAlias

from aiohttp import web

from scoped_secrets.admission.connection_limits import Limits
from scoped_secrets.admission.connections import BoundedConnections, connection_of
from scoped_secrets.admission.http_messages import failure
from scoped_secrets.admission.review import MalformedReviewError, Review, parse_review

__all__ = ["MAX_BODY_BYTES", "Answer", "AnswerAtOnce", "Document", "Observer", "ReviewServer"]

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""The largest review: an update with two objects of the maximum size, one with a guess of the largest file."""

Answer: TypeAlias = Callable[[Review], Awaitable[bytes]]
"""Returns the response's body for a review; it must not raise."""

AnswerAtOnce: TypeAlias = Callable[[Review], bytes | None]
"""Returns the response's body for a review, ``None`` when that needs a wait; it must not raise."""

Document: TypeAlias = Callable[[], bytes | None]
"""Returns a public plain text, or ``None`` while it is unknown."""

Observer: TypeAlias = Callable[[str, int, float], None]
"""Receives the path, the HTTP status, and the seconds since the headers of every answer to a review."""

_JSON: Final = "application/json"
_ROUNDS_TO_BEGIN: Final = 3
"""The rounds of the event loop until aiohttp has begun with a request that was released."""


class ReviewServer:
    """Serves admission reviews over TLS in the event loop that starts it."""

    def __init__(
        self,
        answers: Mapping[str, Answer],
        tls: Callable[[], ssl.SSLContext],
        limits: Limits | None = None,
        *,
        documents: Mapping[str, Document] | None = None,
        observe: Observer = lambda path, status, seconds: None,  # noqa: ARG005 - observes nothing
        answers_at_once: Mapping[str, AnswerAtOnce] | None = None,
    ) -> None:
        """Take what answers at each path.

        Args:
            answers: The webhooks, by path.
            tls: Returns the TLS context of a new connection.
            limits: Bounds of what clients can make the server hold.
            documents: Public texts, by path.
            observe: Receives every answer except those with documents, also answers about unknown paths.
            answers_at_once: What is asked first, by path; the webhook answers what this leaves open.
        """
        self._answers = answers
        self._documents = documents or {}
        self._observe = observe
        self._limits = limits or Limits()
        self._answers_at_once = answers_at_once or {}
        self._connections = BoundedConnections(self._handle, tls, self._limits, self._answer_at_once)
        self._listener: asyncio.Server | None = None
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_draining = False

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port, which matters when 0 was given."""
        # Each connection brings its TLS, so that it counts from the moment at which it is accepted.
        self._listener = await asyncio.get_running_loop().create_server(
            self._connections.accept, host, port, backlog=512
        )
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def drain(self) -> None:
        """Close each connection after its next answer, so that clients move to another replica."""
        self._is_draining = True
        self._connections.release()

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more connections, finish the reviews that have begun, and close all connections."""
        self.drain()
        if self._listener is None:
            return
        self._listener.close()
        for _ in range(_ROUNDS_TO_BEGIN):
            await asyncio.sleep(0)
        # aiohttp's own shutdown would drop the rest of a body that is being read.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_seconds)
        await self._connections.close()
        # From Python 3.12 on, this waits until all connections are closed.
        await self._listener.wait_closed()

    def _answer_at_once(self, target: str, body: bytes) -> bytes | None:
        """Answer a review that needs no wait; ``None`` leaves the request to `_handle`."""
        path = target.partition("?")[0]
        answer_at_once = self._answers_at_once.get(path)
        if answer_at_once is None or self._is_draining:
            return None
        began = time.perf_counter()
        try:
            answer = answer_at_once(parse_review(body))
        except MalformedReviewError:
            return None
        if answer is not None:
            self._observe(path, HTTPStatus.OK, time.perf_counter() - began)
        return answer

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        self._in_flight += 1
        self._idle.clear()
        try:
            response = await self._respond(request)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        if self._is_draining:
            response.force_close()
        return response

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        document = self._documents.get(request.path)
        if document is not None:
            return _document_response(request, document())
        began = time.perf_counter()
        response = await self._review(request)
        self._observe(request.path, response.status, time.perf_counter() - began)
        return response

    async def _review(self, request: web.BaseRequest) -> web.Response:
        """Answer a review, or return an error response to anything else."""
        answer = self._answers.get(request.path)
        if answer is None:
            return failure(404, "there is no webhook at this path")
        body = _header_error(request) or await self._read(request)
        if isinstance(body, web.Response):
            return body
        try:
            review = parse_review(body)
        except MalformedReviewError as error:
            return failure(400, str(error))
        return web.Response(body=await answer(review), content_type=_JSON)

    async def _read(self, request: web.BaseRequest) -> bytes | web.Response:
        """Return the body, or an error response to one that is too large or too slow.

        The connection counts as idle meanwhile, and may be closed in favor of others.
        """
        content, connection = request.content, connection_of(request)
        if content.is_eof():
            # Most bodies arrive together with the headers.
            return content.read_nowait()
        chunks: list[bytes] = []
        size = 0
        self._connections.set_reading(connection, size)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while chunk := await content.readany():
                    size += len(chunk)
                    if size > MAX_BODY_BYTES:
                        return failure(413, "the body is larger than 4 MiB")
                    self._connections.set_reading(connection, size)
                    chunks.append(chunk)
        except TimeoutError:
            return failure(408, "the body arrived too slowly")
        except web.RequestPayloadError:
            return failure(400, "the body is incomplete")
        finally:
            self._connections.set_busy(connection)
        return b"".join(chunks)


def _header_error(request: web.BaseRequest) -> web.Response | None:
    """Return the error response to a request whose headers suffice to reject it."""
    if request.method != "POST":
        return failure(405, "webhooks accept POST only", {"Allow": "POST"})
    # A compressed body could be small here and large in memory; the API server sends none.
    if request.content_type != _JSON or "Content-Encoding" in request.headers:
        return failure(415, "the body must be application/json, not compressed")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        return failure(413, "the body is larger than 4 MiB")
    return None


def _document_response(request: web.BaseRequest, document: bytes | None) -> web.Response:
    """Return a public document. The connection closes, because people request documents, and rarely."""
    if request.method not in {"GET", "HEAD"}:
        return failure(405, "this path accepts GET and HEAD only", {"Allow": "GET, HEAD"})
    if document is None:
        return failure(503, "this document is not available yet; try again", {"Retry-After": "1"})
    response = web.Response(body=document, content_type="text/plain", charset="us-ascii")
    response.force_close()
    return response
