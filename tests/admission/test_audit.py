"""The audit log of admission: one line for each decision about a pod or a session, names only."""

from __future__ import annotations

import copy
import io
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.admission.support import ask, patched, review, review_context
from tests.support.builders import (
    NOW,
    container,
    definition,
    home_and_project,
    inventory,
    pod_body,
    policy,
    scope_labels,
    sealed,
)

from scoped_secrets import logs, names
from scoped_secrets.admission.audit import ReviewAuditor
from scoped_secrets.admission.webhooks import WEBHOOKS, decide_review
from scoped_secrets.audit import AuditLog
from scoped_secrets.config import AuditLevel
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.interactive import Interaction, InteractiveAccess
from scoped_secrets.logs import LogFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from scoped_secrets.core.inventory import Inventory

MUTATE, SESSION = "/mutate/pods", "/validate/interactive"
CANARY = "canary-5f21c0"
AWS = definition("web/aws", scope="Project", generation=3, env={"A": sealed(f"v1:{CANARY}")})
REGISTRY = definition("acme/registry", env={"A": CANARY}, attach="Always")
ALLOW = policy("acme/deploy", secret_names=("aws",), rules=(Rule("main", service_accounts=("deployer",)),))


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Send all log lines into a text, and give every logger back as it was."""
    loggers = [logging.getLogger(name) for name in ("", logs.AUDIT_LOGGER, *logs._LIBRARIES)]
    before = [(logger, list(logger.handlers), logger.level) for logger in loggers]
    text = io.StringIO()
    logs.configure("error", LogFormat.TEXT, text)
    yield text
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


def snapshot(*policies: Any) -> Inventory:
    places = home_and_project() | {"web-production": {"labels": scope_labels("acme", "web", "production")}}
    return inventory(places, [AWS, REGISTRY], policies)


def audited(
    stream: io.StringIO,
    path: str,
    body: Mapping[str, Any] | None,
    known: Inventory,
    level: AuditLevel = AuditLevel.ALL,
    now: datetime = NOW,
    **given: Any,
) -> list[dict[str, Any]]:
    """Return the lines that a webhook's decision writes."""
    request = review(path.rpartition("/")[2], body, **given.pop("request", {}))
    for field, value in given.items():
        object.__setattr__(request, field, value)
    outcome = decide_review(WEBHOOKS[path], request, review_context(known, now=now))
    start = stream.tell()
    ReviewAuditor(AuditLog(level)).decided(path, request, outcome)
    return [json.loads(line) for line in stream.getvalue()[start:].splitlines()]


def injected(body: Mapping[str, Any], known: Inventory) -> dict[str, Any]:
    return patched(body, ask(MUTATE, body, review_context(known)))


def test_an_allowed_pod_has_one_line_with_winner_policy_and_claims(stream):
    known = snapshot(ALLOW)
    body = pod_body("aws, gone?", serviceAccountName="deployer")

    (line,) = audited(stream, MUTATE, body, known)

    assert list(line)[:2] == ["logger", "time"]
    assert line.pop("time").endswith("Z")
    assert line == {
        "logger": "scoped_secrets.audit",
        "event": "Pod",
        "decision": "Allowed",
        "uid": "review-1",
        "user": "someone",
        "pod": {"namespace": "web", "name": "job"},
        "scope": {"organization": "acme", "project": "web"},
        "claims": {
            "project": {"value": "web", "source": "namespace"},
            "namespace": {"value": "web", "source": "request"},
            "serviceAccount": {"value": "deployer", "source": "Pod"},
            "creator": {"value": "someone", "source": "request"},
        },
        "references": [
            {"name": "registry", "winner": "acme/registry", "generation": 1, "decision": "Allowed", "attached": True},
            {
                "name": "aws",
                "winner": "web/aws",
                "generation": 3,
                "decision": "Allowed",
                "policy": "acme/deploy",
                "rule": "main",
            },
            {"name": "gone", "decision": "LeftOut", "reason": "NotFound"},
        ],
    }


def test_a_second_review_of_a_request_that_changes_nothing_writes_no_second_line(stream):
    known = snapshot()

    assert audited(stream, MUTATE, injected(pod_body("aws"), known), known) == []


def test_a_second_review_that_adds_to_a_container_of_another_webhook_writes_what_it_decides(stream):
    known = snapshot()
    stored = injected(pod_body("aws"), known)
    stored["spec"]["containers"].append(container("sidecar"))

    (line,) = audited(stream, MUTATE, stored, known)

    assert (line["decision"], line["references"][-1]["name"]) == ("Allowed", "aws")


def test_a_pod_that_is_created_again_with_what_was_injected_has_a_line_of_its_own(stream):
    known = snapshot()
    stored = injected(pod_body("aws"), known)

    (line,) = audited(stream, MUTATE, stored, known, now=NOW + timedelta(minutes=1))

    assert line["decision"] == "Allowed"


def test_a_pod_that_is_created_as_a_dry_run_showed_it_has_a_line_of_its_own(stream):
    known = snapshot()
    dry: dict[str, Any] = {"request": {"dryRun": True}}
    (shown,) = audited(stream, MUTATE, pod_body("aws"), known, **copy.deepcopy(dry))
    stored = patched(pod_body("aws"), ask(MUTATE, pod_body("aws"), review_context(known), dryRun=True))

    assert shown["dryRun"] is True
    assert audited(stream, MUTATE, stored, known, **dry) == []
    (line,) = audited(stream, MUTATE, stored, known)
    assert "dryRun" not in line


def test_a_denied_pod_names_policy_rule_and_the_first_failing_claim(stream):
    body = pod_body("aws", metadata={"name": None, "generateName": "job-"})

    (line,) = audited(stream, MUTATE, body, snapshot(ALLOW), request={"dryRun": True})

    assert (line["decision"], line["reason"], line["dryRun"]) == ("Denied", "PolicyDenied", True)
    assert line["pod"] == {"namespace": "web", "generateName": "job-"}
    assert line["references"][-1] == {
        "name": "aws",
        "winner": "web/aws",
        "generation": 3,
        "decision": "Denied",
        "reason": "PolicyDenied",
        "policy": "acme/deploy",
        "rule": "main",
        "claim": "serviceAccounts",
    }
    assert "rule 'main'" in line["message"]


def test_an_environment_says_who_states_it(stream):
    known = snapshot()
    body = pod_body("registry", namespace="web-production")

    (line,) = audited(stream, MUTATE, body, known)

    assert line["claims"]["environment"] == {"value": "production", "source": "namespace"}


@pytest.mark.parametrize(
    "body",
    [pod_body("aws", namespace="elsewhere"), pod_body("aws", annotations={names.ENVIRONMENT_ANNOTATION: "production"})],
    ids=["no scope path", "environment not allowed"],
)
def test_a_pod_without_a_place_is_denied_without_claims(stream, body):
    (line,) = audited(stream, MUTATE, body, snapshot())

    assert line["decision"] == "Denied"
    assert "claims" not in line


def test_a_pod_that_did_not_opt_in_has_no_line(stream):
    assert audited(stream, MUTATE, pod_body("aws", metadata={"labels": {}}), snapshot()) == []


def session(known: Inventory, *policies: Any) -> dict[str, Any]:
    """Return what admission knows of a request for a session in a pod with the bundle aws."""
    stored = injected(pod_body("aws"), known)
    for each in policies:
        known.put_policy(each)
    request = {"operation": "CONNECT", "name": "job", "namespace": "web", "subResource": "exec"}
    return {"request": request, "stored_pod": stored}


def test_sessions_are_written_with_what_they_were_decided_from(stream):
    known = snapshot()
    deny = policy("acme/closed", secret_names=("aws",), interactive=InteractiveAccess(frozenset({Interaction.EXEC})))

    (allowed,) = audited(stream, SESSION, None, known, **session(known))
    (denied,) = audited(stream, SESSION, None, known, **session(known, deny))

    assert (allowed["event"], allowed["decision"], allowed["interaction"]) == ("Session", "Allowed", "exec")
    assert allowed["pod"] == {"namespace": "web", "name": "job"}
    assert "aws" in allowed["bundles"]
    assert (denied["decision"], denied["policy"], denied["bundle"]) == ("Denied", "acme/closed", "aws")


@pytest.mark.parametrize(
    ("level", "events"),
    [(AuditLevel.NONE, []), (AuditLevel.DENIED, ["Denied"]), (AuditLevel.ALL, ["Denied", "Allowed"])],
)
def test_the_level_decides_what_is_written(stream, level, events):
    known = snapshot()
    denial = audited(stream, MUTATE, pod_body("gone"), known, level)
    permission = audited(stream, MUTATE, pod_body("aws"), known, level)

    assert [line["decision"] for line in (*denial, *permission)] == events


def test_no_line_holds_a_value_whatever_a_pod_says(stream):
    known = snapshot(ALLOW)
    job = container(env=[{"name": "OWN", "value": CANARY}], command=[CANARY], args=[CANARY])
    own: dict[str, Any] = {"annotations": {names.LAST_APPLIED_ANNOTATION: CANARY}, "containers": [job]}
    allowed = pod_body("aws", serviceAccountName="deployer", **copy.deepcopy(own))
    lines = [
        *audited(stream, MUTATE, pod_body("aws", **own), known),
        *audited(stream, MUTATE, allowed, known),
        *audited(stream, MUTATE, pod_body(f"aws, {CANARY}!", **own), known),
        *audited(stream, MUTATE, pod_body("aws", annotations={names.KEY_CONFLICT_ANNOTATION: CANARY}), known),
    ]

    assert lines
    assert CANARY not in stream.getvalue()


def test_texts_of_a_forged_review_are_cut_and_stay_on_one_line(stream):
    long = "x\n" * 10_000
    body = pod_body("gone", metadata={"name": long, "namespace": long})

    (line,) = audited(stream, MUTATE, body, snapshot(), request={"userInfo": {"username": long}})

    assert all(len(text) < 300 for text in (line["user"], line["pod"]["name"], line["pod"]["namespace"]))
