"""The bounds on connections: which one is closed when there are too many, and that none with a request in flight is."""

import asyncio
import inspect
import json
import time
from asyncio.sslproto import SSLProtocol

import pytest
from aiohttp import web
from tests.admission.support import review_body
from tests.admission.test_server import FIRST, SECONDS, client, read_all, serving, trusting, until
from tests.support.builders import pod_body

from scoped_secrets.admission.connection_limits import Limits

BODY = json.dumps(review_body("pods", pod_body("aws"))).encode()
HEADERS = (
    b"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    + f"Content-Length: {len(BODY)}\r\n\r\n".encode()
)
OTHER = "127.0.0.2"


def bounds(served):
    return served.server._connections


async def open_from(served, address, *, tls=True):
    """Open a connection, and wait until the server counts it: after its handshake it surely does."""
    context = trusting(FIRST) if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context, local_addr=(address, 0))
    if not tls:
        own = writer.get_extra_info("sockname")
        await until(lambda: any(each.peer == own for each in bounds(served)._open))
    return reader, writer


async def ask(reader, writer):
    """Send a whole request, and return the status line."""
    writer.write(HEADERS + BODY)
    await writer.drain()
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SECONDS)
    length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length"))
    await asyncio.wait_for(reader.readexactly(length), SECONDS)
    return head.splitlines()[0]


async def is_closed(reader):
    """Tell whether the server has closed a connection."""
    return await read_all(reader) == b""


async def test_the_connection_that_has_been_idle_longest_is_closed_whoever_opened_it():
    async with serving(Limits(connections=3)) as served:
        first, second, third = [await open_from(served, "127.0.0.1") for _ in range(3)]
        for connection in (second, third, first):
            assert b" 200 " in await ask(*connection)

        fourth = await open_from(served, "127.0.0.1")

        assert await is_closed(second[0])
        for connection in (first, third, fourth):
            assert b" 200 " in await ask(*connection)
            connection[1].close()


async def test_a_connection_with_a_request_in_flight_is_never_closed():
    async with serving(Limits(connections=2, connections_per_source=2)) as served:
        served.waits = True
        release = asyncio.Event()
        decide = served.server._answers["/mutate/pods"]

        async def slow(review):
            await release.wait()
            return await decide(review)

        served.server._answers["/mutate/pods"] = slow
        reader, writer = await open_from(served, "127.0.0.1")
        asked = asyncio.create_task(ask(reader, writer))
        await until(lambda: served.server._in_flight == 1)

        flood = [await open_from(served, "127.0.0.1") for _ in range(20)]
        assert len(bounds(served)._open) <= 4
        release.set()

        assert b" 200 " in await asked
        for _, each in (*flood, (reader, writer)):
            each.close()


async def test_an_address_has_its_own_bound_and_takes_no_place_of_another():
    async with serving(Limits(connections=10, connections_per_source=4)) as served:
        mine = await open_from(served, "127.0.0.1")
        assert b" 200 " in await ask(*mine)

        flood = [await open_from(served, OTHER) for _ in range(30)]

        await until(lambda: len(bounds(served)._open) == 5)
        assert b" 200 " in await ask(*mine)
        for _, writer in (*flood, mine):
            writer.close()


async def test_a_flood_from_few_addresses_closes_its_own_connections_before_older_ones_of_others():
    limits = Limits(connections=12, connections_per_source=8, kept_per_source=3)
    async with serving(limits) as served:
        mine = [await open_from(served, "127.0.0.1") for _ in range(3)]
        flood = [await open_from(served, f"127.0.0.{2 + number % 2}") for number in range(40)]

        for connection in mine:
            assert b" 200 " in await ask(*connection)
        assert len(bounds(served)._open) <= 12
        for _, writer in (*mine, *flood):
            writer.close()


async def test_connections_in_their_handshake_count():
    async with serving(Limits(connections=5)) as served, client() as session:
        silent = [await open_from(served, OTHER, tls=False) for _ in range(3)]
        waiting = [await asyncio.open_connection("127.0.0.1", served.port, local_addr=(OTHER, 0)) for _ in range(40)]

        for reader, _ in silent:
            assert await is_closed(reader)
        assert len(bounds(served)._open) <= 5
        assert (await served.post(session))[0] == 200
        for _, writer in (*silent, *waiting):
            writer.close()


@pytest.mark.parametrize("begun", [b"POST /mutate/pods HTTP/1.1\r\nX: ", HEADERS + BODY[:1]], ids=["headers", "body"])
async def test_a_request_that_arrives_slowly_is_idle_since_it_began(begun):
    async with serving(Limits(connections=3)) as served:
        slow = await open_from(served, "127.0.0.1")
        slow[1].write(begun)
        await until(lambda: bounds(served).requests_count or slow_headers(served))
        others = [await open_from(served, "127.0.0.1") for _ in range(2)]
        slow[1].write(b"a")
        await slow[1].drain()
        assert b" 200 " in await ask(*others[0])

        others.append(await open_from(served, "127.0.0.1"))

        assert await is_closed(slow[0])
        for connection in others:
            assert b" 200 " in await ask(*connection)
            connection[1].close()
        slow[1].close()


def slow_headers(served):
    return any(each._header_bytes for each in bounds(served).connections)


async def test_headers_without_end_are_cut_off():
    async with serving(Limits(header_bytes=4096)) as served:
        reader, writer = await open_from(served, "127.0.0.1")
        writer.write(b"POST /mutate/pods HTTP/1.1\r\n" + b"".join(b"A%d: %s\r\n" % (i, b"x" * 500) for i in range(20)))

        assert b" 200 " not in await read_all(reader)
        writer.close()
        await until(lambda: not bounds(served)._open)


async def large_answer(_review):
    return b"x" * 30_000_000


async def test_an_answer_that_the_client_does_not_receive_is_dropped():
    async with serving(Limits(answer_seconds=0.3)) as served:
        served.server._answers["/mutate/pods"] = large_answer
        _, writer = await open_from(served, OTHER)
        writer.transport.pause_reading()
        writer.write(HEADERS + BODY)
        await until(lambda: bounds(served).requests_count)

        await until(lambda: not bounds(served)._open)
        assert bounds(served)._unsent == {}
        writer.transport.abort()


async def test_answers_that_no_client_receives_have_a_bound_over_all_connections():
    async with serving(Limits(buffered_bytes=40_000_000)) as served:
        served.server._answers["/mutate/pods"] = large_answer
        writers = []
        for number in range(1, 4):
            _, writer = await open_from(served, OTHER)
            writer.transport.pause_reading()
            writer.write(HEADERS + BODY)
            writers.append(writer)
            await until(lambda number=number: bounds(served).requests_count == number)

        await until(lambda: sum(each.unsent_bytes for each in bounds(served)._open) <= 40_000_000)
        for writer in writers:
            writer.transport.abort()


async def test_closed_connections_leave_nothing_behind():
    async with serving() as served:
        for _ in range(20):
            reader, writer = await open_from(served, OTHER)
            await ask(reader, writer)
            writer.transport.abort()
            await until(lambda: not bounds(served)._open)
            _, writer = await open_from(served, OTHER, tls=False)
            writer.transport.abort()
            await until(lambda: not bounds(served)._open)

        held = bounds(served)
        assert not any((held._idle, held._idle_by_source, held._reading, held._unsent))


def test_the_parts_of_asyncio_and_aiohttp_that_are_used_exist():
    parameters = inspect.signature(SSLProtocol.__init__).parameters
    assert list(parameters)[1:6] == ["loop", "app_protocol", "sslcontext", "waiter", "server_side"]
    assert {"ssl_handshake_timeout", "ssl_shutdown_timeout"} <= parameters.keys()
    assert "bytearray(self.max_size)" in inspect.getsource(SSLProtocol.__init__)
    used = {"_buffer_paused", "_current_request", "_keepalive", "_keepalive_handle", "_messages", "_parser", "_waiter"}
    assert used | {"_next_keepalive_close_time"} <= {*dir(web.RequestHandler)}
    received = inspect.getsource(web.RequestHandler.data_received)
    assert received.count("self._waiter") == 1, "data_received uses the waiter for more than to wake the task"
    assert "self._parser.message_consumed()" in inspect.getsource(web.RequestHandler.start)
    assert list(inspect.signature(web.RequestHandler.finish_response).parameters) == [
        "self",
        "request",
        "resp",
        "start_time",
    ]


async def test_an_idle_connection_whose_reviews_were_answered_at_once_is_closed():
    limit = 1.0
    async with serving(Limits(idle_seconds=limit)) as served:
        reader, writer = await open_from(served, "127.0.0.1")
        end = time.monotonic() + 1.5 * limit
        # It is open for longer than the limit, because each review counts.
        while time.monotonic() < end:
            assert b" 200 " in await ask(reader, writer)
        assert served.at_once >= 2

        assert await asyncio.wait_for(reader.read(), SECONDS) == b""
        writer.close()
