"""The proxy of the API server: where it comes from, and that it is known before the first request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.kube.fake import FakeServer

from scoped_secrets.kube.credentials import load_configuration

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

    assert configuration.proxy == expected


async def test_the_proxy_of_the_kubeconfig_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", PROXY)

    cluster = {"server": SERVER, "proxy-url": "http://other.example:3128"}
    configuration = await load_configuration(kubeconfig(tmp_path, cluster))

    assert configuration.proxy == "http://other.example:3128"


async def test_a_request_reads_no_proxy_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

        assert await cluster.get("/api/v1/namespaces") is not None
