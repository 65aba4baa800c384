"""The sealed guess of `verify`: a dry run that changes nothing else gets one answer, and everything else is denied."""

import base64
import copy
import json
from dataclasses import replace

import pytest
from tests.admission.support import (
    FINGERPRINT_KEY,
    applied_by_kubectl,
    ask,
    patched,
    permission,
    refusal,
    review_body,
    review_context,
    scoped_secret,
    stored,
)
from tests.support.builders import entry_key

from scoped_secrets import names
from scoped_secrets.admission.comparison_limit import COMPARED_VALUES, ComparisonLimit
from scoped_secrets.admission.review import parse_review, render
from scoped_secrets.admission.webhooks import WEBHOOKS, decide_review
from scoped_secrets.api.comparison import ComparisonRequest, stored_fingerprint
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.guesses import Question, comparison_key, seal_guess
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.names import ComparisonAnswer, Reason

MUTATE, VALIDATE = "/mutate/scopedsecrets", "/validate/scopedsecrets"
CANARY = "canary-77c01e"
KNOWN = review_context()
TOKEN, FILE = entry_key("env", "TOKEN"), entry_key("file", "/a b")
MANIFEST = scoped_secret(
    env=[{"name": "TOKEN", "value": CANARY}, {"name": "PLAIN", "value": "x", "sensitive": False}],
    files=[{"path": "/a b", "content": CANARY}],
)
STORED = stored(applied_by_kubectl(MANIFEST), KNOWN)


def fresh():
    """Return a state in which nothing was compared."""
    return replace(KNOWN, comparisons=ComparisonLimit())


def guess(value=CANARY, entry=TOKEN, *, body=STORED, user="someone", key=FINGERPRINT_KEY, **about):
    """Return the annotation's text for a guess at an entry of an object."""
    question = Question("web", "aws", entry, user, stored_fingerprint(body, entry))
    text = seal_guess(SecretValue(value.encode()), replace(question, **about), comparison_key(key).public_key)
    return ComparisonRequest(entry, text).encode()


def asked(text, body=STORED):
    """Return an object with a guess."""
    result = copy.deepcopy(body)
    result["metadata"].setdefault("annotations", {})[names.COMPARE_ANNOTATION] = text
    return result


def answer(text, known=None, *, body=STORED, path=MUTATE, **about):
    known = fresh() if known is None else known
    return ask(path, asked(text, body), known, old=body, **{"dryRun": True, **about})


@pytest.mark.parametrize(
    ("value", "entry", "words"),
    [
        (CANARY, TOKEN, ComparisonAnswer.EQUAL),
        (CANARY, FILE, ComparisonAnswer.EQUAL),
        (f"{CANARY}x", TOKEN, ComparisonAnswer.DIFFERENT),
        ("", TOKEN, ComparisonAnswer.DIFFERENT),
        (f"{CANARY}\n", FILE, ComparisonAnswer.DIFFERENT),
    ],
)
def test_a_guess_is_answered_by_a_warning_and_nothing_else_changes(value, entry, words):
    outcome = permission(answer(guess(value, entry)))

    assert outcome.warnings == (words,)
    assert patched(asked(guess(value, entry)), outcome) == STORED


def test_each_answer_has_the_same_patch():
    known = fresh()
    outcomes = [
        permission(answer(guess(value), known)) for value in (CANARY, *map(str, range(COMPARED_VALUES)), CANARY)
    ]

    assert {outcome.warnings[0] for outcome in outcomes} == set(ComparisonAnswer)
    assert len({json.dumps(list(outcome.operations)) for outcome in outcomes}) == 1


def test_after_ten_different_guesses_neither_the_right_nor_a_wrong_one_is_compared():
    known = fresh()
    wrong = [permission(answer(guess(f"wrong {number}"), known)).warnings for number in range(COMPARED_VALUES)]
    late = [permission(answer(guess(value), known)).warnings for value in (CANARY, "one more")]

    assert wrong == [(ComparisonAnswer.DIFFERENT,)] * COMPARED_VALUES
    assert late == [(ComparisonAnswer.NOT_COMPARED,)] * 2
    assert permission(answer(guess(entry=FILE), known)).warnings == (ComparisonAnswer.EQUAL,)


def test_guesses_and_applied_values_have_one_limit():
    known = fresh()
    for number in range(COMPARED_VALUES):
        manifest = scoped_secret(**{**MANIFEST["spec"], "env": [{"name": "TOKEN", "value": f"wrong {number}"}]})
        permission(ask(MUTATE, manifest, known, old=STORED, dryRun=True))

    assert permission(answer(guess(), known)).warnings == (ComparisonAnswer.NOT_COMPARED,)


def test_the_same_guess_counts_once_and_one_that_does_not_open_never():
    known = fresh()
    for _ in range(3 * COMPARED_VALUES):
        permission(answer(guess("wrong"), known))
        refusal(answer(guess("wrong", user="other"), known))

    assert permission(answer(guess(), known)).warnings == (ComparisonAnswer.EQUAL,)


DAMAGED = {
    "of another user": guess(user="alice"),
    "of another object": guess(name="other"),
    "of another namespace": guess(namespace="other"),
    "of another fingerprint": guess(stored=stored_fingerprint(STORED, FILE)),
    "of another entry": guess().replace("env TOKEN ", "file /a b "),
    "for another key": guess(key=FingerprintKey(bytes(range(1, 33)))),
    "a sealed value": f"env TOKEN {STORED['spec']['env'][0]['sealed']}",
    "a sealed data key": f"env TOKEN {STORED['spec']['dataKeys'][0]['sealed']}",
    "cut": guess()[:-1],
    "too large": f"env TOKEN g1:{'A' * 1_000_000}",
    "empty": "",
    "one word": "env",
    "no guess": "env TOKEN",
    "an unknown kind": guess().replace("env", "Env"),
    "a number": 7,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_every_guess_that_does_not_open_gets_the_same_denial(text):
    denial = refusal(answer(text))

    assert denial == refusal(answer("env TOKEN g1:"))
    assert denial.reason is Reason.INVALID
    assert "the sealed guess does not open" in denial.message


@pytest.mark.parametrize(
    "about",
    [{"dryRun": False}, {"dryRun": None}, {"old": None}, {"operation": "CREATE"}],
)
@pytest.mark.parametrize("path", [MUTATE, VALIDATE])
def test_a_guess_is_never_stored(path, about):
    denial = refusal(ask(path, asked(guess()), fresh(), **{"old": STORED, "dryRun": True, **about}))

    assert "is never stored" in denial.message


def test_the_validating_webhook_denies_a_guess_that_the_mutating_one_did_not_answer():
    assert "is never stored" in refusal(answer(guess(), path=VALIDATE)).message


def test_a_guess_is_not_stored_while_the_object_is_being_deleted():
    old = copy.deepcopy(STORED)
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    for path in (MUTATE, VALIDATE):
        assert "is never stored" in refusal(answer("env TOKEN g1:", body=old, path=path, dryRun=False)).message


def test_an_annotation_that_was_stored_past_admission_does_not_keep_the_object_from_changing():
    old = asked("left")
    body = copy.deepcopy(old)
    body["metadata"]["labels"] = {"a": "b"}

    for path in (MUTATE, VALIDATE):
        assert not permission(ask(path, body, fresh(), old=old)).operations


CHANGES = {
    "a label": lambda body: body["metadata"].update(labels={"a": "b"}),
    "another annotation": lambda body: body["metadata"]["annotations"].update(a="b"),
    "kubectl's copy": lambda body: body["metadata"]["annotations"].pop(names.LAST_APPLIED_ANNOTATION),
    "a finalizer": lambda body: body["metadata"].update(finalizers=["a/b"]),
    "a value": lambda body: body["spec"]["env"][0].update(value="x"),
    "plain configuration": lambda body: body["spec"]["env"][1].update(value="y"),
    "an entry": lambda body: body["spec"]["env"].pop(),
    "the scope": lambda body: body["spec"].update(scope="Organization"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_an_update_with_a_guess_changes_nothing_else(change):
    body = asked(guess())
    change(body)

    denial = refusal(ask(MUTATE, body, fresh(), old=STORED, dryRun=True))

    assert "must change nothing else" in denial.message


def test_a_guess_for_an_object_that_has_changed_since_is_told_so():
    body = asked(guess())
    body["metadata"]["resourceVersion"] = "1"
    old = copy.deepcopy(STORED)
    old["metadata"].update(resourceVersion="2", labels={"a": "b"})

    assert "was changed just now; try again" in refusal(ask(MUTATE, body, fresh(), old=old, dryRun=True)).message


def test_what_the_api_server_adds_to_an_update_is_no_change():
    body = asked(guess())
    body["metadata"]["managedFields"] = [{"manager": "kubectl-scoped-secrets"}]
    body["status"] = {"observedGeneration": 1}

    assert permission(ask(MUTATE, body, fresh(), old=STORED, dryRun=True)).warnings == (ComparisonAnswer.EQUAL,)


def test_a_rotation_between_reading_and_asking_does_no_harm():
    rotated = replace(fresh(), fingerprint_key=FingerprintKey.generate(), former_fingerprint_keys=(FINGERPRINT_KEY,))
    renewed = guess(key=rotated.fingerprint_key)

    answers = [permission(answer(text, rotated)).warnings for text in (guess(), renewed, guess("wrong"))]

    assert answers == [(ComparisonAnswer.EQUAL,)] * 2 + [(ComparisonAnswer.DIFFERENT,)]


def test_nothing_is_compared_where_comparing_is_off():
    denials = [refusal(answer(guess(value), replace(fresh(), keep_unchanged=False))) for value in (CANARY, "wrong")]

    assert denials[0] == denials[1]
    assert "values are not compared in this cluster" in denials[0].message


@pytest.mark.parametrize(
    ("entry", "words"),
    [(entry_key("env", "PLAIN"), "is not sealed here"), (entry_key("env", "NONE"), "has no variable 'NONE'")],
)
def test_entries_without_a_sealed_value_are_not_compared(entry, words):
    denial = refusal(answer(ComparisonRequest(entry, guess().rpartition(" ")[2]).encode()))

    assert words in denial.message


def test_no_answer_and_no_log_line_holds_the_guess(caplog):
    caplog.set_level("DEBUG")
    for text, dry_run in ((guess(), True), (guess(f"{CANARY}x"), True), (guess(), False), (guess(user="other"), True)):
        body = review_body("scopedsecrets", asked(text), old=STORED, dryRun=dry_run)
        review = parse_review(json.dumps(body).encode())
        response = render(review, decide_review(WEBHOOKS[MUTATE], review, fresh()))
        patch = base64.b64decode(json.loads(response)["response"].get("patch", ""))
        assert CANARY.encode() not in response + patch
    assert CANARY not in caplog.text
