"""That the floors do the same as ours, and nothing of the operator takes their pods for its own."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonpatch
import pytest

from scoped_secrets import names
from tests.bench.kopf_webhook import apply_additions
from tests.bench.objects import job, other_words, pod, waiting_pods
from tests.bench.ready_patch import difference, floor_patch

OPERATIONS: list[dict[str, Any]] = [
    {"op": "add", "path": "/spec/containers/0/env/0", "value": {"name": "FIRST", "value": "1"}},
    {"op": "add", "path": "/spec/containers/0/env/-", "value": {"name": "LAST", "value": "2"}},
    {"op": "add", "path": f"/metadata/annotations/{names.GROUP}~1resolution", "value": "{}"},
    {
        "op": "add",
        "path": "/spec/volumes",
        "value": [{"name": "scoped-secrets", "projected": {"sources": [{"secret": {"name": "ssec-aaaa-0"}}]}}],
    },
]


def injected(label: str | None, operations: list[dict[str, Any]]) -> dict[str, Any]:
    body = pod("ready", label)
    apply_additions(body, copy.deepcopy(operations))
    return body


def floor() -> dict[str, Any]:
    return injected("patch", json.loads(floor_patch(json.dumps(OPERATIONS).encode())))


def test_additions_do_what_a_json_patch_does():
    body = pod("ready")

    assert injected(None, OPERATIONS) == jsonpatch.apply_patch(body, OPERATIONS)


def test_patch_that_does_more_than_add_is_refused():
    with pytest.raises(ValueError, match="remove"):
        apply_additions(pod("ready"), [{"op": "remove", "path": "/spec/containers"}])


def test_floor_has_the_same_bytes_and_none_of_our_words():
    ours = json.dumps(OPERATIONS).encode()
    patch = floor_patch(ours)

    assert len(patch) == len(ours)
    assert names.GROUP.encode() not in patch
    assert names.BUNDLE_PREFIX.encode() not in patch


def test_pod_of_a_floor_has_none_of_our_labels_and_annotations():
    metadata = pod("ready", "patch")["metadata"]

    assert not [key for key in (*metadata["labels"], *metadata["annotations"]) if key.startswith(names.GROUP)]


def test_pods_that_were_patched_alike_do_not_differ():
    ours = json.loads(json.dumps(injected(None, OPERATIONS)).replace("ssec-aaaa-0", "ssec-bbbb-0"))

    assert difference(ours, floor()) == ""


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        ({"op": "add", "path": "/spec/hostPID", "value": True}, "the specs differ"),
        ({"op": "add", "path": "/metadata/annotations/more", "value": ""}, "the annotations differ in length"),
    ],
)
def test_pods_that_were_patched_in_another_way_differ(operation: dict[str, Any], found: str):
    assert difference(injected(None, [*OPERATIONS, operation]), floor()) == found


def test_pod_that_was_not_injected_differs():
    assert difference(pod("ready"), floor()) == "our pod is not injected"


def test_words_keep_their_length():
    text = f"{names.INJECT_LABEL} {names.BUNDLE_PREFIX}x"

    assert len(other_words(text)) == len(text)
    assert other_words(text) != text


def test_job_runs_the_pod_under_its_name():
    body = job(pod("run", image="busybox"))

    assert body["metadata"]["name"] == "run"
    assert body["spec"]["template"]["metadata"]["labels"][names.INJECT_LABEL] == names.INJECT_VALUE
    assert "name" not in body["spec"]["template"]["metadata"]
    assert body["spec"]["template"]["spec"] == pod("run", image="busybox")["spec"]


def test_waiting_pods_are_spread_over_the_projects_that_are_filled():
    paths = [path for path, _ in waiting_pods(7, 33)]

    assert len(set(paths)) == 3
    assert paths[0] == paths[3] == "/api/v1/namespaces/bench-0000/pods"
