"""The validating review that follows a patch: decided before it arrives, and only for the object that was expected."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.admission.support import KEYS, patched, permission, refusal, review, review_context, scoped_secret

from scoped_secrets.admission.expected_reviews import find_expected
from scoped_secrets.admission.review import Operation, Outcome, Review
from scoped_secrets.admission.scopedsecrets import expect_validation, mutate_scoped_secret, validate_scoped_secret
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import PrivateSealingKey, PublicKeyRing

RESOURCE = "scopedsecrets"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
VALUE = "canary-of-the-expected"


class Write:
    """One write, mutated and expected."""

    def __init__(self, body: dict[str, Any], **given: Any) -> None:
        self.known = review_context(now=NOW)
        self.given = given
        asked = review(RESOURCE, body, **given)
        self.outcome = mutate_scoped_secret(asked, self.known)
        expect_validation(asked, self.outcome, self.known)
        self.body = patched(body, self.outcome)

    def following(self, **changes: Any) -> Review:
        """Return the review that follows as the API server writes it, with what it sets, and with changes."""
        body = copy.deepcopy(self.body)
        body["metadata"] |= {"uid": "1234", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
        body["metadata"]["managedFields"] = [{"manager": "kubectl"}]
        body["spec"] |= changes.pop("spec", {})
        body["metadata"] |= changes.pop("metadata", {})
        given = {"uid": "another", **self.given, **changes}
        if "old" in given:
            given["old"] = in_order(given["old"])
        return review(RESOURCE, in_order(body), **given)


def in_order(body: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the members of each object in order, as the API server writes it."""
    ordered: dict[str, Any] = json.loads(json.dumps(body, sort_keys=True))
    return ordered


def plain(**given: Any) -> dict[str, Any]:
    return scoped_secret(**{"env": [{"name": "TOKEN", "value": VALUE}], **given})


def decided_alone(asked: Review) -> Outcome:
    return validate_scoped_secret(asked, review_context(now=NOW))


def test_the_review_that_follows_is_known_and_has_the_outcome_of_the_rules():
    write = Write(plain(attach="Always", files=[{"path": "/srv/app/a", "content": "x"}]))
    asked = write.following()
    found = find_expected(asked, write.known)
    assert found is not None
    assert found == validate_scoped_secret(asked, write.known) == decided_alone(asked)
    assert "attach: Always" in permission(found).warnings[0]


def test_the_update_that_follows_is_known_too():
    old = Write(plain()).body
    write = Write(plain(description="new"), old=old)
    asked = write.following()
    assert find_expected(asked, write.known) == decided_alone(asked)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": {"description": "by another webhook"}},
        {"spec": {"env": []}},
        {"metadata": {"labels": {"tag": "1"}}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"dryRun": True},
        {"namespace": "shop"},
        {"name": "other"},
        {"subResource": "status"},
    ],
)
def test_another_review_is_not_the_expected_one(changes):
    write = Write(plain())
    assert find_expected(write.following(), write.known) is not None
    assert find_expected(write.following(**changes), write.known) is None


def test_another_stored_object_is_not_the_expected_one():
    old = Write(plain()).body
    write = Write(plain(description="new"), old=old)
    assert find_expected(write.following(), write.known) is not None
    assert find_expected(write.following(old={**old, "spec": {**old["spec"], "final": True}}), write.known) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"now": NOW + timedelta(seconds=6)},
        {"now": NOW - timedelta(seconds=1)},
        {"cluster_id": "another"},
        {"recipients": KEYS.with_key(PrivateSealingKey.generate(NOW)).public()},
        {"fingerprint_key": FingerprintKey.generate()},
        {"may_read_sources": False},
    ],
)
def test_another_state_needs_another_decision(changes):
    write = Write(plain())
    assert find_expected(write.following(), replace(write.known, now=NOW + timedelta(seconds=5))) is not None
    assert find_expected(write.following(), replace(write.known, **changes)) is None


def test_a_change_of_the_inventory_needs_another_decision():
    write = Write(plain())
    write.known.inventory.put_binding("web", None, 0.0)
    assert find_expected(write.following(), write.known) is None


def test_plain_text_that_another_webhook_writes_is_denied_whatever_was_expected():
    write = Write(plain())
    asked = write.following(spec={"env": [{"name": "TOKEN", "value": VALUE}]})
    assert "plain text" in refusal(validate_scoped_secret(asked, write.known)).message


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(plain(env=[{"name": "TOKEN"}]), id="invalid"),
        pytest.param(scoped_secret(env=[{"name": "A", "value": "x", "sensitive": False}]), id="nothing to seal"),
    ],
)
def test_nothing_is_kept_without_a_patch(body):
    known = review_context(now=NOW)
    asked = review(RESOURCE, body)
    expect_validation(asked, mutate_scoped_secret(asked, known), known)
    assert len(known.inventory.memo) == 0


def test_a_denial_is_not_kept():
    write = Write(plain(final=True))
    assert find_expected(write.following(), write.known) is None
    assert "final" in refusal(validate_scoped_secret(write.following(), write.known)).message


def test_of_the_objects_only_a_digest_is_kept_whatever_their_size():
    stored = plain(files=[{"path": "~/a", "content": VALUE * 10_000}])
    write = Write(plain(description="new"), old={**stored, "status": {"junk": [{}] * 10_000}})
    memo = write.known.inventory.memo
    kept = memo.find(("expected review", "web", "aws"))
    assert len(kept.objects) == 32
    assert {type(fact) for fact in kept.facts} <= {
        *(Operation, str, bool, FingerprintKey, tuple),
        *(PublicKeyRing, DecisionSettings, type(None)),
    }
    assert len(memo) < 10


def test_values_in_every_alphabet_are_expected_as_the_api_server_writes_them():
    text = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10000), 0x1F511)))
    stored = {**plain(), "metadata": {"name": "aws", "namespace": "web", "annotations": {"a": text, text[-99:]: ""}}}
    write = Write(plain(description="new"), old=stored)
    assert find_expected(write.following(), write.known) is not None


def test_a_true_that_became_a_one_is_another_object():
    write = Write(plain(final=False))
    assert find_expected(write.following(), write.known) is not None
    assert find_expected(write.following(spec={"final": 0}), write.known) is None
