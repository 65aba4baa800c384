"""Credentials that a real API server does not accept, such as an expired token, are an error and no empty answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.people import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture
def expired(governor: Path, tmp_path: Path) -> Path:
    """A kubeconfig whose token the API server does not know."""
    content = json.loads(governor.read_text())
    for user in content["users"]:
        user["user"] = {"token": "an-expired-token"}
    path = tmp_path / "expired"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("get", "-n", "{web}"), 1),
        (("audit",), 1),
        (("explain", "aws", "-n", "{web}"), 1),
        (("who-uses", "aws", "-n", "{web}"), 1),
        (("set", "aws", "A=@-", "-n", "{web}"), 1),
        (("can-use", "aws", "-n", "{web}"), 2),
        (("verify", "aws", "A", "-n", "{web}", "--from-file", "-"), 2),
        (("doctor",), 2),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_verb_with_an_expired_token_fails_and_asks_for_a_login(
    arguments: tuple[str, ...], code: int, web: str, expired: Path
):
    result = run(*(word.format(web=web) for word in arguments), kubeconfig=expired, stdin="a value")

    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith("Error: the API server does not accept the credentials (")
    assert "401 Unauthorized); log in again or renew them" in result.stderr
    assert result.stderr.count("\n") == 1
