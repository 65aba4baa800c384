"""Every way in which a kubeconfig names a person, against the real API server: who it says that we are."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from scoped_secrets.cli.session import Session
from scoped_secrets.errors import ClusterError, ConfigurationError
from scoped_secrets.kube.credentials import Connection, Impersonation, current_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.integration

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
PLUGIN = """
import json, os, sys
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
status = json.load(open(sys.argv[1]))
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def content_of(plane: ControlPlane) -> dict[str, Any]:
    """Return the kubeconfig of the administrator."""
    content: dict[str, Any] = json.loads(plane.kubeconfig.read_text())
    return content


def written(folder: Path, content: object, name: str = "kubeconfig") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


async def identity(connection: Connection) -> dict[str, Any]:
    """Return whom the API server takes us for."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}

    def ask() -> dict[str, Any]:
        with Session(connection) as session:
            user: dict[str, Any] = session.run(lambda cluster: cluster.create(REVIEWS, body))["status"]["userInfo"]
        return user

    # The client library needs an event loop of its own.
    return await asyncio.to_thread(ask)


@pytest.fixture
def token(own_control_plane: ControlPlane) -> str:
    """The administrator's token."""
    return str(content_of(own_control_plane)["users"][0]["user"]["token"])


@pytest.fixture
def with_user(own_control_plane: ControlPlane, tmp_path: Path) -> Callable[..., str]:
    """Write a kubeconfig whose user and cluster have other fields."""

    def write(user: dict[str, Any], **cluster: Any) -> str:
        content = content_of(own_control_plane)
        content["users"][0]["user"] = user
        content["clusters"][0]["cluster"] |= cluster
        content["clusters"][0]["cluster"] = {
            key: value for key, value in content["clusters"][0]["cluster"].items() if value is not None
        }
        return written(tmp_path, content)

    return write


@pytest.fixture
def administrator(own_control_plane: ControlPlane) -> str:
    return str(own_control_plane.kubeconfig)


@pytest.fixture(scope="module")
def certificate(own_control_plane: ControlPlane) -> dict[str, str]:
    """The client certificate of a person, as in a kubeconfig."""
    path = own_control_plane.kubeconfig_for("carol", ("testers",))
    user: dict[str, str] = json.loads(path.read_text())["users"][0]["user"]
    return user


async def test_client_certificate_names_user_and_groups(with_user: Callable[..., str], certificate: dict[str, str]):
    user = await identity(Connection(with_user(certificate)))

    assert user["username"] == "carol"
    assert "testers" in user["groups"]


async def test_files_of_a_certificate_are_beside_the_kubeconfig(
    with_user: Callable[..., str], certificate: dict[str, str], tmp_path: Path
):
    for name in ("client-certificate", "client-key"):
        (tmp_path / f"{name}.pem").write_bytes(base64.b64decode(certificate[f"{name}-data"]))
    relative = {name: f"{name}.pem" for name in ("client-certificate", "client-key")}

    assert (await identity(Connection(with_user(relative))))["username"] == "carol"


async def test_file_of_a_token_may_end_with_a_line_break(with_user: Callable[..., str], token: str, tmp_path: Path):
    (tmp_path / "token").write_text(f"{token}\n")

    assert (await identity(Connection(with_user({"tokenFile": "token"}))))["username"]


@pytest.mark.parametrize("kind", ["token", "certificate"])
async def test_plugin_gives_a_token_or_a_certificate(
    with_user: Callable[..., str], token: str, certificate: dict[str, str], tmp_path: Path, kind: str
):
    pem = {
        "clientCertificateData": base64.b64decode(certificate["client-certificate-data"]).decode(),
        "clientKeyData": base64.b64decode(certificate["client-key-data"]).decode(),
    }
    status = written(tmp_path, {"token": token} if kind == "token" else pem, "status")
    program = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", PLUGIN, status],
        "interactiveMode": "Never",
    }

    user = await identity(Connection(with_user({"exec": program})))

    assert (user["username"] == "carol") is (kind == "certificate")


async def test_plugin_that_fails_is_named_and_no_request_is_sent_without_credentials(with_user: Callable[..., str]):
    program = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/false", "interactiveMode": "Never"}

    with pytest.raises(ConfigurationError, match=r"the program '/bin/false' of the kubeconfig prints no credentials"):
        await identity(Connection(with_user({"exec": program})))


async def test_user_of_the_kubeconfig_impersonates_with_groups_uid_and_extra(with_user: Callable[..., str], token: str):
    told = {
        "token": token,
        "as": "dave",
        "as-groups": ["one", "two"],
        "as-uid": "17",
        "as-user-extra": {"example.org/reason": ["ticket", "audit"]},
    }

    user = await identity(Connection(with_user(told)))

    assert (user["username"], user["uid"]) == ("dave", "17")
    assert {"one", "two"} <= set(user["groups"])
    assert user["extra"] == {"example.org/reason": ["ticket", "audit"]}


async def test_flags_come_before_the_kubeconfig(with_user: Callable[..., str], token: str):
    kubeconfig = with_user({"token": token, "as": "dave", "as-groups": ["one"]})

    user = await identity(Connection(kubeconfig, identity=Impersonation("erin", ("two",), "18")))

    assert (user["username"], user["uid"]) == ("erin", "18")
    assert "two" in user["groups"]
    assert "one" not in user["groups"]


async def test_group_without_a_user_is_refused(administrator: str):
    with pytest.raises(ConfigurationError, match="groups and a UID belong to a user; give --as"):
        await identity(Connection(administrator, identity=Impersonation(groups=("one",))))


class Proxy:
    """A proxy that opens tunnels (HTTP CONNECT) and records their targets."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        target = head.split()[1].decode()
        self.targets.append(target)
        host, _, port = target.rpartition(":")
        with client, socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            answers = threading.Thread(target=_copy, args=(server, client), daemon=True)
            answers.start()
            _copy(client, server)
            answers.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # The other side is closed.
        return


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with closing(Proxy()) as proxy:
        yield proxy


async def test_requests_go_through_the_proxy_of_the_cluster(
    own_control_plane: ControlPlane, with_user: Callable[..., str], token: str, proxy: Proxy
):
    await identity(Connection(with_user({"token": token}, **{"proxy-url": proxy.url})))

    assert proxy.targets == [urlsplit(own_control_plane.server).netloc]


async def test_proxy_of_another_kind_is_refused(with_user: Callable[..., str], token: str):
    with pytest.raises(ConfigurationError, match="the proxy must be a URL that begins with http"):
        await identity(Connection(with_user({"token": token}, **{"proxy-url": "socks5://127.0.0.1:1"})))


@pytest.mark.parametrize(("name", "is_right"), [("localhost", True), ("elsewhere.example", False)])
async def test_name_of_the_server_is_compared_with_its_certificate(
    with_user: Callable[..., str], token: str, name: str, is_right: bool
):
    connection = Connection(with_user({"token": token}, **{"tls-server-name": name}))
    if is_right:
        assert (await identity(connection))["username"]
    else:
        with pytest.raises(ClusterError, match="does not answer"):
            await identity(connection)


@pytest.mark.parametrize("is_skipped", [True, False])
async def test_unknown_certificate_of_the_server_needs_the_word_insecure(
    with_user: Callable[..., str], token: str, is_skipped: bool
):
    fields = {"certificate-authority-data": None, "insecure-skip-tls-verify": is_skipped}
    connection = Connection(with_user({"token": token}, **fields))
    if is_skipped:
        assert (await identity(connection))["username"]
    else:
        with pytest.raises(ClusterError, match="does not answer"):
            await identity(connection)


async def test_of_several_files_the_first_decides_as_in_kubectl(
    own_control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first current context, each name from the first file that has it; files that do not exist are passed over."""
    content = content_of(own_control_plane)
    (context,) = content["contexts"]
    first = {"contexts": [{"name": "first", "context": {**context["context"], "namespace": "one"}}]}
    second = {
        "contexts": [
            {"name": "second", "context": {**context["context"], "namespace": "two"}},
            {"name": "first", "context": {**context["context"], "namespace": "hidden"}},
        ]
    }
    users = {key: content[key] for key in ("clusters", "users")}
    files = [
        str(tmp_path / "missing"),
        written(tmp_path, "", "empty"),
        written(tmp_path, {**first, "current-context": "first"}, "a"),
        written(tmp_path, {**second, "current-context": "second"}, "b"),
        written(tmp_path, users, "c"),
    ]
    joined = os.pathsep.join(files)
    monkeypatch.setenv("KUBECONFIG", joined)

    assert current_namespace() == "one"
    assert current_namespace(context="second") == "two"
    expected = await identity(Connection(str(own_control_plane.kubeconfig)))
    assert await identity(Connection()) == expected
    kubectl = own_control_plane.kubectl(
        "config", "view", "--minify", "-o", "json", environment={"KUBECONFIG": joined}
    ).stdout
    assert json.loads(kubectl)["contexts"][0]["context"]["namespace"] == "one"
