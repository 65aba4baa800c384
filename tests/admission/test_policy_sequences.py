"""Policies hold through any sequence of changes: admission and controller against the independent oracle.

A sequence changes definitions, policies and labels of namespaces, creates pods, and tries what users may try with pods:
copies under other names and users, other labels and annotations. The webhooks and the controller's decision are real.
"""

import copy
import json
import uuid
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tests.admission.support import FINGERPRINT_KEY, ask, patched, refusal, review_context
from tests.core import oracle
from tests.strategies import JOBS, NAMESPACES, Job, Store, definitions, examples, policies, stores
from tests.support.builders import NOW, inventory

from scoped_secrets import names
from scoped_secrets.admission.review import ReviewDenied
from scoped_secrets.controller.pod_decision import PodState, Render, choose_snapshot
from scoped_secrets.controller.pods import PodRecord, Pods
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.injection.report import pins_of
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import Definition
from scoped_secrets.core.scope.binding import bind
from scoped_secrets.crypto.bundle_names import is_genuine
from scoped_secrets.names import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

USERS = ("alice", "mallory")
SEQUENCES = 4
"""Several tests instead of one, so that they run side by side: 2,000 sequences together in the full run."""


@dataclass
class Admitted:
    """A pod that was admitted: the job, the user who created it, the pod as stored, and what it pinned at first."""

    job: Job
    user: str
    body: dict[str, Any]
    pins: tuple[str, ...] | None


class Sequence(RuleBasedStateMachine):
    """A cluster in which administrators, tenants and intruders act."""

    def __init__(self) -> None:
        """Begin with the namespaces of the strategies and nothing in them."""
        super().__init__()
        self.namespaces: dict[str, Mapping[str, Mapping[str, str]]] = dict(NAMESPACES)
        self.definitions: dict[str, Definition] = {}
        self.history: dict[str, Definition] = {}
        self.policies: dict[str, Policy] = {}
        self.inventory = inventory(NAMESPACES)
        self.context = review_context(self.inventory)
        self.pods = Pods(lambda namespace, identity, base: is_genuine(FINGERPRINT_KEY, namespace, identity, base))
        self.admitted: list[Admitted] = []
        self.time = count(1)

    @initialize(store=stores())
    def begin(self, store: Store) -> None:
        """Fill the cluster, so that jobs get something."""
        for definition in store.definitions:
            self.write_definition(definition)
        for policy in store.policies:
            self.write_policy(policy)

    # What administrators and tenants write

    @rule(definition=definitions())
    def write_definition(self, definition: Definition) -> None:
        """Create or replace a definition; each is another object or generation."""
        number = next(self.time)
        stored = replace(definition, uid=f"{definition.uid}-{number}")
        self.definitions[stored.location] = self.history[stored.pin] = stored
        self.inventory.put_definition(stored, float(number))

    @precondition(lambda self: self.definitions)
    @rule(data=st.data())
    def delete_definition(self, data: st.DataObject) -> None:
        """Delete a definition."""
        location = data.draw(st.sampled_from(sorted(self.definitions)))
        del self.definitions[location]
        self.inventory.remove_definition(location, float(next(self.time)))

    @rule(policy=policies())
    def write_policy(self, policy: Policy) -> None:
        """Create or replace a policy."""
        self.policies[policy.location] = policy
        self.inventory.put_policy(policy)

    @precondition(lambda self: self.policies)
    @rule(data=st.data())
    def delete_policy(self, data: st.DataObject) -> None:
        """Delete a policy."""
        location = data.draw(st.sampled_from(sorted(self.policies)))
        del self.policies[location]
        self.inventory.remove_policy(location)

    @rule(name=st.sampled_from(sorted(NAMESPACES)), other=st.sampled_from(sorted(NAMESPACES)))
    def relabel_namespace(self, name: str, other: str) -> None:
        """Give a namespace the labels and annotations of another one."""
        metadata = NAMESPACES[other]
        self.namespaces[name] = metadata
        binding = bind(name, metadata.get("labels", {}), metadata.get("annotations", {}), "default")
        self.inventory.put_binding(name, binding, float(next(self.time)))

    # What job authors do

    @rule(jobs=st.lists(st.tuples(JOBS, st.sampled_from(USERS)), min_size=1, max_size=4))
    def create_pods(self, jobs: list[tuple[Job, str]]) -> None:
        """Create pods: each is admitted exactly when the oracle says so, and with the bundles that the oracle says."""
        for job, user in jobs:
            # Admission records the user, whatever record the pod brings along.
            self._create_pod(job, replace(job, record=AdmissionRecord(creator=user)), user)

    def _create_pod(self, written: Job, job: Job, user: str) -> None:
        expected = self._expected(job)
        body = written.body() | {}
        body["metadata"]["name"] = f"job-{next(self.time)}"

        outcome = self._ask("/mutate/pods", body, user)

        if isinstance(outcome, ReviewDenied):
            assert outcome.reason in expected.refusals, f"{outcome} instead of {expected.refusals or 'a grant'}"
            return
        assert not expected.refusals, f"granted, but must be denied for {expected.refusals}"
        injected = patched(body, outcome)
        resolution = json.loads(injected["metadata"]["annotations"][names.RESOLUTION_ANNOTATION])
        assert [bundle["name"] for bundle in resolution["bundles"]] == expected.applied
        left_out = {(each["name"], each["reason"]) for each in resolution.get("leftOut", ())}
        assert left_out == expected.left_out
        again = self._ask("/mutate/pods", injected, user)
        assert not isinstance(again, ReviewDenied)
        assert list(again.operations) == []
        metadata = injected["metadata"]
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-06-01T12:00:00Z"}
        injected["status"] = {"phase": "Pending"}
        pins = pins_of(injected["metadata"]["annotations"][names.RESOLUTION_ANNOTATION])
        self.admitted.append(Admitted(job, user, injected, pins))
        self._store(injected)

    # What intruders try

    @precondition(lambda self: self.admitted)
    @rule(data=st.data(), user=st.sampled_from(USERS), name=st.sampled_from(("same", "other", "generated")))
    def copy_pod(self, data: st.DataObject, user: str, name: str) -> None:
        """Submit a stored pod again: only its own creator may, under its own name."""
        victim = data.draw(st.sampled_from(self.admitted))
        body = copy.deepcopy(victim.body)
        # Without the label no webhook sees it, and the API server's guard denies it.
        body["metadata"]["labels"] = {names.INJECT_LABEL: names.INJECT_VALUE}
        del body["status"], body["metadata"]["uid"], body["metadata"]["creationTimestamp"]
        match name:
            case "other":
                body["metadata"]["name"] += "-copy"
            case "generated":
                body["metadata"]["generateName"] = body["metadata"].pop("name")
            case _:
                pass

        outcome = self._ask("/mutate/pods", body, user)

        if (name, user) != ("same", victim.user):
            assert refusal(outcome).reason is Reason.RESERVED_NAME

    @precondition(lambda self: self.admitted)
    @rule(
        data=st.data(),
        annotation=st.sampled_from((names.CLAIMS_ANNOTATION, names.RESOLUTION_ANNOTATION, names.SECRETS_ANNOTATION)),
        text=st.sampled_from(("", '{"creator":"alice"}', '{"bundles":[]}', "aws,db,shared")),
    )
    def annotate_pod(self, data: st.DataObject, annotation: str, text: str) -> None:
        """Change an annotation of a stored pod."""
        pod = data.draw(st.sampled_from(self.admitted))
        pod.body["metadata"]["annotations"][annotation] = text
        self._check_rendering(pod)

    @precondition(lambda self: self.admitted)
    @rule(data=st.data(), labels=st.sampled_from(({}, {"app": "deploy"}, {names.INJECT_LABEL: "false"})))
    def relabel_pod(self, data: st.DataObject, labels: dict[str, str]) -> None:
        """Change the labels of a stored pod."""
        pod = data.draw(st.sampled_from(self.admitted))
        pod.body["metadata"]["labels"] = labels
        pod.job = replace(pod.job, labels={name: text for name, text in labels.items() if name == "app"})
        self._check_rendering(pod)

    # What the controller does

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def render(self, data: st.DataObject) -> None:
        """Decide about the bundle of a pod that waits."""
        self._check_rendering(data.draw(st.sampled_from(self.admitted)))

    def _check_rendering(self, pod: Admitted) -> None:
        """Check that the controller renders nothing that policy denies now, and all that is as it was."""
        record = self._store(pod.body)
        assert record.base, "the pod lost its bundle by a change that its author made"
        assert record.pod is not None
        past = self.inventory.snapshots(self._organization(pod))
        action = choose_snapshot(
            PodState(record, known_seconds=60.0), record.pod, self.inventory, past, DecisionSettings(), NOW
        )
        if isinstance(action, Render):
            for pin in action.granted.grant.pins:
                assert self._denial(self.history[pin], pod.job) is None, f"{pin} is denied now"
        elif self._is_unchanged(pod):
            raise AssertionError(f"{action} although nothing has changed")

    def _is_unchanged(self, pod: Admitted) -> bool:
        """Tell whether a new pod of the same job would get the same definitions now."""
        body = pod.job.body()
        body["metadata"]["name"] = "probe"
        probe = self._ask("/mutate/pods", body, pod.user)
        if isinstance(probe, ReviewDenied) or pod.pins is None:
            return False
        asked = pod.body["metadata"]["annotations"][names.SECRETS_ANNOTATION]
        now = patched(body, probe)["metadata"]["annotations"]
        return asked == pod.job.references and pins_of(now[names.RESOLUTION_ANNOTATION]) == pod.pins

    def _denial(self, definition: Definition, job: Job) -> Reason | None:
        with oracle.world(self.namespaces):
            result = oracle.Outcome()
            path = oracle.path_of_job(list(self.policies.values()), job, result)
            if path is None:
                return next(iter(result.refusals))
            place = oracle.place_of_definition(definition)
            if place is None or place.organization != path.organization or place.project not in (None, path.project):
                # Its namespace has other labels now: a pod of a moment ago gets it, and the policies of its new place
                # do not concern the pod.
                return None
            return oracle.policy_denial(self.policies.values(), definition, job, path)

    def _expected(self, job: Job) -> oracle.Outcome:
        with oracle.world(self.namespaces):
            return oracle.outcome(list(self.definitions.values()), list(self.policies.values()), job)

    def _ask(self, path: str, body: dict[str, Any], user: str) -> Any:
        return ask(path, body, self.context, uid=str(uuid.uuid4()), userInfo={"username": user})

    def _store(self, body: dict[str, Any]) -> PodRecord:
        body["metadata"]["resourceVersion"] = str(next(self.time))
        record = self.pods.put(body, 0.0)
        assert record is not None
        return record

    def _organization(self, pod: Admitted) -> str:
        binding = self.inventory.binding(pod.job.namespace)
        return "" if binding is None else binding.organization


@pytest.mark.parametrize("number", range(SEQUENCES))
def test_policies_hold_through_any_sequence_of_changes(number: int):
    run_state_machine_as_test(seed(number)(Sequence), settings=examples(20 / SEQUENCES, stateful_step_count=20))
