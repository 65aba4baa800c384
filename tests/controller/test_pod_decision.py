"""What is done about one pod: state in, decision out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.controller.snapshots import admitted, inventory_of_pods, job, stored
from tests.support.builders import NOW, definition, home_and_project, inventory, policy

from scoped_secrets import names
from scoped_secrets.controller.pod_decision import (
    PATIENCE_SECONDS,
    Deny,
    NoAction,
    PodSituation,
    Remove,
    Render,
    Wait,
    choose_snapshot,
    decide_pod,
)
from scoped_secrets.controller.pods import Marking
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


def situation_of(body, **given):
    return PodSituation(inventory_of_pods().put(body, 0.0), **given)


def choose(present, body, seen_for=0.0, after=-1.0):
    """Decide for an admitted pod, with the history that the inventory kept."""
    situation = situation_of(stored(body), seen_for=seen_for)
    past = present.snapshots("acme", names={"registry"}, after=after)
    return decide_pod(situation, lambda pod: choose_snapshot(situation, pod, present, past, DecisionSettings(), NOW))


def values(action):
    assert isinstance(action, Render), action
    return {
        each.resolved.entry.name: each.resolved.entry.source.data.decode()
        for part in action.granted.injection.layout.parts
        for each in part.entries
    }


INJECTED = admitted(job(), snapshot(registry()))
FINISHED = stored(INJECTED, phase="Succeeded")
WAITING = stored(INJECTED)
OTHER = inventory_of_pods().put(stored(INJECTED, uid="older", created="2026-01-01T00:00:00Z"), 0.0)


def asked(_pod):
    return Wait()


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        pytest.param(situation_of(WAITING), Wait(), id="a pod that waits needs a decision"),
        pytest.param(situation_of(WAITING, is_rendered=True), NoAction(), id="its bundle is there"),
        pytest.param(situation_of(stored(INJECTED, phase="Running")), NoAction(), id="it runs already"),
        pytest.param(situation_of(stored(INJECTED, deleting=True)), NoAction(), id="it shall end"),
        pytest.param(situation_of(FINISHED, is_removed=True), NoAction(), id="finished and cleaned up"),
        pytest.param(situation_of(FINISHED, owner=OTHER), NoAction(), id="the bundle is another pod's"),
        pytest.param(situation_of(stored(job(), phase="Failed")), NoAction(), id="finished and never injected"),
    ],
)
def test_when_nothing_is_done_at_once(situation, expected):
    assert decide_pod(situation, asked) == expected


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(situation_of(FINISHED), id="finished"),
        pytest.param(situation_of(stored(INJECTED, phase="Failed")), id="failed"),
        pytest.param(situation_of(FINISHED, is_rendered=True), id="finished after we rendered it"),
        pytest.param(situation_of(stored(INJECTED, phase="Running"), is_gone=True), id="deleted while it ran"),
        pytest.param(situation_of(WAITING, is_gone=True), id="deleted before it ran"),
        pytest.param(situation_of(FINISHED, owner=OTHER, has_created=True), id="we made it for this pod"),
    ],
)
def test_the_bundle_of_a_pod_that_is_over_is_removed(situation):
    assert decide_pod(situation, asked) == Remove(situation.record.parts)


@pytest.mark.parametrize(
    ("situation", "reason", "may_change"),
    [
        pytest.param(situation_of(stored(job())), Reason.NOT_INJECTED, False, id="the label came later"),
        pytest.param(
            situation_of(stored(job(), phase="Running")), Reason.NOT_INJECTED, False, id="it runs without its secrets"
        ),
        pytest.param(
            PodSituation(replace(OTHER, marking=Marking.FOREIGN)),
            Reason.NOT_INJECTED,
            False,
            id="the name is not its own",
        ),
        pytest.param(
            situation_of(WAITING, owner=OTHER), Reason.BUNDLE_TAKEN, True, id="an older pod has the same bundle"
        ),
    ],
)
def test_a_pod_that_gets_nothing_is_told_why(situation, reason, may_change):
    action = decide_pod(situation, asked)

    assert isinstance(action, Deny)
    assert (action.reason, action.may_change) == (reason, may_change)
    assert "; delete " in action.message


class TestTheWorldThatIsRendered:
    def test_is_the_present_one_when_nothing_changed(self):
        present = snapshot(registry())

        action = choose(present, admitted(job(), present))

        assert values(action) == {"TOKEN": "one"}
        assert not action.is_newer

    def test_is_the_one_of_admission_when_a_definition_changed_since(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        present.put_definition(registry("two", generation=2), 5.0)

        action = choose(present, body)

        assert values(action) == {"TOKEN": "one"}
        assert not action.is_newer

    def test_is_the_one_of_admission_when_the_definition_was_deleted_since(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        present.remove_definition("acme/registry", 5.0)

        assert values(choose(present, body)) == {"TOKEN": "one"}

    def test_is_the_one_of_admission_when_a_narrower_definition_appeared_since(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        narrower = definition("web/registry", scope=Scope.PROJECT, env={"TOKEN": "two", "EXTRA": "three"})
        present.put_definition(narrower, 5.0)

        assert values(choose(present, body)) == {"TOKEN": "one"}

    def test_is_none_once_a_definition_has_expired_even_if_the_pod_was_admitted_before(self):
        """Expiry is about the present, as policies are: no past state lets a value out after its time."""
        admitted_in = snapshot(registry(expires=NOW + timedelta(seconds=1)))
        body = admitted(job(), admitted_in)
        present = snapshot(registry(expires=NOW))

        waiting, refused = choose(present, body), choose(present, body, seen_for=PATIENCE_SECONDS)

        assert isinstance(waiting, Wait)
        assert isinstance(refused, Deny)
        assert (refused.reason, refused.may_change) == (Reason.EXPIRED, True)
        assert "store a new value and a later `spec.expireTime`" in refused.message

    def test_is_the_present_one_when_the_time_of_an_expired_definition_was_extended(self):
        body = admitted(job(), snapshot(registry(expires=NOW + timedelta(seconds=1))))
        extended = snapshot(registry("two", generation=2, expires=NOW + timedelta(days=1)))

        action = choose(extended, body, seen_for=PATIENCE_SECONDS)

        assert values(action) == {"TOKEN": "two"}
        assert action.is_newer

    def test_never_mixes_two_states(self):
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

    def test_may_differ_in_names_that_the_annotation_only_tells(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        present.put_policy(policy("acme/everybody", rules=(), effect=Effect.ALLOW, secret_names=("other",)))
        annotation = body["metadata"]["annotations"]
        text = annotation[names.RESOLUTION_ANNOTATION].replace('"scope"', '"range"')
        annotation[names.RESOLUTION_ANNOTATION] = text

        action = choose(present, body)

        assert values(action) == {"TOKEN": "one"}
        assert not action.is_newer

    def test_is_waited_for_while_admission_may_know_more(self):
        behind = snapshot(registry())
        ahead = snapshot(registry("two", generation=2))

        assert choose(behind, admitted(job(), ahead), seen_for=4.0) == Wait(6.0)

    def test_is_waited_for_while_a_definition_is_not_known_here(self):
        assert choose(snapshot(), admitted(job(), snapshot(registry()))) == Wait()

    def test_is_the_present_one_when_waiting_was_in_vain(self):
        behind = snapshot(registry())
        body = admitted(job(), snapshot(registry("two", generation=2)))

        action = choose(behind, body, seen_for=PATIENCE_SECONDS)

        assert values(action) == {"TOKEN": "one"}
        assert action.is_newer

    def test_is_the_present_one_at_once_when_history_was_lost(self):
        body = admitted(job(), snapshot(registry()))

        action = choose(snapshot(registry("two", generation=2)), body)

        assert values(action) == {"TOKEN": "two"}
        assert action.is_newer

    def test_is_none_when_the_pod_no_longer_fits_any(self):
        body = admitted(job(), snapshot(registry()))
        other = definition("acme/registry", env={"TOKEN": "a", "EXTRA": "b"}, generation=2)

        action = choose(snapshot(other), body, seen_for=PATIENCE_SECONDS)

        assert isinstance(action, Deny)
        assert (action.reason, action.may_change) == (CHANGED, True)

    def test_is_none_when_the_definition_is_gone_for_good(self):
        action = choose(snapshot(), admitted(job(), snapshot(registry())), seen_for=PATIENCE_SECONDS)

        assert isinstance(action, Deny)
        assert action.reason is Reason.NOT_FOUND

    def test_is_none_that_policy_forbids_now_although_it_allowed_it_then(self):
        present = snapshot(registry())
        body = admitted(job(), present)
        present.put_policy(policy("acme/nobody", effect=Effect.DENY))

        assert choose(present, body) == Wait()
        action = choose(present, body, seen_for=PATIENCE_SECONDS)
        assert isinstance(action, Deny)
        assert action.reason is Reason.POLICY_DENIED

    @pytest.mark.parametrize(
        "annotation", ["", "{", "[]", '{"bundles": [{"pin": 1}]}', '{"bundles": [{"pin": "u@' + "9" * 6000 + '"}]}']
    )
    def test_is_found_although_somebody_damaged_the_annotation(self, annotation):
        present = snapshot(registry())
        body = admitted(job(), present)
        body["metadata"]["annotations"][names.RESOLUTION_ANNOTATION] = annotation

        action = choose(present, body, seen_for=PATIENCE_SECONDS)

        assert values(action) == {"TOKEN": "one"}

    def test_gives_no_more_than_the_pod_refers_to_when_variables_were_added_by_hand(self):
        present = snapshot(registry(), definition("acme/other", env={"OTHER": "x"}))
        body = admitted(job(), present)
        base = body["spec"]["volumes"][-1]["projected"]["sources"][0]["secret"]["name"]
        stolen = {"name": "X", "valueFrom": {"secretKeyRef": {"name": base, "key": "other.OTHER"}}}
        body["spec"]["containers"][0]["env"].append(stolen)

        action = choose(present, body, seen_for=PATIENCE_SECONDS)

        assert isinstance(action, Deny)
