"""Sealed guesses at a real API server: a person with the right to update learns no more from them than by `verify`."""

from __future__ import annotations

import asyncio
import copy
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.admission.comparison_limit import COMPARED_VALUES
from scoped_secrets.api.comparison import ComparisonRequest, stored_fingerprint
from scoped_secrets.api.scopedsecret import BUNDLE_BYTES
from scoped_secrets.core.entry import FILE_BYTES
from scoped_secrets.crypto.guesses import Question, seal_guess
from scoped_secrets.crypto.keys import PublicSealingKey
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ClusterError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.names import ComparisonAnswer
from scoped_secrets.operations.admission_warnings import warning_texts
from tests.integration.console import scoped_secret
from tests.integration.people import kubeconfig, person, run, wait_for_certificate
from tests.support.builders import entry_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

TOKEN, OTHER, FILE = entry_key("env", "TOKEN"), entry_key("env", "OTHER"), entry_key("file", "/a b")
EQUAL, DIFFERENT = (str(ComparisonAnswer.EQUAL),), (str(ComparisonAnswer.DIFFERENT),)
NOT_OPENED = "the sealed guess does not open"


@dataclass(frozen=True)
class Person:
    """A person who may update the definitions of a namespace, with a client of their own making."""

    console: Console
    user: str
    kubeconfig: Path
    namespace: str

    def stored(self, name: str) -> dict[str, Any]:
        """Return a definition as it is stored."""
        body: dict[str, Any] = self.console.cluster.get("ssec", name, "-n", self.namespace)
        return body

    def guess(self, name: str, value: str, entry: Any = TOKEN, **about: Any) -> str:
        """Return a guess of this person as the annotation holds it."""
        published = self.console.cluster.get("configmap", names.CERTIFICATE_CONFIG_MAP, "-n", names.DEFAULT_NAMESPACE)
        recipient = PublicSealingKey.parse(published["data"][names.COMPARISON_KEY_FILE].encode())
        question = Question(self.namespace, name, entry, self.user, stored_fingerprint(self.stored(name), entry))
        text = seal_guess(SecretValue(value.encode()), replace(question, **about), recipient)
        return ComparisonRequest(entry, text).encode()

    def ask(self, name: str, *guesses: str, change: Callable[[dict[str, Any]], object] | None = None) -> list[Any]:
        """Return the warnings about a dry run with each guess, or the message of its denial."""
        body = self.stored(name)
        bodies = []
        for guess in guesses:
            asked = copy.deepcopy(body)
            asked["metadata"].setdefault("annotations", {})[names.COMPARE_ANNOTATION] = guess
            if change is not None:
                change(asked)
            bodies.append(asked)
        return asyncio.run(self._submit(bodies, dry_run=True))

    def store(self, body: dict[str, Any]) -> Any:
        """Return the warnings about an update, or the message of its denial."""
        return asyncio.run(self._submit([body], dry_run=False))[0]

    async def _submit(self, bodies: Sequence[dict[str, Any]], *, dry_run: bool) -> list[Any]:
        answers: list[Any] = []
        async with await Cluster.connect(str(self.kubeconfig)) as cluster:
            for body in bodies:
                path = paths.scoped_secrets(self.namespace, body["metadata"]["name"])
                try:
                    after, headers = await cluster.submit("PUT", path, body, dry_run=dry_run)
                except ClusterError as error:
                    answers.append(str(error))
                    continue
                assert names.COMPARE_ANNOTATION not in after["metadata"].get("annotations", {})
                answers.append(warning_texts(headers))
        return answers


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console) -> Company:
    wait_for_certificate(console)
    return found()


@pytest.fixture(scope="module")
def web(firm: Company) -> str:
    return firm.namespace("web", "web")


@pytest.fixture(scope="module")
def alice(firm: Company, console: Console, web: str) -> Person:
    user = person(firm, "guesses-alice", "edit", web)
    return Person(console, user, kubeconfig(firm, user, web), web)


@pytest.fixture(scope="module")
def mallory(firm: Company, console: Console, web: str) -> Person:
    user = person(firm, "guesses-mallory", "edit", web)
    return Person(console, user, kubeconfig(firm, user, web), web)


@pytest.fixture
def define(console: Console, web: str, canary: Canary) -> Callable[[str], str]:
    """Return a function that stores a definition, and returns the value that each of its entries has."""

    def stores(name: str) -> str:
        value = canary.value(name)
        console.apply(scoped_secret(f"{web}/{name}", env={"TOKEN": value, "OTHER": value}, files={"/a b": value}))
        console.wait_current(web, name)
        return value

    return stores


def test_a_guess_from_an_audit_log_tells_another_person_nothing(
    define: Callable[[str], str], alice: Person, mallory: Person
):
    value = define("replayed")
    guesses = [alice.guess("replayed", each) for each in (value, f"{value}x")]

    assert alice.ask("replayed", *guesses) == [EQUAL, DIFFERENT]
    right, wrong = mallory.ask("replayed", *guesses)
    assert right == wrong
    assert NOT_OPENED in right


def test_a_guess_is_not_compared_with_a_value_that_is_stored_in_its_place(
    define: Callable[[str], str], alice: Person, console: Console, web: str, canary: Canary
):
    value = define("replaced")
    guesses = [alice.guess("replaced", each) for each in (value, canary.value("another"))]
    console.apply(scoped_secret(f"{web}/replaced", env={"TOKEN": canary.value("another"), "OTHER": "x"}))
    console.wait_current(web, "replaced")

    answers = alice.ask("replaced", *guesses)

    assert answers[0] == answers[1]
    assert NOT_OPENED in answers[0]
    assert alice.ask("replaced", alice.guess("replaced", canary.value("another"))) == [EQUAL]


@pytest.mark.parametrize("part", ["entry", "kind", "object"])
def test_a_moved_guess_does_not_open(part: str, define: Callable[[str], str], alice: Person):
    value = define(f"moved-{part}")
    define(f"target-{part}")
    guess = alice.guess(f"moved-{part}", value)
    sealed = guess.rpartition(" ")[2]
    moved = {
        "entry": (f"moved-{part}", ComparisonRequest(OTHER, sealed).encode()),
        "kind": (f"moved-{part}", ComparisonRequest(FILE, sealed).encode()),
        "object": (f"target-{part}", guess),
    }

    assert NOT_OPENED in alice.ask(*moved[part])[0]
    assert alice.ask(f"moved-{part}", guess) == [EQUAL]


def test_a_guess_is_never_stored(define: Callable[[str], str], alice: Person, console: Console, web: str):
    value = define("kept-out")
    before = alice.stored("kept-out")
    guess = alice.guess("kept-out", value)
    asked = copy.deepcopy(before)
    asked["metadata"].setdefault("annotations", {})[names.COMPARE_ANNOTATION] = guess

    denials = [
        alice.store(asked),
        console.cluster.kubectl(
            "annotate", "ssec", "kept-out", "-n", web, f"{names.COMPARE_ANNOTATION}={guess}", check=False
        ).stderr,
        console.refusal({**asked, "metadata": {**asked["metadata"], "name": "new", "resourceVersion": ""}}),
    ]

    assert all("is never stored" in denial for denial in denials), denials
    assert alice.stored("kept-out") == before


def test_the_validating_webhook_keeps_a_guess_from_being_stored_without_the_mutating_one(
    define: Callable[[str], str], alice: Person, operator: InstalledOperator
):
    value = define("unanswered")
    before = alice.stored("unanswered")
    asked = copy.deepcopy(before)
    asked["metadata"].setdefault("annotations", {})[names.COMPARE_ANNOTATION] = alice.guess("unanswered", value)

    with operator.webhooks_off("mutatingwebhookconfiguration"):
        denial = alice.store(asked)

    assert "is never stored" in denial
    assert alice.stored("unanswered") == before


def test_where_admission_does_not_answer_nothing_is_concluded(
    define: Callable[[str], str], alice: Person, operator: InstalledOperator
):
    value = define("not-asked")
    before = alice.stored("not-asked")

    with operator.webhooks_off():
        result = run("verify", "not-asked", "TOKEN", "--from-file", "-", kubeconfig=alice.kubeconfig, stdin=value)

    assert (result.returncode, result.stdout) == (2, "")
    assert "admission gave no answer; upgrade all replicas of the operator" in result.stderr
    assert alice.stored("not-asked") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["metadata"].update(labels={"a": "b"}),
        lambda body: body["metadata"]["annotations"].update(a="b"),
        lambda body: body["spec"].update(env=body["spec"]["env"][:1]),
        lambda body: body["spec"]["env"][0].update(value="x"),
    ],
    ids=["a label", "an annotation", "an entry less", "a value"],
)
def test_an_update_with_a_guess_changes_nothing_else(
    change: Callable[[dict[str, Any]], object], define: Callable[[str], str], alice: Person
):
    value = define("unchanged")
    guess = alice.guess("unchanged", value)

    assert "must change nothing else" in alice.ask("unchanged", guess, change=change)[0]
    assert alice.ask("unchanged", guess) == [EQUAL]


def test_sealed_guesses_are_not_compared_beyond_the_limit(define: Callable[[str], str], alice: Person):
    value = define("limited")
    wrong = [alice.guess("limited", f"{value} {number}") for number in range(COMPARED_VALUES)]
    right = alice.guess("limited", value)

    answers = alice.ask("limited", *wrong, right, alice.guess("limited", f"{value} more"))

    assert answers == [DIFFERENT] * COMPARED_VALUES + [(str(ComparisonAnswer.NOT_COMPARED),)] * 2
    assert alice.ask("limited", alice.guess("limited", value, OTHER)) == [EQUAL]


def test_damaged_guesses_get_one_denial(define: Callable[[str], str], alice: Person):
    value = define("damaged")
    guess = alice.guess("damaged", value)
    start, chance = guess.index("g1:"), random.Random(41)  # noqa: S311 - a reproducible choice of mutations.
    damaged: set[str] = set()
    while len(damaged) < 200:
        at = chance.randrange(start, len(guess))
        damaged.add(guess[:at] + chance.choice("AZaz09-_") + guess[at + chance.randrange(2) :])
    damaged.discard(guess)
    too_large = alice.guess("damaged", "x" * (FILE_BYTES + 64), FILE)

    answers = set(alice.ask("damaged", *damaged, too_large))

    assert len(answers) == 1
    assert NOT_OPENED in answers.pop()
    assert alice.ask("damaged", guess) == [EQUAL]


def test_the_largest_file_of_a_full_object_can_be_verified(
    alice: Person, console: Console, web: str, canary: Canary, tmp_path: Path
):
    content = canary.value("large").ljust(FILE_BYTES, "x")
    path = tmp_path / "large"
    path.write_text(content)
    console.create(scoped_secret(f"{web}/large", files={"/a b": content, "/c": "y" * (BUNDLE_BYTES - FILE_BYTES)}))
    verify = ("verify", "large", "--file", "/a b", "--from-file", str(path))

    same = run(*verify, kubeconfig=alice.kubeconfig)
    path.write_text(f"{content[:-1]}y")
    other = run(*verify, kubeconfig=alice.kubeconfig)

    assert (same.returncode, same.stdout, same.stderr) == (0, "equal\n", "")
    assert (other.returncode, other.stdout, other.stderr) == (1, "different\n", "")


def test_an_impersonated_person_verifies_as_that_person(
    define: Callable[[str], str], alice: Person, console: Console, web: str
):
    value = define("impersonated")
    verify = ("verify", "impersonated", "TOKEN", "-n", web, "--from-file", "-", "--as", alice.user)

    result = run(*verify, kubeconfig=console.cluster.kubeconfig, stdin=value)

    assert (result.returncode, result.stdout, result.stderr) == (0, "equal\n", "")


def test_without_a_published_key_nothing_is_sent_and_the_error_says_what_to_do(
    define: Callable[[str], str], firm: Company, alice: Person, console: Console, canary: Canary
):
    define("early")
    published = console.cluster.get("configmap", names.CERTIFICATE_CONFIG_MAP, "-n", names.DEFAULT_NAMESPACE)
    certificate = published["data"][names.CERTIFICATE_FILE]
    create = ("create", "configmap", names.CERTIFICATE_CONFIG_MAP, "-n", alice.namespace)
    console.cluster.kubectl(*create, f"--from-literal={names.CERTIFICATE_FILE}={certificate}")
    flags = ("--from-file", "-", "--operator-namespace", alice.namespace)

    result = run("verify", "early", "TOKEN", *flags, kubeconfig=alice.kubeconfig, stdin=canary.value("early"))

    assert (result.returncode, result.stdout) == (2, "")
    assert "upgrade the operator" in result.stderr
    assert result.stderr.count("\n") == 1
