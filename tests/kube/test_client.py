"""Requests to a real API server, and to a fake one for responses that a real one cannot be made to send."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.kube.conftest import CommandClient, scoped_secret
from tests.kube.fake import UNAUTHORIZED, FakeServer

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.errors import (
    ClusterError,
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    GoneError,
    UnauthorizedError,
    UnavailableError,
)
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection, Impersonation
from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.library import LibraryTransport, load_configuration

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster as TestCluster
    from tests.conftest import NamespaceFactory

CANARY = "canary-7f3a"


Connect = Callable[[FakeServer, Path], Awaitable[Cluster | CommandClient]]


async def _by_library(server: FakeServer, folder: Path) -> Cluster:
    return await Cluster.connect(server.kubeconfig(folder))


async def _directly(server: FakeServer, folder: Path) -> CommandClient:
    return CommandClient(Connection(server.kubeconfig(folder)))


@pytest.fixture(params=[_by_library, _directly])
def connect(request: pytest.FixtureRequest) -> Connect:
    """The operator's way to a server, and that of commands."""
    return request.param  # type: ignore[no-any-return]  # pytest has no types there.


def secret(namespace: str, name: str, value: str = CANARY) -> dict[str, Any]:
    data = {"key": base64.b64encode(value.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "data": data}


def listed(names: list[str], resource_version: str, following: str = "") -> dict[str, Any]:
    items = [scoped_secret("web", name) for name in names]
    for item in items:
        item["metadata"]["resourceVersion"] = "5"
    return {"metadata": {"resourceVersion": resource_version, "continue": following}, "items": items}


def gone() -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": CANARY}


@pytest.mark.integration
async def test_a_created_object_can_be_read_and_deleted_once(cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    path = paths.secrets(name, "one")
    assert await cluster.get(path) is None

    created = await cluster.create(paths.secrets(name), secret(name, "one"))

    assert await cluster.get(path) == created
    assert await cluster.delete(path, uid=created["metadata"]["uid"])
    assert await cluster.get(path) is None
    assert not await cluster.delete(path)


@pytest.mark.integration
async def test_creating_an_existing_object_is_a_conflict_without_its_values(
    cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    await cluster.create(paths.secrets(name), secret(name, "one"))

    with pytest.raises(ConflictError) as caught:
        await cluster.create(paths.secrets(name), secret(name, "one"))

    assert str(caught.value) == f"POST /api/v1/namespaces/{name}/secrets: 409 AlreadyExists"
    assert caught.value.__context__ is None


@pytest.mark.integration
async def test_the_uid_of_a_secret_is_known_without_reading_or_deleting_it(
    cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    created = await cluster.create(paths.secrets(name), secret(name, "one"))

    assert await cluster.uid_of(paths.secrets(name, "one")) == created["metadata"]["uid"]
    assert await cluster.uid_of(paths.secrets(name, "none")) is None
    assert await cluster.get(paths.secrets(name, "one")) is not None


@pytest.mark.integration
async def test_an_object_with_another_uid_is_not_deleted(cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    await cluster.create(paths.secrets(name), secret(name, "one"))

    with pytest.raises(ConflictError):
        await cluster.delete(paths.secrets(name, "one"), uid="00000000-0000-0000-0000-000000000000")

    assert await cluster.get(paths.secrets(name, "one")) is not None


@pytest.mark.integration
async def test_the_error_does_not_contain_a_refused_body(cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    wrong = secret(name, "one") | {"data": {CANARY: "no base64", "!": "!"}}

    with pytest.raises(ClusterError) as caught:
        await cluster.create(paths.secrets(name), wrong)

    assert caught.value.status in (400, 422)
    assert CANARY not in str(caught.value) + repr(caught.value)


@pytest.mark.integration
async def test_the_field_manager_owns_the_applied_fields(cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one"},
        "data": {"a": "b"},
    }

    applied = await cluster.apply(f"/api/v1/namespaces/{name}/configmaps/one", body)

    (entry,) = applied["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("scoped-secrets", "Apply")


@pytest.mark.integration
async def test_the_error_of_a_request_that_rbac_denies_names_the_missing_right(
    installed: TestCluster, namespace: NamespaceFactory
):
    kubeconfig, home = installed.kubeconfig_for("nobody", ["none"]), namespace()
    async with await Cluster.connect(str(kubeconfig)) as cluster:
        with pytest.raises(ForbiddenError) as one:
            await cluster.get(paths.secrets(home, "one"))
        with pytest.raises(ForbiddenError) as every:
            await cluster.list_all(paths.scoped_secrets())
        with pytest.raises(ForbiddenError) as created:
            await cluster.create(paths.secrets(home), secret(home, "one"))

    assert [str(caught.value) for caught in (one, every, created)] == [
        f"your role does not allow the verb 'get' on secrets 'one' in namespace '{home}'; request it",
        "your role does not allow the verb 'list' on scopedsecrets.scopedsecrets.dev; request it",
        f"your role does not allow the verb 'create' on secrets in namespace '{home}'; request it",
    ]


@pytest.mark.integration
async def test_the_error_names_the_right_that_the_api_server_asks_for_instead_of_that_of_the_method(
    installed: TestCluster, namespace: NamespaceFactory
):
    home, kubeconfig = namespace(), installed.kubeconfig_for("patcher", ["none"])
    installed.kubectl("create", "role", "patcher", "-n", home, "--verb=patch", "--resource=configmaps")
    installed.kubectl("create", "rolebinding", "patcher", "-n", home, "--role=patcher", "--user=patcher")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}}
    async with await Cluster.connect(str(kubeconfig)) as cluster:
        with pytest.raises(ForbiddenError) as applied:
            await cluster.apply(paths.config_maps(home, "new"), body)
    async with await Cluster.connect_as(Connection(str(kubeconfig), identity=Impersonation("jane"))) as cluster:
        with pytest.raises(ForbiddenError) as impersonated:
            await cluster.get(paths.config_maps(home, "new"))

    expected = f"your role does not allow the verb 'create' on configmaps 'new' in namespace '{home}'; request it"
    assert str(applied.value) == expected
    # Kubernetes 1.36 asks for `impersonate-on:user-info:get`, former versions for `impersonate`.
    assert str(impersonated.value).startswith("your role does not allow the verb 'impersonate")


async def test_the_error_of_a_refused_impersonation_names_the_user(tmp_path: Path, connect: Connect):
    message = 'users "jane" is forbidden: User "joe" cannot impersonate resource "users" in API group "" at the cluster'
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        server.will_answer(403, {"reason": "Forbidden", "message": message})
        with pytest.raises(ForbiddenError) as caught:
            await cluster.get("/api/v1/namespaces/web")

    assert str(caught.value) == "your role does not allow the verb 'impersonate' on users 'jane'; request it"


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ('cannot deletecollection resource "secrets" in API group "" in the namespace "web"', "deletecollection"),
        ("is not allowed here", "create"),
        (f'cannot {CANARY.upper()} resource "secrets"', "create"),
    ],
)
async def test_the_right_is_a_word_of_the_api_server_or_that_of_the_method(
    words: str, right: str, tmp_path: Path, connect: Connect
):
    message = f'secrets is forbidden: User "a\\" cannot list resource \\"b" {words}'
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        server.will_answer(403, {"reason": "Forbidden", "message": message})
        with pytest.raises(ForbiddenError) as caught:
            await cluster.create(paths.secrets("web"), secret("web", "one"))

    expected = f"your role does not allow the verb '{right}' on secrets in namespace 'web'; request it"
    assert str(caught.value) == expected


async def test_the_error_of_a_request_that_admission_denies_names_no_right(tmp_path: Path, connect: Connect):
    message = f"{CANARY}: User is forbidden by a webhook"
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        server.will_answer(403, {"reason": "Forbidden", "message": message})
        with pytest.raises(ForbiddenError) as caught:
            await cluster.create(paths.secrets("web"), secret("web", "one"))

    assert str(caught.value) == "POST /api/v1/namespaces/web/secrets: 403 Forbidden"


async def test_credentials_that_are_not_accepted_are_no_missing_right(tmp_path: Path, connect: Connect):
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        for _ in range(2):
            server.will_answer(401, UNAUTHORIZED | {"message": CANARY})
        with pytest.raises(UnauthorizedError) as read:
            await cluster.get("/api/v1/namespaces/web")
        with pytest.raises(UnauthorizedError) as written:
            await cluster.submit("POST", paths.scoped_secrets("web"), {})

    requests = (
        "GET /api/v1/namespaces/web: 401 Unauthorized",
        "POST /apis/scopedsecrets.dev/v1alpha1/namespaces/web/scopedsecrets: 401 Unauthorized",
    )
    assert [str(caught.value) for caught in (read, written)] == [
        f"the API server does not accept the credentials ({request}); log in again or renew them"
        for request in requests
    ]
    assert [(caught.value.status, isinstance(caught.value, ForbiddenError)) for caught in (read, written)] == [
        (401, False)
    ] * 2


async def test_the_error_of_a_throttled_request_has_its_retry_after(tmp_path: Path, connect: Connect):
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        server.will_answer(429, {"reason": "TooManyRequests", "message": CANARY}, Retry_After="7")
        with pytest.raises(UnavailableError) as caught:
            await cluster.get("/api/v1/namespaces/web")

    assert caught.value.retry_after == 7.0
    assert str(caught.value) == "GET /api/v1/namespaces/web: 429 TooManyRequests"


@pytest.mark.parametrize("text", ["{", "[]", '"text"', "", "<html>canary-7f3a</html>"])
async def test_a_response_that_is_not_an_object_raises_unavailable(tmp_path: Path, connect: Connect, text: str):
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        server.will_answer(200, text)
        with pytest.raises(UnavailableError) as caught:
            await cluster.get("/api/v1/namespaces/web")

    assert str(caught.value) == "GET /api/v1/namespaces/web: the answer is no JSON object"


async def test_the_error_does_not_repeat_a_reason_that_is_not_one_word(tmp_path: Path, connect: Connect):
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        server.will_answer(500, {"reason": f"the value {CANARY} is wrong"})
        with pytest.raises(UnavailableError) as caught:
            await cluster.get("/api/v1/namespaces/web")

    assert str(caught.value) == "GET /api/v1/namespaces/web: 500"


async def test_a_list_that_expires_between_pages_is_restarted(tmp_path: Path, connect: Connect):
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        server.will_answer(200, listed(["a", "b"], "10", following="t1"))
        server.will_answer(410, gone())
        server.will_answer(200, listed(["b"], "20", following="t2"))
        server.will_answer(200, listed(["c"], "20"))

        pages = [page async for page in cluster.pages(paths.scoped_secrets())]

    found = [([item["metadata"]["name"] for item in page.items], page.starts_list) for page in pages]
    assert found == [(["a", "b"], True), (["b"], True), (["c"], False)]


async def test_a_list_that_always_expires_fails_after_some_attempts(tmp_path: Path, connect: Connect):
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        for _ in range(10):
            server.will_answer(200, listed(["a"], "10", following="t"))
            server.will_answer(410, gone())
        with pytest.raises(GoneError) as caught:
            [page async for page in cluster.pages(paths.scoped_secrets())]

    assert len(server.requests) == 10
    assert CANARY not in str(caught.value)


async def test_the_inventory_has_no_objects_of_an_expired_list(tmp_path: Path):
    informer = Informer(Inventory(), default_organization="default", keep_sealed=True)
    async with FakeServer() as server, await _by_library(server, tmp_path) as cluster:
        server.will_answer(200, listed(["vanished"], "10", following="t1"), path="/scopedsecrets")
        server.will_answer(410, gone(), path="/scopedsecrets")
        server.will_answer(200, listed(["there"], "20"), path="/scopedsecrets")
        await informer.relist(cluster)

    assert set(informer.inventory.locations()) == {"web/there"}
    assert informer.is_complete


async def test_a_refused_connection_raises_unavailable(tmp_path: Path, connect: Connect):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = FakeServer()
        server.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with await connect(server, tmp_path) as cluster:
            with pytest.raises(UnavailableError) as caught:
                await cluster.get("/api/v1/namespaces/web")

    assert caught.value.status == 0
    assert caught.value.__context__ is None


async def test_connect_without_configuration_does_not_read_the_default_kubeconfig(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    home = tmp_path / ".kube"
    home.mkdir()
    (home / "config").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)

    with pytest.raises(ConfigurationError, match="there is no cluster to talk to"):
        await Cluster.connect()


@pytest.mark.parametrize("content", ["{}", "- canary-7f3a", "{canary-7f3a: [", json.dumps({"current-context": "x"})])
async def test_the_error_names_an_unusable_kubeconfig_and_does_not_quote_it(tmp_path: Path, content: str):
    path = tmp_path / "kubeconfig"
    path.write_text(content)

    with pytest.raises(ConfigurationError) as caught:
        await Cluster.connect(str(path))

    assert str(path) in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_path_without_a_name_raises_an_error():
    for wrong in ("", ".", ".."):
        with pytest.raises(ValueError, match="needs its name"):
            paths.secrets("web", wrong)
        with pytest.raises(ValueError, match="needs its name"):
            paths.secrets(wrong)
    assert paths.secrets("web", "a/../b") == "/api/v1/namespaces/web/secrets/a%2F..%2Fb"


def test_a_path_in_words_names_the_resource_as_roles_do():
    assert {paths.in_words(path): path for path in (paths.namespaces(), paths.namespaces("web"), "/version")} == {
        "namespaces": "/api/v1/namespaces",
        "namespaces 'web'": "/api/v1/namespaces/web",
        "/version": "/version",
    }
    assert paths.in_words(paths.pods("web", "job")) == "pods 'job' in namespace 'web'"
    assert paths.in_words(paths.deployments("ci")) == "deployments.apps in namespace 'ci'"
    status = paths.scoped_secret_status("web", "aws")
    assert paths.in_words(status) == "scopedsecrets/status.scopedsecrets.dev 'aws' in namespace 'web'"


async def test_a_conflict_with_another_reason_does_not_mean_that_the_object_exists(tmp_path: Path, connect: Connect):
    """For example, two requests change a resource quota at the same time: nothing is stored, and a retry succeeds."""
    async with FakeServer() as server, await connect(server, tmp_path) as cluster:
        server.will_answer(409, {"reason": "Conflict", "message": CANARY})
        with pytest.raises(UnavailableError) as caught:
            await cluster.create(paths.secrets("web"), secret("web", "one"))

    assert str(caught.value) == "POST /api/v1/namespaces/web/secrets: 409 Conflict"


@pytest.mark.integration
@pytest.mark.parametrize("dry_run", [False, True])
async def test_the_response_to_a_create_request_can_be_limited_to_metadata(
    cluster: Cluster, namespace: NamespaceFactory, dry_run: bool
):
    name = namespace()

    created = await cluster.create(paths.secrets(name), secret(name, "one"), dry_run=dry_run, metadata_only=True)

    assert created["metadata"]["name"] == "one"
    assert created["metadata"]["uid"]
    assert "data" not in created


async def test_the_error_of_an_unexpected_failure_holds_no_body(tmp_path: Path):
    """A closed session raises RuntimeError, with the body in frames of its traceback."""
    async with FakeServer() as server:
        transport = LibraryTransport(await load_configuration(server.kubeconfig(tmp_path)))
        cluster = Cluster(transport)
        await cluster.get("/api/v1/namespaces/web")
        assert transport._client.rest_client.pool_manager is not None
        await transport._client.rest_client.pool_manager.close()
        with pytest.raises(UnavailableError) as caught:
            await cluster.create(paths.secrets("web"), secret("web", "one"))

    assert "RuntimeError" in str(caught.value)
    assert caught.value.__context__ is None
