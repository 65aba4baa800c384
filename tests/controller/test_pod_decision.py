"""The decision about one pod: state in, decision out."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.controller.snapshots import admitted, job, record_of, stored
from tests.support.builders import NOW, definition, home_and_project, inventory, plain_text, policy

from scoped_secrets import names
from scoped_secrets.controller.pod_decision import (
    INFORMER_LAG_SECONDS,
    Confirm,
    Deny,
    NoAction,
    PodState,
    Remove,
    Render,
    Wait,
    choose_snapshot,
    decide_pod,
)
from scoped_secrets.controller.pods import InjectionState
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.policy.policy import Effect
from scoped_secrets.core.resolution.definitions import Override
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.names import Reason

CHANGED = Reason.DEFINITIONS_CHANGED


def snapshot(*definitions, policies=()):
    return inventory(home_and_project(), definitions, policies)


def registry(value="one", **given):
    return definition("acme/registry", env={"TOKEN": value}, **given)


def state_of(body, **given):
    return PodState(record_of(body), **given)


def choose(present, body, known_seconds=0.0, after=-1.0):
    """Decide for an admitted pod, with the past snapshots of the inventory."""
    state = state_of(stored(body), known_seconds=known_seconds)
    past = present.snapshots("acme", names={"registry"}, after=after)
    return decide_pod(state, lambda pod: choose_snapshot(state, pod, present, past, DecisionSettings(), NOW))


def values(action):
    assert isinstance(action, Render), action
    parts = action.granted.injection.layout.parts
    entries = [each.resolved.entry for part in parts for each in part.entries]
    return {entry.name: plain_text(entry.source) for entry in entries}


INJECTED = admitted(job(), snapshot(registry()))
FINISHED = stored(INJECTED, phase="Succeeded")
WAITING = stored(INJECTED)
OTHER = record_of(stored(INJECTED, uid="older", created="2026-01-01T00:00:00Z"))


def wait(_pod):
    return Wait()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(state_of(WAITING), Wait(), id="a pod that waits needs a decision"),
        pytest.param(state_of(WAITING, is_rendered=True), NoAction(), id="its bundle is there"),
        pytest.param(state_of(stored(INJECTED, phase="Running")), NoAction(), id="it runs already"),
        pytest.param(state_of(stored(INJECTED, deleting=True)), NoAction(), id="it is being deleted"),
        pytest.param(state_of(FINISHED, is_removed=True), NoAction(), id="finished and cleaned up"),
        pytest.param(state_of(FINISHED, owner=OTHER), NoAction(), id="the bundle is another pod's"),
        pytest.param(state_of(stored(job(), phase="Failed")), NoAction(), id="finished and never injected"),
    ],
)
def test_pod_needs_no_immediate_work(state, expected):
    assert decide_pod(state, wait) == expected


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(state_of(FINISHED), id="finished"),
        pytest.param(state_of(stored(INJECTED, phase="Failed")), id="failed"),
        pytest.param(state_of(FINISHED, is_rendered=True), id="finished after its bundle was rendered"),
        pytest.param(
            state_of(stored(INJECTED, phase="Running"), is_deleted=True, is_gone=True), id="deleted while it ran"
        ),
        pytest.param(state_of(WAITING, is_deleted=True, is_gone=True), id="deleted before it ran"),
        pytest.param(state_of(stored(INJECTED, deleting=True), is_deleted=True), id="deleted with a grace period"),
        pytest.param(state_of(FINISHED, owner=OTHER, has_created=True), id="the bundle was created for this pod"),
    ],
)
def test_bundle_of_an_ended_pod_is_removed(state):
    assert decide_pod(state, wait) == Remove(state.record.parts)


@pytest.mark.parametrize(
    "body", [pytest.param(WAITING, id="waiting"), pytest.param(stored(INJECTED, phase="Running"), id="running")]
)
def test_a_pod_that_the_watch_no_longer_shows_may_have_lost_its_label(body):
    assert decide_pod(state_of(body, is_deleted=True), wait) == Confirm()


@pytest.mark.parametrize(
    ("state", "reason", "may_change"),
    [
        pytest.param(state_of(stored(job())), Reason.NOT_INJECTED, False, id="the label came later"),
        pytest.param(
            state_of(stored(job(), phase="Running")), Reason.NOT_INJECTED, False, id="it runs without its secrets"
        ),
        pytest.param(
            PodState(replace(OTHER, injection=InjectionState.FOREIGN)),
            Reason.NOT_INJECTED,
            False,
            id="the name is not its own",
        ),
        pytest.param(state_of(WAITING, owner=OTHER), Reason.BUNDLE_TAKEN, True, id="an older pod has the same bundle"),
    ],
)
def test_denied_pod_gets_a_reason_and_a_remedy(state, reason, may_change):
    action = decide_pod(state, wait)

    assert isinstance(action, Deny)
    assert (action.reason, action.may_change) == (reason, may_change)
    assert "; delete " in action.message


class TestSnapshotThatIsRendered:
    def test_is_the_present_one_when_nothing_changed(self):
        present = snapshot(registry())

        action = choose(present, admitted(job(), present))

        assert values(action) == {"TOKEN": "one"}
        assert not action.is_newer

    def test_is_admissions_when_a_definition_changes_after_admission(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        present.put_definition(registry("two", generation=2), 5.0)

        action = choose(present, body)

        assert values(action) == {"TOKEN": "one"}
        assert not action.is_newer

    def test_is_admissions_when_the_definition_is_deleted_after_admission(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        present.remove_definition("acme/registry", 5.0)

        assert values(choose(present, body)) == {"TOKEN": "one"}

    def test_is_admissions_when_a_narrower_definition_appears_after_admission(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        narrower = definition("web/registry", scope=Scope.PROJECT, env={"TOKEN": "two", "EXTRA": "three"})
        present.put_definition(narrower, 5.0)

        assert values(choose(present, body)) == {"TOKEN": "one"}

    def test_is_none_when_a_definition_expires_after_admission(self):
        """Expiry is checked at present, as policies are: no past snapshot releases a value after its time."""
        admitted_in = snapshot(registry(expires=NOW + timedelta(seconds=1)))
        body = admitted(job(), admitted_in)
        present = snapshot(registry(expires=NOW))

        waiting, refused = choose(present, body), choose(present, body, known_seconds=INFORMER_LAG_SECONDS)

        assert isinstance(waiting, Wait)
        assert isinstance(refused, Deny)
        assert (refused.reason, refused.may_change) == (Reason.EXPIRED, True)
        assert "store a new value and a later `spec.expireTime`" in refused.message

    def test_is_the_present_one_when_the_expire_time_is_extended(self):
        body = admitted(job(), snapshot(registry(expires=NOW + timedelta(seconds=1))))
        extended = snapshot(registry("two", generation=2, expires=NOW + timedelta(days=1)))

        action = choose(extended, body, known_seconds=INFORMER_LAG_SECONDS)

        assert values(action) == {"TOKEN": "two"}
        assert action.is_newer

    def test_never_mixes_two_snapshots(self):
        merged = definition("web/registry", scope=Scope.PROJECT, env={"EXTRA": "a"}, override=Override.MERGE)
        present = snapshot(registry(), merged)
        body = admitted(job(), present)
        present.put_definition(registry("two", generation=2), 5.0)
        present.put_definition(replace(merged, generation=2, env=()), 6.0)

        assert values(choose(present, body)) == {"TOKEN": "one", "EXTRA": "a"}

    def test_is_not_one_from_before_the_first_complete_list(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        present.put_definition(definition("web/registry", scope=Scope.PROJECT, env={"TOKEN": "two"}), 5.0)

        assert isinstance(choose(present, body, after=5.0), Wait)

    def test_may_differ_from_the_annotation_in_names(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        present.put_policy(policy("acme/everybody", rules=(), effect=Effect.ALLOW, secret_names=("other",)))
        annotation = body["metadata"]["annotations"]
        text = annotation[names.RESOLUTION_ANNOTATION].replace('"scope"', '"range"')
        annotation[names.RESOLUTION_ANNOTATION] = text

        action = choose(present, body)

        assert values(action) == {"TOKEN": "one"}
        assert not action.is_newer

    def test_is_waited_for_while_the_informer_may_be_behind_admissions(self):
        behind = snapshot(registry())
        ahead = snapshot(registry("two", generation=2))

        assert choose(behind, admitted(job(), ahead), known_seconds=4.0) == Wait(6.0)

    def test_is_waited_for_while_the_informer_lacks_a_definition(self):
        assert choose(snapshot(), admitted(job(), snapshot(registry()))) == Wait()

    def test_is_the_present_one_when_waiting_times_out(self):
        behind = snapshot(registry())
        body = admitted(job(), snapshot(registry("two", generation=2)))

        action = choose(behind, body, known_seconds=INFORMER_LAG_SECONDS)

        assert values(action) == {"TOKEN": "one"}
        assert action.is_newer

    def test_is_the_present_one_at_once_when_the_history_is_lost(self):
        body = admitted(job(), snapshot(registry()))

        action = choose(snapshot(registry("two", generation=2)), body)

        assert values(action) == {"TOKEN": "two"}
        assert action.is_newer

    def test_is_none_when_the_pod_fits_no_snapshot(self):
        body = admitted(job(), snapshot(registry()))
        other = definition("acme/registry", env={"TOKEN": "a", "EXTRA": "b"}, generation=2)

        action = choose(snapshot(other), body, known_seconds=INFORMER_LAG_SECONDS)

        assert isinstance(action, Deny)
        assert (action.reason, action.may_change) == (CHANGED, True)

    def test_is_none_when_the_definition_does_not_exist(self):
        action = choose(snapshot(), admitted(job(), snapshot(registry())), known_seconds=INFORMER_LAG_SECONDS)

        assert isinstance(action, Deny)
        assert action.reason is Reason.NOT_FOUND

    def test_is_none_when_a_policy_denies_the_pod_after_admission(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        present.put_policy(policy("acme/deny-all", effect=Effect.DENY))

        assert choose(present, body) == Wait()
        action = choose(present, body, known_seconds=INFORMER_LAG_SECONDS)
        assert isinstance(action, Deny)
        assert action.reason is Reason.POLICY_DENIED

    @pytest.mark.parametrize(
        "annotation", ["", "{", "[]", '{"bundles": [{"pin": 1}]}', '{"bundles": [{"pin": "u@' + "9" * 6000 + '"}]}']
    )
    def test_is_found_when_the_annotation_is_damaged(self, annotation):
        present = snapshot(registry())
        body = admitted(job(), present)
        body["metadata"]["annotations"][names.RESOLUTION_ANNOTATION] = annotation

        action = choose(present, body, known_seconds=INFORMER_LAG_SECONDS)

        assert values(action) == {"TOKEN": "one"}

    @pytest.mark.parametrize("part", ["env", "volumeMounts"])
    def test_is_none_when_another_webhook_removed_a_part_of_the_injection(self, part):
        present = snapshot(registry())
        body = copy.deepcopy(admitted(job(), present))
        del body["spec"]["containers"][0][part]

        decision = choose(present, body)

        assert isinstance(decision, Deny)
        assert decision.reason is Reason.NOT_INJECTED
        assert f"incomplete at /spec/containers/0/{part}, which another webhook has changed" in decision.message

    def test_is_none_when_variables_were_added_to_the_pod_by_hand(self):
        present = snapshot(registry(), definition("acme/other", env={"OTHER": "x"}))
        body = admitted(job(), present)
        base = body["spec"]["volumes"][-1]["projected"]["sources"][0]["secret"]["name"]
        stolen = {"name": "X", "valueFrom": {"secretKeyRef": {"name": base, "key": "other.OTHER"}}}
        body["spec"]["containers"][0]["env"].append(stolen)

        action = choose(present, body, known_seconds=INFORMER_LAG_SECONDS)

        assert isinstance(action, Deny)


def test_mislabeled_pod_is_told_the_right_value():
    body = stored(job())
    body["metadata"]["labels"][names.INJECT_LABEL] = "True"

    action = decide_pod(state_of(body), lambda _: Wait())

    assert isinstance(action, Deny)
    assert (action.reason, action.may_change) == (Reason.NOT_INJECTED, False)
    assert "write 'true'" in action.message
