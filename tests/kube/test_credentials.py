"""Kubeconfigs: proxies, credentials and several files, and that no message quotes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.kube.conftest import CommandClient
from tests.kube.fake import FakeServer

from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection, current_namespace, read_access, refuse_impersonation
from scoped_secrets.kube.library import load_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
SERVER = "https://api.example:6443"
PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


def kubeconfig(folder: Path, cluster: Mapping[str, str]) -> str:
    path = Path(FakeServer().kubeconfig(folder))
    content = json.loads(path.read_text())
    content["clusters"][0]["cluster"] = dict(cluster)
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".example"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "other.test"}, PROXY),
    ],
)
async def test_the_environment_names_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str | None
):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    configuration = await load_configuration(kubeconfig(tmp_path, {"server": SERVER}))

    access = read_access(kubeconfig(tmp_path, {"server": SERVER}))
    assert access is not None
    assert configuration.proxy == access.proxy == expected


@pytest.mark.parametrize("server", [SERVER, "https://127.0.0.1:6443"])
@pytest.mark.parametrize("no_proxy", ["", "*"])
async def test_the_proxy_of_the_kubeconfig_comes_first_and_serves_every_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, no_proxy: str
):
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)

    cluster = {"server": server, "proxy-url": "http://other.example:3128"}
    configuration = await load_configuration(kubeconfig(tmp_path, cluster))

    access = read_access(kubeconfig(tmp_path, cluster))
    assert access is not None
    assert configuration.proxy == access.proxy == "http://other.example:3128"


@pytest.mark.parametrize(
    ("environment", "cluster"),
    [({"HTTPS_PROXY": "socks5://proxy.example"}, {}), ({}, {"proxy-url": "proxy.example:3128"})],
)
async def test_a_proxy_of_another_kind_is_refused_wherever_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], cluster: dict[str, str]
):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    path = kubeconfig(tmp_path, {"server": SERVER, **cluster})

    with pytest.raises(ConfigurationError, match="the proxy must be a URL that begins with http"):
        read_access(path)
    with pytest.raises(ConfigurationError, match="the proxy must be a URL that begins with http"):
        await load_configuration(path)


def written(folder: Path, content: Mapping[str, Any], name: str = "kubeconfig") -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)


def one_user(folder: Path, user: Mapping[str, Any], server: str = SERVER) -> str:
    return written(
        folder,
        {
            "current-context": "only",
            "contexts": [{"name": "only", "context": {"cluster": "only", "user": "only", "namespace": "web"}}],
            "clusters": [{"name": "only", "cluster": {"server": f"{server}/"}}],
            "users": [{"name": "only", "user": dict(user)}],
        },
    )


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({}, None),
        ({"token": "one"}, b"Bearer one"),
        ({"tokenFile": "token"}, b"Bearer two"),
        # As in kubectl, which reads the file again when it changes.
        ({"token": "one", "tokenFile": "token"}, b"Bearer two"),
        ({"username": "jane", "password": "a:b"}, b"Basic amFuZTphOmI="),
        ({"username": "jane"}, None),
        ({"token": "one", "username": "jane", "password": "b"}, b"Bearer one"),
    ],
)
def test_the_credentials_of_a_user_become_one_header(tmp_path: Path, user: Mapping[str, str], expected: bytes | None):
    (tmp_path / "token").write_text("two\n")

    access = read_access(one_user(tmp_path, user))

    assert access is not None
    assert access.server == SERVER
    assert (access.authorization.reveal() if access.authorization else None) == expected


def test_what_only_the_client_library_can_do_is_left_to_it(tmp_path: Path):
    assert read_access(one_user(tmp_path, {"token": "one", "auth-provider": {"name": "oidc"}})) is None


@pytest.mark.parametrize(
    "field", [{"as": "alice"}, {"as-groups": ["a"]}, {"as-uid": "1"}, {"as-user-extra": {"a": ["b"]}}]
)
def test_every_field_that_impersonates_is_refused_by_its_name(tmp_path: Path, field: Mapping[str, Any]):
    (name,) = field

    with pytest.raises(ConfigurationError, match=f"has `{name}` in its user"):
        refuse_impersonation(one_user(tmp_path, {"token": "one", **field}))
    refuse_impersonation(one_user(tmp_path, {"token": "one", name: type(field[name])()}))


def program(command: str) -> dict[str, Any]:
    """Return the field `exec` of a user, for a program that gets the credentials as its argument."""
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    printed = json.dumps({**credential, "status": {"token": "printed"}})
    return {"apiVersion": credential["apiVersion"], "command": command, "args": [printed], "interactiveMode": "Never"}


async def test_a_program_that_prints_a_token_works(tmp_path: Path):
    async with FakeServer() as server:
        path = one_user(tmp_path, {"exec": program("echo")}, server.url)
        async with CommandClient(Connection(path)) as cluster:
            assert await cluster.get("/api/v1/namespaces") is not None

    assert server.tokens == ["Bearer printed"]


async def test_a_program_that_prints_a_token_works_for_a_process(tmp_path: Path):
    async with FakeServer() as server:
        path = one_user(tmp_path, {"exec": program("echo")}, server.url)
        async with await Cluster.connect(path) as cluster:
            assert await cluster.get("/api/v1/namespaces") is not None

    assert server.tokens == ["Bearer printed"]


async def test_a_process_sends_no_request_without_the_credentials_of_its_program(tmp_path: Path):
    path = one_user(tmp_path, {"exec": program("true")})

    with pytest.raises(ConfigurationError, match="the credential plugin 'true' of the kubeconfig gives no credentials"):
        await Cluster.connect(path)


def test_the_first_of_several_files_counts_and_paths_begin_at_their_own_file(tmp_path: Path):
    first = written(
        tmp_path,
        {
            "current-context": "one",
            "contexts": [{"name": "one", "context": {"cluster": "far", "user": "jane"}}],
            "users": [{"name": "jane", "user": {"tokenFile": "token"}}],
        },
        "a/config",
    )
    second = written(
        tmp_path,
        {
            "current-context": "two",
            "contexts": [{"name": "two", "context": {"cluster": "far", "namespace": "other"}}],
            "clusters": [{"name": "far", "cluster": {"server": SERVER, "certificate-authority": "ca.crt"}}],
            "users": [{"name": "jane", "user": {"token": "wrong"}}],
        },
        "b/config",
    )
    (tmp_path / "a" / "token").write_text("right")
    (tmp_path / "b" / "ca.crt").write_text("authority")
    both = f"{first}:{second}"

    access = read_access(both)

    assert access is not None
    assert access.authorization == SecretValue(b"Bearer right")
    assert access.authority == "authority"
    assert (current_namespace(both), current_namespace(both, "two")) == ("default", "other")


@pytest.mark.parametrize(
    "text", ["", "{}", "- canary", "{canary: [", "current-context: x", "contexts: [{name: canary}]", "\x00canary"]
)
def test_a_file_that_cannot_be_used_is_named_and_not_quoted(tmp_path: Path, text: str):
    path = tmp_path / "kubeconfig"
    path.write_text(text)

    for read in (read_access, current_namespace):
        with pytest.raises(ConfigurationError, match="cannot be read") as caught:
            read(str(path))
        assert "canary" not in str(caught.value)
        assert caught.value.__context__ is None


@pytest.mark.parametrize("user", [{"tokenFile": "none"}, {"client-certificate": "none", "client-key": "none"}])
def test_a_file_of_credentials_that_is_missing_makes_the_kubeconfig_unusable(tmp_path: Path, user: Mapping[str, str]):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_access(one_user(tmp_path, user))


def test_no_credential_is_shown(tmp_path: Path):
    (tmp_path / "key").write_text("canary")
    (tmp_path / "certificate").write_text("shown")
    user = {"token": "canary", "client-certificate": "certificate", "client-key": "key"}

    access = read_access(one_user(tmp_path, user))

    assert access is not None
    assert access.certificate is not None
    assert "canary" not in repr(access)


async def test_a_request_reads_no_proxy_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

        assert await cluster.get("/api/v1/namespaces") is not None
