"""The doctor asks a real admission server over TLS, trusting a caBundle alone."""

import contextlib
import socket
from datetime import UTC, datetime, timedelta

import pytest
from tests.admission.support import KEYS

from scoped_secrets import names
from scoped_secrets.admission.server import ReviewServer
from scoped_secrets.admission.tls import TlsPair, load_pair, server_context
from scoped_secrets.crypto.certificates import ca_bundle, plan_certificates
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.doctor.facts import Reach
from scoped_secrets.doctor.reach import ask_admission, origin_of

NOW = datetime.now(UTC)
CERTIFICATE = SealingCertificate("cluster-1", KEYS.public())
DOCUMENT = CERTIFICATE.serialize()


def certificates(name="127.0.0.1", now=NOW):
    return plan_certificates(None, [name], now, bundle_published=False)


@contextlib.asynccontextmanager
async def serving(state, document):
    tls = server_context()
    load_pair(tls, TlsPair(state.leaf.certificate_pem(), state.leaf.private_key_pem()))
    server = ReviewServer({}, lambda: tls, documents={names.CERTIFICATE_PATH: lambda: document})
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        await server.stop(1.0)


async def asked(state, trusted, document=DOCUMENT):
    async with serving(state, document) as origin:
        return await ask_admission(origin, ca_bundle(trusted))


async def test_a_trusted_server_tells_the_end_of_its_certificate_and_what_it_seals_for():
    state = certificates()
    served = await asked(state, state)

    assert (served.reach, served.checksum) == (Reach.TRUSTED, CERTIFICATE.checksum)
    assert served.end == state.leaf.certificate.not_valid_after_utc


async def test_a_server_that_knows_no_keys_yet_is_trusted_all_the_same():
    state = certificates()
    served = await asked(state, state, None)

    assert (served.reach, served.checksum) == (Reach.TRUSTED, "")


async def test_another_authority_is_not_trusted():
    served = await asked(certificates(), certificates())

    assert (served.reach, served.problem) == (
        Reach.UNTRUSTED,
        "it is signed by an authority that the caBundle does not have",
    )


async def test_a_certificate_that_has_ended_is_not_trusted():
    state = certificates(now=NOW - timedelta(days=200))
    served = await asked(state, state)

    assert (served.reach, served.problem) == (Reach.UNTRUSTED, "it has expired")


async def test_a_certificate_for_another_name_is_not_trusted():
    state = certificates("admission.example")
    served = await asked(state, state)

    assert (served.reach, served.problem) == (Reach.UNTRUSTED, "it is for another address")


async def test_a_bundle_that_is_none_is_not_trusted():
    state = certificates()
    async with serving(state, None) as origin:
        served = await ask_admission(origin, b"\xff no certificate")

    assert (served.reach, served.problem) == (Reach.UNTRUSTED, "the caBundle holds no certificate")


async def test_nobody_there_is_not_the_certificates_fault():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        served = await ask_admission(f"https://127.0.0.1:{silent.getsockname()[1]}", ca_bundle(certificates()))

    assert served.reach is Reach.UNREACHABLE


@pytest.mark.parametrize(
    ("config", "origin"),
    [
        ({"service": {"name": "a", "namespace": "b", "path": "/x"}}, "https://a.b.svc:443"),
        ({"service": {"name": "a", "namespace": "b", "port": 8443}}, "https://a.b.svc:8443"),
        ({"url": "https://127.0.0.1:8/mutate/pods"}, "https://127.0.0.1:8"),
    ],
)
def test_where_the_server_is_stands_in_the_webhook(config, origin):
    assert origin_of(config) == origin
