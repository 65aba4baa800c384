"""Credentials that the API server does not accept: each verb fails in one line, and none shows an empty answer."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.kube.fake import UNAUTHORIZED, FakeServer

from scoped_secrets import names
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing_certificate import SealingCertificate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECONDS = 60.0
SEAL = ("seal", "-n", "web", "--name", "aws", "--scope", "Project", "--env-from-file", "A=-")
CERTIFICATE = SealingCertificate("acme", KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC)).public())


async def run(server: FakeServer, folder: Path, arguments: Sequence[str]) -> tuple[int | None, str, str]:
    """Return the exit code, standard output and standard error of a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scoped_secrets", *arguments, "--kubeconfig", server.kubeconfig(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        output, errors = await process.communicate(b"a value of the test of credentials")
    return process.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("get",), 1),
        (("get", "-n", "web"), 1),
        (("get", "-A"), 1),
        (("describe", "aws"), 1),
        (("audit",), 1),
        (("report",), 1),
        (("explain", "aws", "-n", "web"), 1),
        (("can-use", "aws", "-n", "web"), 2),
        (("who-uses", "aws"), 1),
        (("what-gets", "pod/job", "-n", "web"), 1),
        (("verify", "aws", "A", "--from-file", "-"), 2),
        (("create", "aws", "-e", "A=@-", "-n", "web"), 1),
        (("set", "aws", "A=@-"), 1),
        (("share", "aws", "--project", "web"), 1),
        (("cordon", "-l", "a=b"), 1),
        (("rename", "aws", "new", "--yes"), 1),
        (("delete", "aws", "--yes"), 1),
        (("import", "secret", "web/native"), 1),
        (("keys",), 1),
        (("public-key",), 1),
        (("doctor",), 2),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
async def test_verb_fails_in_one_line_that_asks_for_a_login(tmp_path: Path, arguments: Sequence[str], code: int):
    async with FakeServer() as server:
        server.refuses_credentials = True
        result, output, errors = await run(server, tmp_path, arguments)

    assert (result, output) == (code, "")
    assert errors.startswith("Error: the API server does not accept the credentials (")
    assert errors.endswith(": 401 Unauthorized); log in again or renew them\n")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (("get", "-A"), "/pods"),
        (("who-uses", "aws", "-n", "web"), "/pods"),
        (("explain", "aws", "-n", "web"), "/deployments"),
        (("explain", "aws", "-n", "web"), "/scopedsecrets"),
        (("create", "aws", "-e", "A=@-", "-n", "web"), f"/{names.CERTIFICATE_CONFIG_MAP}"),
        (SEAL, "/namespaces/web"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else each,
)
async def test_token_that_expires_between_two_requests_is_no_missing_right(
    tmp_path: Path, arguments: Sequence[str], refused: str
):
    async with FakeServer() as server:
        server.will_answer(401, UNAUTHORIZED, refused)
        published = {"data": {names.CERTIFICATE_FILE: CERTIFICATE.serialize().decode()}}
        server.will_answer(200, published, f"/{names.CERTIFICATE_CONFIG_MAP}")
        result, output, errors = await run(server, tmp_path, arguments)

    assert (result, output) == (1, "")
    assert f"{refused}: 401 Unauthorized); log in again or renew them\n" in errors
    assert errors.count("\n") == 1
