"""Which requests read values from native Secrets, and that no error shows a value."""

from __future__ import annotations

import base64
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from tests.kube.fake import FakeServer
from tests.support.builders import definition

from scoped_secrets.controller.value_from import SourceError, SourceReport, check_sources, read_sources
from scoped_secrets.core.resolution.definitions import Entry, SecretKeySource
from scoped_secrets.core.resolution.resolve import ResolvedEntry
from scoped_secrets.errors import ClusterError, UnauthorizedError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "hunter2-canary"
PATH = "/api/v1/namespaces/acme/secrets/db"
PASSWORD = SecretKeySource("db", "password")
USER = SecretKeySource("db", "user")
FILE = SecretKeySource("db", "key", 512 * 1024)
REGISTRY = definition(
    "acme/registry", env={"PASSWORD": PASSWORD, "USER": USER}, files=(Entry.file("/data/key", 0o600, FILE),)
)
ENTRIES = [ResolvedEntry(REGISTRY, entry) for entry in REGISTRY.entries]


def secret(labels: dict[str, str] | None = None, kind: str = "Opaque", **data: bytes) -> dict[str, Any]:
    """Return a native Secret, by default with all keys."""
    given = {"password": CANARY.encode(), "user": b"me", "key": b"\0\xff", **data}
    encoded = {key: base64.b64encode(value).decode() for key, value in given.items()}
    return {"kind": "Secret", "type": kind, "metadata": {"name": "db", "labels": labels}, "data": encoded}


async def test_each_native_secret_is_read_once_in_the_definitions_namespace(tmp_path: Path):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.will_answer(200, secret(), PATH)

        reading = await read_sources(cluster, ENTRIES)

    assert {key: value.reveal() for key, value in reading.values.items()} == {
        ("acme", PASSWORD): CANARY.encode(),
        ("acme", USER): b"me",
        ("acme", FILE): b"\0\xff",
    }
    assert server.requests == [f"GET {PATH}"]
    assert CANARY not in repr(reading)


async def test_two_reads_have_equal_versions_unless_a_secret_is_written_in_between(tmp_path: Path):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        versions = []
        for uid, version in (("a", "1"), ("a", "1"), ("a", "2"), ("b", "1")):
            body = secret()
            body["metadata"] |= {"uid": uid, "resourceVersion": version}
            server.will_answer(200, body, PATH)
            versions.append((await read_sources(cluster, ENTRIES)).versions)
        nothing = (await read_sources(cluster, ())).versions

    assert versions[0] == versions[1]
    assert len({*versions, nothing}) == 4
    assert nothing == frozenset()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, {}, "Secret 'db' that `valueFrom` names is missing; create it"),
        (403, {}, "manifests/optional/value-from.yaml"),
        (
            200,
            {**secret(), "data": {"user": "bWU="}},
            "key 'password' of Secret 'db' that `valueFrom` names is missing",
        ),
        (200, {**secret(), "data": {"password": f"!{CANARY}"}}, "cannot be decoded"),
        (200, secret(password=CANARY.encode() * 2400), "must be at most 32 KiB"),
        (200, secret(key=CANARY.encode() * 40_000), "must be at most 512 KiB"),
        (200, secret(password=f"{CANARY}\0".encode()), "UTF-8 without NUL"),
        (200, secret(password=CANARY.encode() + b"\xff"), "UTF-8 without NUL"),
        (200, secret(kind="kubernetes.io/service-account-token"), "cannot be a source"),
        (200, secret({"scopedsecrets.dev/pod-uid": "x"}), "cannot be a source"),
        (200, secret({"scopedsecrets.dev/component": "sealing-key"}), "cannot be a source"),
    ],
)
async def test_unusable_source_is_reported_by_name_without_any_value(
    status: int, body: dict[str, Any], message: str, tmp_path: Path
):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.will_answer(status, body, PATH)
        with pytest.raises(SourceError) as caught:
            await read_sources(cluster, ENTRIES)

    assert message in caught.value.message
    assert caught.value.location == "acme/registry"
    printed = "".join(traceback.format_exception(caught.value))
    assert CANARY not in printed
    assert base64.b64encode(CANARY.encode()).decode()[:12] not in printed
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(("status", "error"), [(401, UnauthorizedError), (503, UnavailableError)])
async def test_answer_that_says_nothing_about_the_secret_is_no_source_error(
    status: int, error: type[ClusterError], tmp_path: Path
):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.will_answer(status, {}, PATH)
        with pytest.raises(error):
            await check_sources(cluster, REGISTRY)


async def test_reserved_name_is_refused_without_a_request(tmp_path: Path):
    taken = definition("acme/registry", env={"A": SecretKeySource("ssec-abc-0", "password")})
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        report = await check_sources(cluster, taken)

    assert server.requests == []
    assert report.problem is not None
    assert "'ssec-abc-0' holds credentials" in report.problem


OPTIONAL = {name: SecretKeySource("db", key, is_optional=True) for name, key in (("A", "password"), ("B", "user"))}
LENIENT = definition("acme/registry", env={**OPTIONAL, "C": PASSWORD})


@pytest.mark.parametrize(
    ("case", "status", "data", "missing"),
    [
        ("all exist", 200, {"password": "eA==", "user": "eA=="}, ()),
        ("a key is missing", 200, {"password": "eA=="}, ("B",)),
        ("the Secret is missing", 404, {}, ("A", "B")),
    ],
)
async def test_optional_entries_whose_source_is_missing_are_listed(
    case: str, status: int, data: dict[str, str], missing: tuple[str, ...], tmp_path: Path
):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.will_answer(status, {**secret(), "data": data}, PATH)
        report = await check_sources(cluster, definition("acme/registry", env=OPTIONAL))

    assert report == SourceReport(missing=tuple(entry.key for entry in LENIENT.env if entry.name in missing)), case


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, {}, "Secret 'db' that `valueFrom` names is missing; create it"),
        (403, {}, "may not read Secret 'db'"),
        (200, {**secret(), "data": {"password": "!"}}, "cannot be decoded"),
        (200, secret(kind="kubernetes.io/service-account-token"), "cannot be a source"),
    ],
)
async def test_only_missing_sources_of_optional_entries_are_tolerated(
    status: int, body: dict[str, Any], message: str, tmp_path: Path
):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.will_answer(status, body, PATH)
        report = await check_sources(cluster, LENIENT)

    assert report.problem is not None
    assert message in report.problem


async def test_missing_source_of_an_injected_optional_entry_names_both_remedies(tmp_path: Path):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.will_answer(404, {}, PATH)
        with pytest.raises(SourceError) as caught:
            await read_sources(cluster, [ResolvedEntry(LENIENT, LENIENT.env[0])])

    assert "create the pod again, which then goes without this optional entry" in caught.value.message
