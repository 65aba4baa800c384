"""With ``--client-ca-file``, only clients with a certificate of its authority get an answer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml
from tests.admission.support import FINGERPRINT_KEY, KEYS, review_body
from tests.cluster.assets import find_assets
from tests.cluster.certificates import CertificateAuthority, KeyPair
from tests.cluster.control_plane import ControlPlane
from tests.cluster.processes import free_port
from tests.support.builders import pod_body, scope_labels

from scoped_secrets import names
from scoped_secrets.admission.service import AdmissionService
from scoped_secrets.admission.tls import ClientAuthorityError, server_context
from scoped_secrets.config import AdmissionSettings, ClusterSettings
from scoped_secrets.crypto.certificates import ca_bundle, plan_certificates
from scoped_secrets.doctor.facts import Reach
from scoped_secrets.doctor.reach import ask_admission
from scoped_secrets.kube.client import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.cluster.cluster import Cluster as TestCluster

ROOT = Path(__file__).parents[2]
SECONDS = 30.0
SERVER = plan_certificates(None, ["127.0.0.1"], datetime.now(UTC), bundle_published=False)


class Authorities:
    """Two authorities for clients, each with a certificate that it signed."""

    def __init__(self, folder: Path) -> None:
        self.own, self.other = (self._make(folder / name) for name in ("own", "other"))
        self.client, self.stranger = (each.issue_client("client", "api-server", ()) for each in (self.own, self.other))
        self.server = self.own.issue_server("server", ["127.0.0.1"])

    @staticmethod
    def _make(folder: Path) -> CertificateAuthority:
        folder.mkdir()
        return CertificateAuthority.create(folder, folder.name)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    return Authorities(tmp_path_factory.mktemp("authorities"))


@contextlib.asynccontextmanager
async def serving(kubeconfig: Path, folder: Path, client_ca: Path, port: int = 0) -> AsyncIterator[AdmissionService]:
    """Serve with a client authority, whose file may follow later."""
    data = {
        names.ADMISSION_CERTIFICATE: SERVER.leaf.certificate_pem(),
        names.ADMISSION_PRIVATE_KEY: SERVER.leaf.private_key_pem(),
        names.ADMISSION_FINGERPRINT_KEY: FINGERPRINT_KEY.serialize(),
        names.ADMISSION_RECIPIENTS: KEYS.public().serialize(),
        names.CLUSTER_ID: b"cluster",
    }
    for name, content in data.items():
        (folder / name).write_bytes(content)
    settings = AdmissionSettings(
        ClusterSettings(kubeconfig=str(kubeconfig)),
        material=str(folder),
        client_ca_file=str(client_ca),
        host="127.0.0.1",
        port=port,
        probe_host="127.0.0.1",
        probe_port=0,
    )
    async with await Cluster.connect(str(kubeconfig)) as cluster:
        service = AdmissionService(settings, cluster)
        await service.start()
        try:
            yield service
        finally:
            await service.stop()


def trusting(pair: KeyPair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca_bundle(SERVER).decode())
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


async def ask(port: int, pair: KeyPair | None, path: str = "/mutate/pods") -> int:
    """Return the status of an answer, 0 for none."""
    connector = aiohttp.TCPConnector(ssl=trusting(pair))
    body = review_body("pods", pod_body("aws"))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(SECONDS)) as session,
            session.request(
                "GET" if path == names.CERTIFICATE_PATH else "POST",
                f"https://127.0.0.1:{port}{path}",
                data=json.dumps(body),
                headers={"Content-Type": "application/json"},
            ) as response,
        ):
            await response.read()
            return response.status
    except (aiohttp.ClientError, ssl.SSLError, ConnectionError):
        return 0


async def is_rejected(caplog: pytest.LogCaptureFixture) -> bool:
    """Tell whether the server has read files that it does not use."""
    return "admission credentials rejected" in caplog.messages


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110 - the server follows files; there is no event to wait for
            await asyncio.sleep(0.05)


async def is_open(service: AdmissionService) -> bool:
    return service.port != 0


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_file_without_a_certificate_is_no_client_authority(content: bytes):
    with pytest.raises(ClientAuthorityError) as caught:
        server_context(content)

    assert caught.value.__context__ is None


@pytest.mark.integration
class TestServer:
    """The admission process with an API server to read from."""

    async def test_only_a_client_with_a_certificate_of_the_authority_gets_an_answer(
        self, control_plane: TestCluster, tmp_path: Path, authorities: Authorities
    ):
        async with serving(control_plane.kubeconfig, tmp_path, authorities.own.path) as service:
            await eventually(lambda: is_open(service))

            answers = [
                await ask(service.port, pair)
                for pair in (authorities.client, None, authorities.stranger, authorities.server)
            ]
            documents = [await ask(service.port, pair, names.CERTIFICATE_PATH) for pair in (authorities.client, None)]
            seen = await ask_admission(f"https://127.0.0.1:{service.port}", ca_bundle(SERVER))
            async with aiohttp.ClientSession() as session:
                url = f"http://127.0.0.1:{service.probe_port}/healthz"
                async with session.get(url, timeout=aiohttp.ClientTimeout(SECONDS)) as probe:
                    status = probe.status

        assert answers == [200, 0, 0, 0]
        assert documents[0] in {200, 503}
        assert documents[1] == 0
        assert (seen.reach, seen.checksum) == (Reach.TRUSTED, "")
        assert status == 200

    async def test_without_the_file_no_port_opens_and_the_file_may_follow(
        self,
        control_plane: TestCluster,
        tmp_path: Path,
        authorities: Authorities,
        caplog: pytest.LogCaptureFixture,
    ):
        late = tmp_path / "late.crt"
        async with serving(control_plane.kubeconfig, tmp_path, late) as service:
            await eventually(lambda: is_rejected(caplog))
            assert service.port == 0
            late.write_bytes(authorities.own.path.read_bytes())

            await eventually(lambda: is_open(service))
            assert (await ask(service.port, authorities.client), await ask(service.port, None)) == (200, 0)

    async def test_another_authority_is_used_without_a_restart_and_a_broken_file_keeps_the_last_one(
        self,
        control_plane: TestCluster,
        tmp_path: Path,
        authorities: Authorities,
        caplog: pytest.LogCaptureFixture,
    ):
        file = tmp_path / "client-ca.crt"
        file.write_bytes(authorities.own.path.read_bytes())
        async with serving(control_plane.kubeconfig, tmp_path, file) as service:
            await eventually(lambda: is_open(service))
            both = authorities.own.path.read_bytes() + authorities.other.path.read_bytes()
            file.write_bytes(both)

            async def both_are_trusted() -> bool:
                pairs = (authorities.client, authorities.stranger)
                return [await ask(service.port, pair) for pair in pairs] == [200, 200]

            await eventually(both_are_trusted)
            file.write_bytes(authorities.other.path.read_bytes())

            async def only_the_new_one_is_trusted() -> bool:
                pairs = (authorities.client, authorities.stranger)
                return [await ask(service.port, pair) for pair in pairs] == [0, 200]

            await eventually(only_the_new_one_is_trusted)
            caplog.clear()
            file.write_bytes(b"")
            await eventually(lambda: is_rejected(caplog))

            assert await only_the_new_one_is_trusted()
            assert await ask(service.port, None) == 0


@pytest.fixture(scope="module")
def guarded_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def presenting(guarded_port: int, authorities: Authorities) -> Iterator[ControlPlane]:
    """A real API server that presents a client certificate to one webhook server."""
    clients = {f"127.0.0.1:{guarded_port}": authorities.client}
    with ControlPlane.start(find_assets(os.environ), purpose="client certificates", webhook_clients=clients) as cluster:
        crds = str(ROOT / "crds")
        cluster.kubectl("apply", "-f", crds)
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", crds)
        yield cluster


@pytest.mark.integration
async def test_the_real_api_server_presents_its_certificate_to_both_webhooks(
    presenting: ControlPlane, guarded_port: int, authorities: Authorities, tmp_path: Path
):
    async with serving(presenting.kubeconfig, tmp_path, authorities.own.path, guarded_port) as service:
        await eventually(lambda: is_open(service))
        bundle = base64.b64encode(ca_bundle(SERVER)).decode()
        configurations = list(yaml.safe_load_all((ROOT / "manifests" / "40-webhooks.yaml").read_text()))
        for configuration in configurations:
            for webhook in configuration["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                webhook["clientConfig"] = {"url": f"https://127.0.0.1:{guarded_port}{path}", "caBundle": bundle}
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": configurations})
        await asyncio.to_thread(presenting.kubectl, "apply", "-f", "-", input=listed)
        await asyncio.to_thread(presenting.create_namespace, "acme", scope_labels("acme"))

        async def message(body: dict[str, Any]) -> str:
            return await asyncio.to_thread(presenting.refusal, body)

        async def both_answer() -> bool:
            policy = {
                "apiVersion": names.API_VERSION,
                "kind": names.SECRET_POLICY_KIND,
                "metadata": {"name": "probe", "namespace": "acme"},
                "spec": {"secrets": {"names": ["*"]}},
            }
            # Not synchronized, because no watches run here: the answer of our server, over its TLS, to each of them.
            found = [await message(body) for body in (pod_body("aws", namespace="acme"), policy)]
            return all(names.Reason.NOT_SYNCHRONIZED in text for text in found)

        await eventually(both_answer)
        assert await ask(guarded_port, None) == 0
