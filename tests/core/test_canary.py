"""No value and no sealed text leaves the core but inside the sources that carry it."""

# ruff: noqa: S106 - `secret_name` is a name

from dataclasses import replace

import pytest
from tests.support.builders import (
    NOW,
    container,
    decide_about,
    definition,
    home_and_project,
    inventory,
    pod_body,
    policy,
    sealed,
)

from scoped_secrets import names
from scoped_secrets.core.decide import DecisionSettings, Denied, Granted
from scoped_secrets.core.injection.inject import Injection
from scoped_secrets.core.pod import parse_pod
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.policy import Access, KeyConflict
from scoped_secrets.core.status import status_of
from scoped_secrets.names import Reason

CANARY = "canary-7f3a91"
DEFAULTS = DecisionSettings()
PLAIN = definition("acme/plain", env={"A": CANARY}, files={"/etc/plain": CANARY, "rel": CANARY})
SEALED = definition(
    "acme/aws", env={"A": sealed(f"v1:{CANARY}"), "B": sealed(f"v1:{CANARY}")}, files={"/etc/sealed": sealed(CANARY)}
)
NARROW = definition("web/own", secret_name="aws", scope="Project", override="Merge", env={"A": sealed(CANARY)})
UNPLACED = definition("web/wide", env={"A": sealed(CANARY)}, files={"x": CANARY})
STRICT = policy("acme/strict", key_conflict=KeyConflict.FAIL, rules=(Rule("all"),))

# The pod's own texts are a person's, who may have written a password there before this operator came.
OWN = container(
    env=[{"name": "OWN", "value": CANARY}, {"name": "URL", "value": f"{CANARY}${{secrets.aws.B}}"}],
    command=["sh", "-c", CANARY],
    args=[CANARY],
)
BODY = pod_body(
    "aws, plain",
    annotations={names.LAST_APPLIED_ANNOTATION: CANARY},
    containers=[OWN],
)


def world_of(*definitions, policies=()):
    return inventory(home_and_project(), definitions, policies)


def test_representation_of_every_decision_contains_no_value():
    snapshot = world_of(PLAIN, SEALED, NARROW, UNPLACED)
    decision = decide_about(BODY, snapshot)
    assert isinstance(decision, Granted)
    everything = [
        PLAIN, SEALED, NARROW, *(snapshot.get(location) for location in snapshot.locations()),
        *(status_of(snapshot.get(location), snapshot, NOW) for location in snapshot.locations()),
        parse_pod(BODY), decision.grant, decision.injection.layout, decision.injection.resolution,
        decision.injection.warnings, snapshot, [*snapshot.snapshots("acme")],
    ]  # fmt: skip
    for thing in everything:
        assert CANARY not in repr(thing)
        assert CANARY not in str(thing)


def test_patch_contains_no_value_but_the_pods_own():
    snapshot = world_of(PLAIN, SEALED, NARROW)
    without_own_texts = pod_body("aws, plain", containers=[container(args=["${secrets.aws.B}"])])
    decision = decide_about(without_own_texts, snapshot)
    assert isinstance(decision, Granted)
    assert CANARY not in repr(decision)
    assert isinstance(decision.injection, Injection)


@pytest.mark.parametrize(
    ("sentence", "body", "definitions", "policies", "rules", "reason"),
    [
        ("a missing bundle", pod_body("none", containers=[OWN]), [SEALED], [], DEFAULTS, Reason.NOT_FOUND),
        ("a denied bundle", pod_body("aws"), [SEALED], [policy("acme/no")], DEFAULTS, Reason.POLICY_DENIED),
        ("closed by default", pod_body("aws"), [SEALED], [],
         DecisionSettings(access=Access.DENY), Reason.POLICY_DENIED),
        ("a broken policy", pod_body("aws"), [SEALED], [policy("acme/b", broken=True)], DEFAULTS, Reason.POLICY_ERROR),
        ("an expired bundle", pod_body("aws"), [replace(SEALED, expires=NOW)], [], DEFAULTS, Reason.EXPIRED),
        ("a lost key", pod_body("aws"), [replace(SEALED, not_ready=Reason.KEY_LOST)], [], DEFAULTS, Reason.NOT_READY),
        ("a conflict of keys", pod_body("aws, plain"), [SEALED, PLAIN], [STRICT], DEFAULTS, Reason.KEY_CONFLICT),
        ("a conflict of paths", pod_body("plain, x"), [PLAIN, definition("acme/x", files={"/etc/plain/x": CANARY})],
         [], DEFAULTS, Reason.PATH_CONFLICT),
        ("a file that nobody can read", pod_body("x"), [definition("acme/x", files={"/x": (CANARY, 0)})], [], DEFAULTS,
         Reason.UNREADABLE_FILE),
        ("an unknown home", pod_body("plain", containers=[container(securityContext={"runAsUser": 1},
         env=[{"name": "HOME", "value": CANARY}])]), [PLAIN], [], DEFAULTS, Reason.HOME_UNKNOWN),
        ("a malformed expression", pod_body("aws", containers=[container(args=[f"${{secrets.{CANARY}"])]), [SEALED],
         [], DEFAULTS, Reason.INVALID_REFERENCE),
        ("a malformed reference", pod_body(f"a b {CANARY}"), [SEALED], [], DEFAULTS, Reason.INVALID_REFERENCE),
        ("an environment that is not granted", pod_body("aws", annotations={names.ENVIRONMENT_ANNOTATION: CANARY}),
         [SEALED], [], DEFAULTS, Reason.ENVIRONMENT_NOT_ALLOWED),
        ("a wrong annotation", pod_body("aws", annotations={names.KEY_CONFLICT_ANNOTATION: CANARY}), [SEALED], [],
         DEFAULTS, Reason.INVALID_ANNOTATION),
        ("a reserved variable", pod_body("aws", containers=[container(
            env=[{"name": "SCOPED_SECRETS_X", "value": CANARY}])]), [SEALED], [], DEFAULTS, Reason.RESERVED_NAME),
        ("too much", pod_body(",".join(f"b{n}" for n in range(13))),
         [definition(f"acme/b{n}", env={f"A{n}": sealed(CANARY, 512 * 1024)}) for n in range(13)], [], DEFAULTS,
         Reason.LIMIT_EXCEEDED),
    ],
)  # fmt: skip
def test_denial_contains_names_and_never_a_value(sentence, body, definitions, policies, rules, reason):
    decision = decide_about(body, world_of(*definitions, policies=policies), rules)
    assert isinstance(decision, Denied)
    assert decision.reason is reason
    assert CANARY not in repr(decision)
    # One sentence for a person, with what to do behind the last semicolon or as a condition.
    assert "\n" not in decision.message
