"""No object of ours that ever holds a value shows it, and no exception that leaves our functions does.

Which objects those are is not listed here. Values are sent along every way that they can go, a profiler looks into each
frame of ours, and whatever of our types is found with a value in it is shown in every way that Python knows.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import pickle
import pprint
import reprlib
import sys
import traceback
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Any

import click.testing
import pytest
from pydantic import BaseModel

from scoped_secrets.admission.review import parse_review, render
from scoped_secrets.admission.webhooks import WEBHOOKS, decide_review
from scoped_secrets.cli.seal import command as seal_command
from scoped_secrets.controller.bundle_bodies import secret_bodies
from scoped_secrets.controller.resealing import reseal_operations
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.value_from import read_sources
from scoped_secrets.core.resolution.definitions import SealedSource, SecretKeySource
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey, fingerprint, new_salt
from scoped_secrets.crypto.guesses import Question, comparison_key, open_guess, seal_guess
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ScopedSecretsError
from scoped_secrets.kube import paths
from scoped_secrets.operations.verify import Verification, verify_value
from tests.admission.support import applied_by_kubectl, review_body, review_context, scoped_secret
from tests.controller.snapshots import admitted, job, record_of, stored
from tests.kube.fake import FakeServer
from tests.support.builders import definition, entry_key, granted, home_and_project, inventory, pod_body, slot_at
from tests.support.canary import Canary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CANARY = Canary()
UNSEALER = Unsealer(KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC)), "cluster-uid")
RECORD = record_of(stored(admitted(job(None), inventory(home_and_project()))))
OURS = "scoped_secrets."
DEEPEST = 8


def traced(held: object) -> str:
    """Return a traceback with variables through a frame that has the object."""
    try:
        int([held])  # type: ignore[call-overload]
    except TypeError as error:
        return shown(error)
    return ""


WAYS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "format": lambda held: f"{held}{held!s:>300}{held!r:.5}{held!a}",
    "percent": lambda held: "%s %r" % (held, held),  # noqa: UP031 - it is one of the ways.
    "in containers": lambda held: f"{[held]} {(held,)} { {'key': held} }",
    "pprint": pprint.pformat,
    "reprlib": reprlib.repr,
    "vars": lambda held: repr(vars(held)),
    "asdict": lambda held: repr(asdict(held)),
    "astuple": lambda held: repr(astuple(held)),
    "copy": lambda held: repr(copy.copy(held)),
    "deepcopy": lambda held: repr(copy.deepcopy(held)),
    "pickle": lambda held: [pickle.dumps(held, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)],
    "state": lambda held: repr(held.__getstate__()),
    "argument of an exception": lambda held: repr(ValueError(held)) + str(KeyError(held)),
    "variable of a traceback": traced,
    "model_dump": lambda held: repr(held.model_dump()) + held.model_dump_json(),
}


def shown(error: BaseException) -> str:
    """Return all that a traceback with variables shows of our frames, and all that exceptions say of themselves."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    chain: BaseException | None = error
    texts = []
    while chain is not None:
        texts.append(f"{chain!r} {chain} {chain.args!r} {getattr(chain, '__notes__', '')}")
        chain = chain.__cause__ or chain.__context__
    parts: list[str] = []
    pending = [trace]
    while pending:
        one = pending.pop()
        # The tests' own frames have the values on purpose.
        parts += [repr(frame.locals) for frame in one.stack if "/scoped_secrets/" in frame.filename]
        pending += [each for each in (one.__cause__, one.__context__) if each is not None]
    return "\n".join([*parts, *texts])


def holds(part: object, depth: int = 0) -> bool:
    """Tell whether a value can be reached from an object, however it stands there."""
    if isinstance(part, str):
        part = part.encode(errors="surrogatepass")
    if isinstance(part, (bytes, bytearray)):
        return bool(CANARY.forms_in(bytes(part)))
    return depth < DEEPEST and any(holds(member, depth + 1) for member in members(part))


def is_ours(part: object) -> bool:
    return type(part).__module__.startswith(OURS) and not isinstance(part, type)


def members(part: object) -> Iterator[object]:
    """Yield what a container holds, or the attributes of an object of ours without asking it."""
    if isinstance(part, Mapping):
        yield from (*part.keys(), *part.values())
    elif isinstance(part, (list, tuple, set, frozenset)):
        yield from part
    if not is_ours(part):
        return
    yield from getattr(part, "__dict__", {}).values()
    for kind in type(part).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and hasattr(part, slot):
                yield object.__getattribute__(part, slot)


class Watcher:
    """Collects the objects of ours that hold a value while the block runs, one of each type and shape."""

    def __init__(self) -> None:
        self.found: dict[str, object] = {}
        # Kept, so that an identity stays its own; most objects of ours do not change once they are made.
        self._seen: dict[int, object] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        sys.setprofile(self._look)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _look(self, frame: Any, event: str, argument: object) -> None:
        if event != "return" or not frame.f_globals.get("__name__", "").startswith(OURS):
            return
        for part in (*frame.f_locals.values(), argument):
            if not is_ours(part) or id(part) in self._seen:
                continue
            self._seen[id(part)] = part
            name = type(part).__qualname__
            if name not in self.found and holds(part):
                self.found[name] = part


def value(label: str) -> bytes:
    return CANARY.value(label).encode()


class Journey:
    """One way along which values are sent.

    Attributes:
        folder: A folder for it.
        said: What came out where people or programs see it, by place.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[tuple[str, str]] = []

    def hear(self, place: str, said: object) -> None:
        self.said.append((place, said.decode() if isinstance(said, bytes) else str(said)))

    @contextmanager
    def hearing(self, place: str) -> Iterator[None]:
        """Note all that an exception of ours shows that ends the block."""
        try:
            yield
        except ScopedSecretsError as error:
            self.hear(place, shown(error))


def sealing_on_the_command_line(journey: Journey) -> None:
    certificate, file = journey.folder / "sealing.crt", journey.folder / "file"
    certificate.write_bytes(SealingCertificate("cluster-one", UNSEALER.keys.public()).serialize())
    file.write_bytes(value("file"))
    flags = ["--cert", str(certificate), "-n", "web", "--name", "aws", "--organization", "acme", "--project", "web"]
    flags += ["--scope", "Project", "--env-from-file", "KEY=-", "--file", f"/f={file}"]
    result = click.testing.CliRunner().invoke(seal_command, flags, input=value("cli"))
    assert result.exit_code == 0
    journey.hear("output", result.output)


def bodies() -> Iterator[dict[str, Any]]:
    """Yield ScopedSecrets with values where they belong and where they do not."""
    text, encoded = CANARY.value("review"), base64.b64encode(value("review")).decode()
    variable = {"name": "KEY", "value": text}
    files = [{"path": "/a", "content": text}, {"path": "/b", "contentBase64": encoded}]
    yield applied_by_kubectl(scoped_secret(env=[variable], files=files))
    yield scoped_secret(env=[{"name": text, "value": text}])
    yield scoped_secret(env=[{"name": "KEY", "sealed": text}])
    yield scoped_secret(env=text)
    yield scoped_secret(env=[{"name": "KEY", "value": {"nested": text}}])
    yield scoped_secret(files=[{"path": "/f", "contentBase64": f"!{text}"}])
    yield scoped_secret(scope=text, env=[variable])
    yield scoped_secret(env=[variable, variable])
    yield scoped_secret(env=[{**variable, "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}])


def admitting(journey: Journey) -> None:
    old = next(bodies())
    for path, body, before in product(("/mutate/scopedsecrets", "/validate/scopedsecrets"), bodies(), (None, old)):
        review = parse_review(json.dumps(review_body("scopedsecrets", body, old=before)).encode())
        answer = render(review, decide_review(WEBHOOKS[path], review, review_context()))
        journey.hear("answer", answer)
        journey.hear("patch", base64.b64decode(json.loads(answer)["response"].get("patch", "")))


def world_with(content: bytes) -> Any:
    empty = definition("acme/registry", env={"TOKEN": SecretKeySource("x", "y")})
    slot = slot_at(inventory(home_and_project(), [empty]), "acme/registry")
    context = sealing_context(UNSEALER.cluster_id, "acme", "registry", slot, empty.env[0].key)
    text = seal(SecretValue(content), context, UNSEALER.keys.active.public_key, None)
    sources = {"TOKEN": SealedSource(text, 200), "OTHER": SecretKeySource("db", "password")}
    return inventory(home_and_project(), [definition("acme/registry", env=sources)])


def rendering(journey: Journey) -> None:
    asyncio.run(_rendering(journey))


async def _rendering(journey: Journey) -> None:
    snapshot = world_with(value("rendered"))
    decision = granted(pod_body("registry"), snapshot)
    entries = [each.resolved for part in decision.injection.layout.parts for each in part.entries]
    encoded = base64.b64encode(value("source")).decode()
    async with FakeServer() as server, await server.connect(journey.folder) as cluster:
        # The last one is sound.
        for text in (f"{encoded}!", base64.b64encode(b"\0" + value("source")).decode(), encoded):
            server.will_answer(200, {"data": {"password": text}, "metadata": {}}, path="/secrets/db")
            sources: Mapping[tuple[str, SecretKeySource], SecretValue] = {}
            with journey.hearing("a source"):
                sources = (await read_sources(cluster, entries)).values
        for body in secret_bodies(RECORD, decision, UNSEALER, sources):
            for status in (201, 409, 422, 429, 500):
                server.will_answer(status, {**body, "reason": "Invalid", "message": json.dumps(body)})
                with journey.hearing(f"a creation that is answered with {status}"):
                    await cluster.create(paths.secrets("web"), body)
        # The first value has been opened when the second one turns out to be missing.
        with journey.hearing("opening"):
            list(secret_bodies(RECORD, decision, UNSEALER, {}))
    again = reseal_operations(snapshot.get("acme/registry"), "now", UNSEALER, FingerprintKey(bytes(range(32))))
    journey.hear("the patch", repr(again.operations))


def verifying(journey: Journey) -> None:
    asyncio.run(_verifying(journey))


async def _verifying(journey: Journey) -> None:
    key, entry = FingerprintKey(bytes(range(32))), entry_key("env", "KEY")
    stored_mark = fingerprint(key, "web", "aws", "env", "KEY", SecretValue(b"x"), new_salt())
    question = Question("web", "aws", entry, "someone", stored_mark)
    guessed = Verification(scoped_secret(), question, comparison_key(key).public_key)
    async with FakeServer() as server, await server.connect(journey.folder) as cluster:
        for status in (409, 403, 422, 500):
            server.will_answer(status, {"reason": "Invalid", "message": "refused"})
            try:
                await verify_value(cluster, guessed, SecretValue(value("verify")))
            except ScopedSecretsError as error:
                # The command prints it without its frames.
                journey.hear("verify", f"{error!r} {error} {error.__context__!r}")
            journey.hear("a sealed guess", server.bodies[-1])
    text = seal_guess(SecretValue(value("guess")), question, comparison_key(key).public_key)
    opened = open_guess(text, question, (key,))
    assert opened is not None
    journey.hear("an opened guess", repr(opened))


JOURNEYS = [sealing_on_the_command_line, admitting, rendering, verifying]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], list[tuple[str, str]]]:
    """One object of each of our types that was ever seen with a value in it, and what was said on the way."""
    watcher, said = Watcher(), []
    for travel in JOURNEYS:
        journey = Journey(tmp_path_factory.mktemp("journey"))
        with watcher.watching():
            travel(journey)
        said += journey.said
    return watcher.found, said


@pytest.fixture(scope="module")
def holders(sent: tuple[dict[str, object], list[tuple[str, str]]]) -> dict[str, object]:
    return sent[0]


def test_no_response_and_no_own_exception_shows_a_value(sent: tuple[dict[str, object], list[tuple[str, str]]]):
    """Not even with the variables of all our frames, which error trackers send away."""
    said = sent[1]

    places = {place for place, _ in said}
    assert {"output", "answer", "patch", "a source", "opening", "verify", "a sealed guess", "an opened guess"} <= places
    assert {f"a creation that is answered with {status}" for status in (409, 422, 429, 500)} <= places
    assert {place for place, text in said if CANARY.find(place, text)} == set()


def test_search_finds_the_types_that_hold_values(holders: dict[str, object]):
    known = {
        "SecretValue",
        "EnvEntryModel",
        "FileEntryModel",
        "ScopedSecret",
        "Review",
        "RedactedDict",
        "PlainEntry",
        "Response",
    }

    assert known <= holders.keys(), sorted(holders)


@pytest.mark.parametrize("way", WAYS)
def test_no_type_that_holds_a_value_shows_it(way: str, holders: dict[str, object]):
    leaks = []
    for name, held in holders.items():
        if way in ("vars", "state") and isinstance(held, BaseModel):
            # Its attributes are its dictionary: who asks for that has asked for the value.
            continue
        try:
            text = WAYS[way](held)
        except Exception as error:  # noqa: BLE001 - to refuse is fine, unless the refusal shows it.
            text = f"{error!r} {error}"
        if CANARY.find(name, text if isinstance(text, bytes) else repr(text)) or CANARY.find(name, str(text)):
            leaks.append(name)

    assert leaks == []
