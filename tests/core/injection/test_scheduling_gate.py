"""The gate of a pod whose bundle does not exist yet."""

import jsonpatch
import pytest
from tests.support.builders import pod_body

from scoped_secrets import names
from scoped_secrets.core.injection.scheduling_gate import add_gate, is_gated, remove_gate
from scoped_secrets.core.pod import parse_pod

OURS, OTHER = {"name": names.BUNDLE_GATE}, {"name": "kueue.x-k8s.io/admission"}


@pytest.mark.parametrize("gates", [None, [], [OTHER]], ids=["no list", "an empty list", "another gate"])
def test_a_pod_is_gated_once_and_keeps_other_gates(gates):
    body = pod_body(**({} if gates is None else {"schedulingGates": gates}))

    gated = jsonpatch.apply_patch(body, add_gate(parse_pod(body)))

    assert gated["spec"]["schedulingGates"] == [*(gates or []), OURS]
    assert add_gate(parse_pod(gated)) == []


def test_a_pod_whose_author_chose_the_node_is_not_gated():
    assert add_gate(parse_pod(pod_body(nodeName="node-1"))) == []


@pytest.mark.parametrize("gates", [[OURS], [OTHER, OURS], [OURS, OTHER]])
def test_only_the_gate_of_the_bundle_is_removed(gates):
    pod = parse_pod(pod_body(schedulingGates=gates))

    left = jsonpatch.apply_patch(pod_body(schedulingGates=gates), remove_gate(pod.gates))["spec"]["schedulingGates"]

    assert is_gated(pod.gates)
    assert left == [gate for gate in gates if gate != OURS]


def test_the_removal_fails_when_the_gates_have_changed():
    operations = remove_gate((OTHER["name"], names.BUNDLE_GATE))

    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(pod_body(schedulingGates=[OURS, OTHER]), operations)
