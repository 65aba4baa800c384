"""What a command costs beside the API server's work: its round trips over one connection, and what it imports."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing_certificate import SealingCertificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

SECONDS = 60.0
SLOW_TO_IMPORT = {
    *("aiohttp", "asyncio", "concurrent.futures", "cryptography", "email", "http.client", "kopf", "kubernetes"),
    *("logging", "pydantic", "scoped_secrets.api.base", "scoped_secrets.core.injection.inject", "urllib.request"),
    *("encodings.idna", "traceback", "yaml"),
}
"""What takes a twentieth of a command's time or more."""

LABELS = {names.ORGANIZATION_LABEL: "acme", names.PROJECT_LABEL: "web"}
NAMESPACE = {"metadata": {"name": "web", "labels": LABELS}}
NOTHING: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "items": []}
CERTIFICATE = SealingCertificate("acme", KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC)).public())


class Server:
    """Answers requests in groups of stated sizes: no request of a group before all of them are there."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes
        self.groups: list[list[str]] = []
        self.connections = 0

    @asynccontextmanager
    async def kubeconfig(self, folder: Path) -> AsyncIterator[Path]:
        """Serve inside the block, and return the kubeconfig of a person."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        path = folder / "kubeconfig"
        content = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "namespace": "web"}}],
            "clusters": [{"name": "test", "cluster": {"server": address}}],
        }
        path.write_text(yaml.safe_dump(content))
        async with server:
            yield path

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for size in self.sizes:
            try:
                requests = [await self._read(reader) for _ in range(size)]
            except asyncio.IncompleteReadError:
                break
            self.groups.append([request for request, _ in requests])
            for request, body in requests:
                content = json.dumps(self._answer(request, body)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))
            await writer.drain()
        else:
            await reader.read()
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> tuple[str, bytes]:
        """Return verb and path of a request, and its body."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        sizes = [int(line.partition(":")[2]) for line in lines if line.startswith("Content-Length:")]
        verb, target, _ = lines[0].split()
        return f"{verb} {target.partition('?')[0].rpartition('/')[2]}", await reader.readexactly(sum(sizes))

    @staticmethod
    def _answer(request: str, body: bytes) -> Any:
        if body:
            return json.loads(body)
        answers = {
            f"GET {names.CERTIFICATE_CONFIG_MAP}": {"data": {names.CERTIFICATE_FILE: CERTIFICATE.serialize().decode()}},
            "GET namespaces": {**NOTHING, "items": [NAMESPACE]},
            "GET web": NAMESPACE,
        }
        return answers.get(request, NOTHING)


@pytest.mark.parametrize(
    ("arguments", "groups", "needed"),
    [
        (
            ("explain", "aws"),
            [["GET deployments", "GET namespaces", "GET scopedsecrets", "GET secretpolicies"]],
            {"scoped_secrets.core.injection.inject"},
        ),
        (
            ("create", "aws", "-e", "KEY=@-", "-n", "web"),
            [
                [
                    "GET namespaces",
                    f"GET {names.CERTIFICATE_CONFIG_MAP}",
                    "GET scopedsecrets",
                    "GET scopedsecrets",
                    "GET secretpolicies",
                ],
                ["POST scopedsecrets"],
            ],
            {"cryptography"},
        ),
        (("get",), [["GET pods", "GET scopedsecrets", "GET web"]], set()),
    ],
)
async def test_a_command_asks_in_few_round_trips_and_imports_no_framework(
    tmp_path: Path, arguments: Sequence[str], groups: list[list[str]], needed: set[str]
):
    server = Server(*map(len, groups))
    async with server.kubeconfig(tmp_path) as kubeconfig, asyncio.timeout(SECONDS):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scoped_secrets", *arguments, "--kubeconfig", str(kubeconfig)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        )
        _, errors = await process.communicate(b"a value of the test of requests")

    lines = errors.decode().splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert [sorted(group) for group in server.groups] == groups, [line for line in lines if "import time" not in line]
    assert server.connections == 1
    assert "scoped_secrets.cli.session" in imported
    assert imported & SLOW_TO_IMPORT == needed
