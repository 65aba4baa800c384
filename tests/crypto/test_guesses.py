"""Sealed guesses: they open for one question only, and nothing else opens as one."""

import hashlib
import hmac
import random
from dataclasses import replace

import pytest
from tests.crypto.support import CONTEXT
from tests.support.builders import entry_key

from scoped_secrets.core.entry import FILE_BYTES
from scoped_secrets.crypto.fingerprints import Fingerprint, FingerprintKey
from scoped_secrets.crypto.guesses import GUESS_CHARACTERS, Question, comparison_key, open_guess, seal_guess
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealing import seal, unseal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import SealingError

KEY, OTHER_KEY = FingerprintKey(bytes(range(32))), FingerprintKey(bytes(range(1, 33)))
STORED = Fingerprint(bytes(range(16)), bytes(range(12)))
QUESTION = Question("web", "aws", entry_key("env", "TOKEN"), "alice", STORED)
VALUE = SecretValue(b"canary-1a6f20")


def sealed(value=VALUE, question=QUESTION, key=KEY):
    return seal_guess(value, question, comparison_key(key).public_key)


def opened(text, question=QUESTION, keys=(KEY,)):
    value = open_guess(text, question, keys)
    return None if value is None else value.reveal()


def test_the_comparison_key_is_the_documented_hmac():
    domain = b"scoped-secrets comparison key v1"
    message = (1).to_bytes(4, "big") + len(domain).to_bytes(4, "big") + domain
    seed = hmac.digest(bytes(range(32)), message, "sha256")

    assert comparison_key(KEY).key_id == PrivateSealingKey(seed, comparison_key(KEY).created).key_id
    assert comparison_key(KEY).key_id == hashlib.sha256(comparison_key(KEY).public_key.raw).hexdigest()[:16]


def test_the_comparison_key_is_derived_once():
    assert comparison_key(KEY) is comparison_key(KEY)


@pytest.mark.parametrize("content", [b"", b"x", "ü☃".encode(), bytes(range(256))])
def test_a_guess_opens_to_the_value_that_was_sealed(content):
    assert opened(sealed(SecretValue(content))) == content


def test_a_guess_of_the_largest_value_has_the_largest_length():
    text = sealed(SecretValue(bytes(FILE_BYTES)))

    assert len(text) == GUESS_CHARACTERS
    assert opened(text) == bytes(FILE_BYTES)
    assert opened(sealed(SecretValue(bytes(FILE_BYTES + 64)))) is None


def test_the_length_of_a_guess_shows_the_length_of_the_value_in_steps_of_64_bytes_only():
    lengths = [len(sealed(SecretValue(bytes(size)))) for size in (0, 60, 61, 124)]

    assert lengths[0] == lengths[1] < lengths[2] == lengths[3]


@pytest.mark.parametrize(
    "question",
    [
        replace(QUESTION, namespace="web-production"),
        replace(QUESTION, name="aw"),
        replace(QUESTION, entry=entry_key("env", "TOKEN2")),
        replace(QUESTION, entry=entry_key("file", "TOKEN")),
        replace(QUESTION, user="mallory"),
        replace(QUESTION, stored=Fingerprint(bytes(16), STORED.salt)),
        replace(QUESTION, stored=Fingerprint(STORED.digest, bytes(12))),
        replace(QUESTION, stored=Fingerprint(STORED.digest)),
    ],
)
def test_a_guess_does_not_open_when_any_part_of_its_question_differs(question):
    assert opened(sealed(), question) is None
    assert opened(sealed(question=question), question) == VALUE.reveal()


def test_a_guess_opens_with_a_former_fingerprint_key_and_with_no_other():
    assert opened(sealed(), keys=(OTHER_KEY, KEY)) == VALUE.reveal()
    assert opened(sealed(), keys=(OTHER_KEY,)) is None
    assert opened(sealed(), keys=()) is None


def test_no_value_opens_as_a_guess_and_no_guess_as_a_value():
    ring = KeyRing((comparison_key(KEY),))
    context = CONTEXT._replace(
        namespace=QUESTION.namespace, name=QUESTION.name, entry_kind="env", entry_name=QUESTION.entry.name
    )
    text = seal(VALUE, context, ring.active.public_key, STORED)
    guess = sealed()

    assert unseal(text, context, ring) == VALUE
    assert [opened(each) for each in (text, f"g1:{text[3:]}")] == [None] * 2
    for each in (guess, f"v1:{guess[3:]}"):
        with pytest.raises(SealingError):
            unseal(each, context, ring)


def test_no_mutation_of_a_guess_opens():
    text, chance = sealed(), random.Random(4711)  # noqa: S311 - a reproducible choice of mutations.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=:+ "
    mutants: set[str] = set()
    while len(mutants) < 200:
        at, size = chance.randrange(len(text)), chance.randrange(3)
        mutant = text[:at] + "".join(chance.choices(alphabet, k=chance.randrange(3))) + text[at + size :]
        mutants.add(mutant)
    mutants.discard(text)

    assert {opened(mutant) for mutant in mutants} == {None}
    assert [opened(each) for each in ("", "g1:", "g1:AAAA", text[:-1], text + "A", "☃")] == [None] * 6
