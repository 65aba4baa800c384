"""The HTTP server on a loopback port: its limits, its constant answers, and the change of its certificate."""

import asyncio
import contextlib
import io
import json
import logging
import ssl
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial

import aiohttp
import pytest
from tests.admission.support import KEYS, review_body, review_context, scoped_secret
from tests.support.builders import definition, home_and_project, inventory, pod_body

from scoped_secrets.admission.connection_limits import Limits
from scoped_secrets.admission.credentials import parse_credentials
from scoped_secrets.admission.review import render
from scoped_secrets.admission.server import MAX_BODY_BYTES, ReviewServer
from scoped_secrets.admission.tls import CertificateError, TlsPair, load_pair, server_context
from scoped_secrets.admission.webhooks import WEBHOOKS, decide_review
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.crypto.certificates import plan_certificates
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.fingerprints import FingerprintKey

CANARY = "canary-77ab21"
SECONDS = 10.0
NOW = datetime.now(UTC)


def certificates(now=NOW):
    return plan_certificates(None, ["127.0.0.1"], now, bundle_published=False)


def pair_of(state):
    return TlsPair(state.leaf.certificate_pem(), state.leaf.private_key_pem())


FIRST, SECOND = certificates(), certificates()


def trusting(*states):
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    for state in states:
        context.load_verify_locations(cadata=state.authority.certificate_pem().decode())
    return context


class Served:
    """A server for one test."""

    def __init__(self, limits=None):
        self.known = review_context(inventory(home_and_project(), [definition("acme/aws", env={"A": "a"})]))
        self.tls = server_context()
        load_pair(self.tls, pair_of(FIRST))
        answers = {path: partial(self._answer, webhook) for path, webhook in WEBHOOKS.items()}
        at_once = {path: partial(self._answer_at_once, webhook) for path, webhook in WEBHOOKS.items()}
        self.server = ReviewServer(answers, lambda: self.tls, limits, answers_at_once=at_once)
        self.port = 0
        self.at_once = 0
        self.waits = False

    async def _answer(self, webhook, review):
        # A test may replace the public method.
        return await self.answer(webhook, review)

    async def answer(self, webhook, review):
        return render(review, decide_review(webhook, review, self.known))

    def _answer_at_once(self, webhook, review):
        if self.waits or "answer" in vars(self):
            return None
        self.at_once += 1
        return render(review, decide_review(webhook, review, self.known))

    def url(self, path):
        return f"https://127.0.0.1:{self.port}{path}"

    async def post(self, session, path="/mutate/pods", body=None, **given):
        given.setdefault("headers", {"Content-Type": "application/json"})
        data = json.dumps(body or review_body("pods", pod_body("aws"))) if "data" not in given else given.pop("data")
        async with session.post(self.url(path), data=data, **given) as response:
            return response.status, await response.read()


@contextlib.asynccontextmanager
async def serving(limits=None):
    served = Served(limits)
    served.port = await served.server.start("127.0.0.1", 0)
    try:
        yield served
    finally:
        await asyncio.wait_for(served.server.stop(1.0), SECONDS)


@contextlib.asynccontextmanager
async def client(*states):
    connector = aiohttp.TCPConnector(ssl=trusting(*(states or (FIRST,))))
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(SECONDS)) as session:
        yield session


async def open_raw(served, context=None):
    return await asyncio.open_connection("127.0.0.1", served.port, ssl=context or trusting(FIRST))


async def read_all(reader):
    """Return what the server sends until it closes or aborts the connection."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        return await asyncio.wait_for(reader.read(), SECONDS)
    return b""


async def until(condition):
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the server has no event for a body that is half read.
            await asyncio.sleep(0.005)


async def test_a_review_is_answered_under_its_uid():
    async with serving() as served, client() as session:
        status, body = await served.post(session, body=review_body("pods", pod_body("aws"), uid="u-42"))

        response = json.loads(body)["response"]
        assert (status, response["uid"], response["allowed"]) == (200, "u-42", True)
        assert response["patchType"] == "JSONPatch"


async def test_all_webhooks_share_one_connection_that_stays_open():
    async with serving() as served, client() as session:
        for path in WEBHOOKS:
            # The API server adds its timeout to every call.
            status, _ = await served.post(session, f"{path}?timeout=5s", review_body(path.rpartition("/")[2], {}))
            assert status == 200

        assert served.server._connections.requests_count == len(WEBHOOKS)
        assert len(served.server._connections.connections) == 1


@pytest.mark.parametrize("path", ["/", "/mutate", "/mutate/pods/", "/mutate/secrets", "//mutate/pods", "/%2e/x"])
async def test_an_unknown_path_is_not_found_and_never_allowed(path):
    async with serving() as served, client() as session:
        status, body = await served.post(session, path)

        assert status == 404
        assert b"allowed" not in body


async def test_methods_other_than_post_are_rejected():
    async with serving() as served, client() as session, session.get(served.url("/mutate/pods")) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/yaml"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_media_types_other_than_json_are_rejected(headers):
    async with serving() as served, client() as session:
        # The client would compress by itself if it knew of the header.
        status, _ = await served.post(session, headers=headers, data=b"{}")

        assert status == 415


async def test_a_parameter_of_the_media_type_does_not_matter():
    async with serving() as served, client() as session:
        status, _ = await served.post(session, headers={"Content-Type": "application/json; charset=utf-8"})

        assert status == 200


def padded_review(size):
    body = review_body("pods", pod_body("aws"))
    body["padding"] = ""
    body["padding"] = "x" * (size - len(json.dumps(body)))
    data = json.dumps(body).encode()
    assert len(data) == size
    return io.BytesIO(data)


async def chunks(data):
    while chunk := data.read(100_000):
        yield chunk


async def test_a_body_of_three_mebibytes_is_read_and_one_byte_more_is_not():
    async with serving() as served, client() as session:
        for wrap in (lambda data: data, chunks):
            assert (await served.post(session, data=wrap(padded_review(MAX_BODY_BYTES))))[0] == 200
            assert (await served.post(session, data=wrap(padded_review(MAX_BODY_BYTES + 1))))[0] == 413


async def test_an_announced_size_is_rejected_before_the_body_is_read():
    async with serving() as served:
        reader, writer = await open_raw(served)
        writer.write(
            b"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 10485760\r\n\r\n"
        )

        assert b" 413 " in await asyncio.wait_for(reader.readline(), SECONDS)
        writer.close()


@pytest.mark.parametrize("data", [b"", b"{", b'{"request":"' + CANARY.encode() + b'"}', b"[" * 100_000])
async def test_a_malformed_review_gets_a_constant_answer(data):
    async with serving() as served, client() as session:
        assert await served.post(session, data=data) == (400, b"the body is not an AdmissionReview of version v1\n")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE-" + CANARY.encode() + b"\r\n\r\n",
        b"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nBad Header " + CANARY.encode() + b"\r\n\r\n",
        b"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nX: " + CANARY.encode() + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + CANARY.encode()
        + b"\r\n",
    ],
    ids=["no request line", "no header", "a long header", "no chunk"],
)
async def test_invalid_http_is_answered_and_logged_without_repeating_it(request_bytes, caplog):
    caplog.set_level(logging.DEBUG)
    async with serving() as served:
        reader, writer = await open_raw(served)
        writer.write(request_bytes)

        answer = await read_all(reader)

        assert CANARY.encode() not in answer
        assert answer.startswith(b"HTTP/1.") is bool(answer)
        assert b" 200 " not in answer
        writer.close()
    assert CANARY not in caplog.text


async def test_every_review_is_denied_before_the_first_list():
    async with serving() as served, client() as session:
        served.known = None
        for path in WEBHOOKS:
            resource = path.rpartition("/")[2]
            _, body = await served.post(session, path, review_body(resource, pod_body("aws")))

            response = json.loads(body)["response"]
            assert response["allowed"] is False
            assert response["status"]["code"] == 503
            assert response["status"]["reason"] == "NotSynchronized"
            assert "try again" in response["status"]["message"]


class BrokenInventory(Inventory):
    """Raises an unexpected exception."""

    def binding(self, namespace):
        raise RuntimeError(CANARY + namespace)


async def test_a_failure_inside_is_a_denial_that_tells_nothing(caplog):
    caplog.set_level(logging.DEBUG)
    async with serving() as served, client() as session:
        served.known = review_context(BrokenInventory())
        _, answer = await served.post(session)

    status = json.loads(answer)["response"]["status"]
    assert (status["code"], status["reason"]) == (500, "InternalError")
    assert CANARY not in answer.decode() + caplog.text
    (record,) = [record for record in caplog.records if record.name.startswith("scoped_secrets")]
    assert record.context["error"] == "RuntimeError"
    assert record.context["place"].startswith("scoped_secrets.admission.known_pods:")
    assert record.exc_info is None


async def test_no_value_is_in_any_answer_or_log_line(caplog):
    caplog.set_level(logging.DEBUG)
    async with serving() as served, client() as session:
        for body in (
            scoped_secret(env=[{"name": "A", "value": CANARY}]),
            scoped_secret(env=[{"name": "A", "value": CANARY, "sealed": CANARY}]),
            scoped_secret(env=[{"name": "A", "value": CANARY}], scope=CANARY),
        ):
            for path in ("/mutate/scopedsecrets", "/validate/scopedsecrets"):
                _, answer = await served.post(session, path, review_body("scopedsecrets", body))
                assert CANARY not in answer.decode()
    assert CANARY not in caplog.text


async def test_http_2_is_not_offered_and_old_tls_is_rejected():
    async with serving() as served:
        modern = trusting(FIRST)
        modern.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await open_raw(served, modern)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()

        assert served.tls.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_new_certificate_serves_new_connections_and_old_ones_continue():
    async with serving() as served, client(FIRST) as old, client(SECOND) as new:
        assert (await served.post(old))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await served.post(new)

        load_pair(served.tls, pair_of(SECOND))

        assert (await served.post(old))[0] == 200
        assert (await served.post(new))[0] == 200


@pytest.mark.parametrize(
    "pair",
    [
        TlsPair(FIRST.leaf.certificate_pem(), SECOND.leaf.private_key_pem()),
        TlsPair(b"", b""),
        TlsPair(FIRST.leaf.certificate_pem(), CANARY.encode()),
        TlsPair(FIRST.leaf.certificate_pem() * 100, FIRST.leaf.private_key_pem()),
    ],
    ids=["strangers", "nothing", "no key", "endless"],
)
async def test_an_unusable_certificate_leaves_the_old_one_in_place(pair):
    async with serving() as served, client(FIRST) as session:
        with pytest.raises(CertificateError) as caught:
            load_pair(served.tls, pair)

        assert caught.value.__context__ is None
        assert CANARY not in str(caught.value) + repr(pair)
        assert (await served.post(session))[0] == 200


async def test_silent_and_slow_clients_are_closed_and_others_are_served_meanwhile():
    limits = Limits(first_request_seconds=0.3, body_seconds=0.3)
    async with serving(limits) as served, client() as session:
        silent, silent_writer = await open_raw(served)
        trickling, trickling_writer = await open_raw(served)
        trickling_writer.write(b"POST /mutate/pods HTTP/1.1\r\nHost: x\r\n")
        slow, slow_writer = await open_raw(served)
        slow_writer.write(
            b"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )

        assert (await served.post(session))[0] == 200
        assert await read_all(silent) == b""
        assert await read_all(trickling) == b""
        assert b" 408 " in await read_all(slow)
        assert (await served.post(session))[0] == 200
        for writer in (silent_writer, trickling_writer, slow_writer):
            writer.close()


async def trickle(writer, data, seconds):
    """Send bytes one by one, each after a pause, until the server closes the connection."""
    for position in range(len(data)):
        if writer.transport.is_closing():
            return
        writer.write(data[position : position + 1])
        await asyncio.sleep(seconds)


async def test_a_body_that_never_pauses_but_arrives_too_slowly_is_answered_at_the_deadline():
    data = json.dumps(review_body("pods", pod_body("aws"))).encode()
    headers = (
        f"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode()
    async with serving(Limits(body_seconds=0.5)) as served, client() as session:
        slow = [await open_raw(served) for _ in range(5)]
        began = time.monotonic()
        for _, writer in slow:
            writer.write(headers)
        senders = [asyncio.create_task(trickle(writer, data, 0.02)) for _, writer in slow]

        assert (await served.post(session))[0] == 200
        answers = await asyncio.gather(*(read_all(reader) for reader, _ in slow))

        assert all(b" 408 " in answer for answer in answers)
        assert 0.5 <= time.monotonic() - began < SECONDS
        assert served.server._connections._reading == {}
        await asyncio.gather(*senders)
        for _, writer in slow:
            writer.close()


async def test_a_slow_body_within_the_deadline_is_answered_like_a_fast_one():
    data = json.dumps(review_body("pods", pod_body("aws"))).encode()
    async with serving(Limits(body_seconds=SECONDS)) as served, client() as session:
        reader, writer = await open_raw(served)
        writer.write(
            f"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode()
        )
        await trickle(writer, data, 0.001)
        slow = await read_all(reader)
        _, fast = await served.post(session, data=io.BytesIO(data))

        assert b" 200 " in slow.partition(b"\r\n")[0]
        assert json.loads(slow.partition(b"\r\n\r\n")[2]) == json.loads(fast)
        writer.close()


async def test_a_certificate_that_changes_while_reviews_run_fails_none():
    async with serving() as served, client(FIRST, SECOND) as session:
        running, release = asyncio.Event(), asyncio.Event()
        answer = served.answer

        async def held(webhook, review):
            running.set()
            await release.wait()
            return await answer(webhook, review)

        served.answer = held
        before = [asyncio.create_task(served.post(session)) for _ in range(20)]
        await asyncio.wait_for(running.wait(), SECONDS)
        for state in (SECOND, FIRST, SECOND):
            tls = server_context()
            load_pair(tls, pair_of(state))
            served.tls = tls
            before += [asyncio.create_task(served.post(session)) for _ in range(20)]
            await asyncio.sleep(0.05)
        release.set()

        assert {status for status, _ in await asyncio.gather(*before)} == {200}


async def test_a_flood_of_connections_closes_silent_ones_and_not_the_api_servers():
    async with serving(Limits(connections=20)) as served, client() as session:
        assert (await served.post(session))[0] == 200
        flood = [await open_raw(served) for _ in range(60)]

        assert (await served.post(session))[0] == 200
        assert len(served.server._connections._open) <= 20
        async with client() as another:
            assert (await served.post(another))[0] == 200
        for _, writer in flood:
            writer.close()


async def test_large_bodies_that_arrive_slowly_are_closed_before_they_fill_the_memory():
    async with serving(Limits(buffered_bytes=MAX_BODY_BYTES)) as served, client() as session:
        data = padded_review(MAX_BODY_BYTES).read()
        half = len(data) // 2
        reader, writer = await open_raw(served)
        writer.write(
            f"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data[:half]
        )
        await writer.drain()
        await until(lambda: sum(served.server._connections._reading.values()) >= half)

        assert (await served.post(session, data=io.BytesIO(data)))[0] == 200
        assert await read_all(reader) == b""
        assert served.server._connections._reading == {}
        writer.close()


async def test_many_reviews_at_once_are_all_answered():
    async with serving() as served, client() as session:
        answers = await asyncio.gather(*(served.post(session) for _ in range(300)))

        assert {status for status, _ in answers} == {200}


REQUEST = (
    b"POST /mutate/pods?timeout=5s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)


def request_of(uid="review-1"):
    body = json.dumps(review_body("pods", pod_body("aws"), uid=uid)).encode()
    return REQUEST % len(body) + body


async def answer_from(reader):
    """Return the answer to a review that a server sends on a connection that stays open."""
    async with asyncio.timeout(SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines()[1:] if line)
        body = await reader.readexactly(int(fields["Content-Length"]))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert fields["Content-Type"] in {"application/json", "application/json; charset=utf-8"}
    assert abs((parsedate_to_datetime(fields["Date"]) - datetime.now(UTC)).total_seconds()) < SECONDS
    return json.loads(body)["response"]


@pytest.mark.parametrize("waits", [False, True])
async def test_reviews_are_answered_at_once_unless_one_has_to_wait(waits):
    async with serving() as served:
        served.waits = waits
        reader, writer = await open_raw(served)
        for number in range(3):
            writer.write(request_of(f"review-{number}"))
            answer = await answer_from(reader)
            assert (answer["uid"], answer["allowed"]) == (f"review-{number}", True)
        writer.close()
        assert (served.at_once > 0) is not waits


@pytest.mark.parametrize("pause", [0.0, 0.005, 0.2])
@pytest.mark.parametrize("first", [20, 300])
async def test_a_review_that_arrives_in_parts_is_answered(first, pause):
    async with serving() as served:
        reader, writer = await open_raw(served)
        for number in range(3):
            data = request_of(f"review-{number}")
            for part in (data[:first], data[first:-5], data[-5:]):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
            assert (await answer_from(reader))["uid"] == f"review-{number}"
        writer.close()


async def test_reviews_that_arrive_together_are_answered_in_their_order():
    async with serving() as served:
        reader, writer = await open_raw(served)
        for _ in range(2):
            writer.write(b"".join(request_of(f"review-{number}") for number in range(5)))
            assert [(await answer_from(reader))["uid"] for _ in range(5)] == [f"review-{number}" for number in range(5)]
        writer.close()


async def test_what_is_no_review_is_answered_alike_on_a_connection_in_use():
    async with serving() as served:
        for broken in (b"{}", b"", b"[" * 100):
            reader, writer = await open_raw(served)
            writer.write(request_of())
            await answer_from(reader)
            writer.write(REQUEST % len(broken) + broken)
            assert (await read_all(reader)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
            writer.close()


async def test_a_stopping_server_finishes_a_review_whose_rest_arrives_meanwhile():
    async with serving() as served:
        reader, writer = await open_raw(served)
        writer.write(request_of())
        await answer_from(reader)
        data = request_of("last")
        writer.write(data[:-10])
        await writer.drain()
        (connection,) = served.server._connections.connections
        await until(lambda: connection._awaited is not None or served.server._in_flight)

        stopping = asyncio.create_task(served.server.stop(SECONDS))
        await asyncio.sleep(0.02)
        writer.write(data[-10:])

        assert (await answer_from(reader))["uid"] == "last"
        await stopping
        assert await read_all(reader) == b""


async def test_a_stopping_server_finishes_the_reviews_that_have_begun():
    async with serving() as served:
        data = json.dumps(review_body("pods", pod_body("aws"))).encode()
        reader, writer = await open_raw(served)
        writer.write(
            f"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data[:10]
        )
        await until(lambda: not served.server._idle.is_set())

        stopping = asyncio.create_task(served.server.stop(SECONDS))
        await asyncio.sleep(0)
        writer.write(data[10:])
        answer = await read_all(reader)

        assert b" 200 " in answer
        assert b"Connection: close" in answer
        await asyncio.wait_for(stopping, SECONDS)
        with pytest.raises(ConnectionRefusedError):
            await open_raw(served)
        writer.close()


async def test_a_draining_server_closes_each_connection_after_its_answer():
    async with serving() as served, client() as session:
        served.server.drain()

        async with session.post(served.url("/mutate/pods"), json=review_body("pods", pod_body("aws"))) as response:
            assert response.status == 200
            assert response.headers["Connection"] == "close"


# Credentials


def credentials_data(state=FIRST):
    pair = pair_of(state)
    return {
        "tls.crt": pair.certificate,
        "tls.key": pair.private_key,
        "fingerprint.key": FingerprintKey(bytes(32)).serialize(),
        "sealing.pub": KEYS.public().serialize(),
    }


def test_credentials_are_parsed_from_the_data_of_a_secret_and_show_no_key():
    data = credentials_data()

    credentials = parse_credentials(data)

    assert credentials.recipients == KEYS.public()
    load_pair(server_context(), credentials.tls)
    assert data["tls.key"].splitlines()[1].decode() not in repr(credentials)


@pytest.mark.parametrize("key", list(credentials_data()))
@pytest.mark.parametrize("content", [None, b"", b"damaged " + CANARY.encode()])
def test_credentials_that_lack_a_part_are_rejected_without_showing_it(key, content):
    data = {**credentials_data(), key: content}

    with pytest.raises((KeyMaterialError, CertificateError)) as caught:
        load_pair(server_context(), parse_credentials(data).tls)

    assert CANARY not in str(caught.value)


def test_an_expired_certificate_is_still_loaded_because_only_clients_judge_time():
    load_pair(server_context(), pair_of(certificates(NOW - timedelta(days=400))))
