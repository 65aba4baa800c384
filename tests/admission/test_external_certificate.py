"""An external certificate is the only one that is served, and its successor needs no restart."""

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.admission.support import FINGERPRINT_KEY, KEYS

from scoped_secrets import names
from scoped_secrets.admission.credentials import FolderCredentials, OverriddenCredentials, parse_credentials
from scoped_secrets.admission.service import AdmissionService
from scoped_secrets.config import AdmissionSettings, ClusterSettings
from scoped_secrets.crypto.certificates import ca_bundle, plan_certificates
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.kube.client import Cluster

SECONDS = 20.0


def certificates():
    return plan_certificates(None, ["127.0.0.1"], datetime.now(UTC), bundle_published=False)


OURS, FIRST, SECOND = certificates(), certificates(), certificates()


def write_pair(folder, state):
    (folder / names.ADMISSION_CERTIFICATE).write_bytes(state.leaf.certificate_pem())
    (folder / names.ADMISSION_PRIVATE_KEY).write_bytes(state.leaf.private_key_pem())


@pytest.fixture
def material(tmp_path):
    folder = tmp_path / "material"
    folder.mkdir()
    (folder / names.ADMISSION_FINGERPRINT_KEY).write_bytes(FINGERPRINT_KEY.serialize())
    (folder / names.ADMISSION_RECIPIENTS).write_bytes(KEYS.public().serialize())
    return folder


@pytest.fixture
def pair(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    return folder


def source(material, pair):
    return OverriddenCredentials(FolderCredentials(str(material)), str(pair))


async def test_an_external_certificate_takes_precedence_over_the_controllers(material, pair):
    write_pair(material, OURS)
    write_pair(pair, FIRST)

    read = parse_credentials(await source(material, pair).read())

    assert read.tls.certificate == FIRST.leaf.certificate_pem()
    assert read.tls.private_key == FIRST.leaf.private_key_pem()
    assert read.recipients == KEYS.public()


async def test_the_controllers_certificate_is_no_fallback_for_a_missing_external_one(material, pair):
    write_pair(material, OURS)

    assert await source(material, pair).read() is None


@pytest.mark.parametrize("missing", [names.ADMISSION_CERTIFICATE, names.ADMISSION_PRIVATE_KEY])
async def test_half_an_external_pair_is_rejected_and_not_completed_with_the_controllers(material, pair, missing):
    write_pair(material, OURS)
    write_pair(pair, FIRST)
    (pair / missing).unlink()

    with pytest.raises(
        KeyMaterialError, match=f"lack '{missing}'; the controller, or the issuer of the external certificate,"
    ):
        parse_credentials(await source(material, pair).read())


@contextlib.asynccontextmanager
async def serving(kubeconfig, **folders):
    paths: dict[str, Any] = {name: str(folder) for name, folder in folders.items()}
    settings = AdmissionSettings(
        ClusterSettings(kubeconfig=str(kubeconfig)),
        host="127.0.0.1", port=0, probe_host="127.0.0.1", probe_port=0,
        **paths,
    )  # fmt: skip
    async with await Cluster.connect(str(kubeconfig)) as cluster:
        service = AdmissionService(settings, cluster)
        await service.start()
        try:
            yield service
        finally:
            await service.stop()


async def is_verified_by(service, state):
    """Tell whether a client that trusts only this authority would talk to the server."""
    trusting = ssl.create_default_context(cadata=ca_bundle(state).decode())
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port, ssl=trusting)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def eventually(condition):
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110 - the server follows files; there is no event to wait for
            await asyncio.sleep(0.05)


@pytest.mark.integration
async def test_an_external_certificate_is_served_and_its_successor_needs_no_restart(control_plane, material, pair):
    write_pair(material, OURS)
    async with serving(control_plane.kubeconfig, material=material, tls=pair) as service:
        assert service.port == 0
        write_pair(pair, FIRST)
        await eventually(lambda: is_verified_by(service, FIRST))
        port = service.port
        assert not await is_verified_by(service, OURS)

        write_pair(pair, SECOND)

        await eventually(lambda: is_verified_by(service, SECOND))
        assert not await is_verified_by(service, FIRST)
        assert service.port == port
