"""The inventory of pods: small, and equal to the cluster after any order of events and lists."""

from __future__ import annotations

import pytest
from tests.controller.snapshots import admitted, inventory_of_pods, job, stored
from tests.support.builders import definition, home_and_project, inventory

from scoped_secrets import names
from scoped_secrets.controller.pods import DELETED_POD_SECONDS, InjectionState
from scoped_secrets.crypto.fingerprints import FingerprintKey

SNAPSHOT = inventory(home_and_project(), [definition("acme/registry", env={"TOKEN": "a"}, files={"/x": "y"})])
RUNNING = [{"name": "job", "state": {"running": {"startedAt": "2026-06-01T12:00:02Z"}}}]


def no_bundle(_uid):
    return False


@pytest.fixture
def pods():
    return inventory_of_pods()


def test_waiting_pod_is_kept_whole(pods):
    record = pods.put(stored(admitted(job(), SNAPSHOT)), 5.0)

    assert record.injection is InjectionState.INJECTED
    assert record.parts == (f"{record.base}-0",)
    assert record.pod.name == "job"
    assert (record.first_seen, record.needs_bundle) == (5.0, True)


@pytest.mark.parametrize(
    "state",
    [
        {"phase": "Succeeded"},
        {"phase": "Failed"},
        {"phase": "Running"},
        {"phase": "Pending", "initContainerStatuses": RUNNING},
        {"phase": "Pending", "containerStatuses": [{"name": "job", "lastState": {"terminated": {"exitCode": 1}}}]},
        {"deleting": True},
    ],
    ids=str,
)
def test_only_names_are_kept_of_a_pod_that_needs_no_bundle(pods, state):
    record = pods.put(stored(admitted(job(), SNAPSHOT), **state), 0.0)

    assert record.pod is None
    assert not record.needs_bundle
    assert record.parts == (f"{record.base}-0",)


def test_waiting_container_has_not_started(pods):
    waiting = [{"name": "job", "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {}}]

    assert pods.put(stored(admitted(job(), SNAPSHOT), containerStatuses=waiting), 0.0).needs_bundle


def test_secrets_that_only_variables_refer_to_are_parts(pods):
    body = admitted(job(), SNAPSHOT)
    base = body["spec"]["volumes"][-1]["projected"]["sources"][0]["secret"]["name"].removesuffix("-0")
    variables = [
        {"name": f"V{index}", "valueFrom": {"secretKeyRef": {"name": f"{base}-{index}", "key": "k"}}}
        for index in (10, 2)
    ]
    body["spec"]["containers"][0]["env"] += variables

    assert pods.put(stored(body), 0.0).parts == (f"{base}-0", f"{base}-2", f"{base}-10")


def test_pod_without_the_operators_volume_was_not_injected(pods):
    assert pods.put(stored(job()), 0.0).injection is InjectionState.NONE


def test_bundle_name_made_with_another_key_is_foreign(pods):
    record = pods.put(stored(admitted(job(), SNAPSHOT, key=FingerprintKey(bytes(32)))), 0.0)

    assert record.injection is InjectionState.FOREIGN
    assert record.base == ""
    assert record.parts == ()


def test_bundle_name_of_a_copied_pod_is_foreign(pods):
    body = admitted(job(), SNAPSHOT)
    body["metadata"]["name"] = "copy"

    assert pods.put(stored(body), 0.0).injection is InjectionState.FOREIGN


def test_user_volume_with_the_operators_name_is_foreign(pods):
    body = job(volumes=[{"name": names.VOLUME_NAME, "emptyDir": {}}])

    assert pods.put(stored(body), 0.0).injection is InjectionState.FOREIGN


def test_objects_that_are_no_pod_or_did_not_opt_in_are_ignored(pods):
    without = stored(job(metadata={"labels": {}}))

    assert pods.put(without, 0.0) is None
    assert pods.put({"metadata": {"uid": "u", "resourceVersion": "1"}}, 0.0) is None
    assert pods.put({}, 0.0) is None
    assert len(pods) == 0


def test_older_state_never_overwrites_a_newer_one(pods):
    body = admitted(job(), SNAPSHOT)
    older = stored(body, uid="u")
    newer = stored(body, uid="u", phase="Succeeded")
    pods.put(newer, 0.0)

    assert pods.put(older, 1.0) is None
    assert pods.put(newer, 1.0) is None
    assert pods.get("u").is_finished


def test_first_seen_time_of_a_pod_is_kept(pods):
    body = admitted(job(), SNAPSHOT)
    pods.put(stored(body, uid="u"), 3.0)

    assert pods.put(stored(body, uid="u"), 8.0).first_seen == 3.0


def test_deleted_pod_is_kept_for_its_bundle_and_does_not_come_back(pods):
    body = admitted(job(), SNAPSHOT)
    first = stored(body, uid="u")
    pods.put(first, 0.0)
    late = stored(body, uid="u")
    deletion = stored(body, uid="u")

    assert pods.apply("DELETED", deletion, 1.0).uid == "u"
    assert pods.get("u") is None
    assert pods.get_deleted("u").parts
    assert pods.put(first, 2.0) is None
    assert pods.apply("DELETED", late, 2.0) is None


def test_pod_deleted_long_ago_is_forgotten(pods):
    body = admitted(job(), SNAPSHOT)
    pods.put(stored(body, uid="u"), 0.0)
    pods.apply("DELETED", stored(body, uid="u"), 100.0)

    pods.forget_old(100.0 + DELETED_POD_SECONDS)
    assert pods.get_deleted("u") is not None
    pods.forget_old(101.0 + DELETED_POD_SECONDS)
    assert pods.get_deleted("u") is None


def test_deleted_pod_without_a_bundle_is_not_kept(pods):
    pods.put(stored(job(), uid="u"), 0.0)
    pods.apply("DELETED", stored(job(), uid="u"), 1.0)

    assert pods.get_deleted("u") is None


def test_pods_that_a_complete_list_lacks_are_deleted(pods):
    kept, deleted = (pods.put(stored(admitted(job(), SNAPSHOT), uid=uid), 0.0) for uid in ("kept", "deleted"))
    before = pods.known()
    young = pods.put(stored(admitted(job(), SNAPSHOT), uid="young"), 1.0)

    removed = pods.keep_only([kept.uid], before, version=deleted.version, now=2.0)

    assert [record.uid for record in removed] == ["deleted"]
    assert pods.known() == {kept.uid, young.uid}


def test_pod_that_changed_after_a_list_is_kept(pods):
    record = pods.put(stored(admitted(job(), SNAPSHOT)), 0.0)

    assert pods.keep_only([], pods.known(), version=record.version - 1, now=1.0) == []
    assert len(pods) == 1


def test_oldest_of_the_pods_with_one_base_owns_the_bundle(pods):
    body = admitted(job(metadata={"generateName": "job-"}), SNAPSHOT)
    younger = pods.put(stored(body, uid="a", created="2026-06-01T12:00:01Z"), 0.0)
    older = pods.put(stored(body, uid="b", created="2026-06-01T12:00:00Z"), 0.0)

    assert younger.base == older.base
    assert pods.owner(younger, no_bundle).uid == "b"
    assert pods.owner(older, no_bundle).uid == "b"
    pods.apply("DELETED", stored(body, uid="b"), 1.0)
    assert pods.owner(younger, no_bundle).uid == "b"
    pods.forget("b")
    assert pods.owner(younger, no_bundle).uid == "a"


def test_pod_that_has_the_bundle_keeps_it_although_an_older_one_exists(pods):
    body = admitted(job(metadata={"generateName": "job-"}), SNAPSHOT)
    served = pods.put(stored(body, uid="z"), 0.0)
    other = pods.put(stored(body, uid="a"), 0.0)

    assert pods.owner(served, no_bundle).uid == "a"
    assert pods.owner(served, {"z"}.__contains__).uid == "z"
    assert pods.owner(other, {"z"}.__contains__).uid == "z"


# The opt-in label


@pytest.mark.parametrize("value", ["True", "yes", "1", "", "TRUE"])
def test_pod_with_another_value_of_the_label_is_known_as_mislabeled(pods, value):
    body = stored(job())
    body["metadata"]["labels"][names.INJECT_LABEL] = value

    record = pods.put(body, 0.0)

    assert (record.injection, record.is_mislabeled) == (InjectionState.NONE, True)


def test_pod_that_opted_out_is_ignored(pods):
    body = stored(job())
    body["metadata"]["labels"][names.INJECT_LABEL] = "false"

    assert pods.put(body, 0.0) is None
    assert len(pods) == 0


def test_known_pod_stays_known_when_its_label_changes(pods):
    body = admitted(job(), SNAPSHOT)
    first = pods.put(stored(body, uid="a"), 0.0)
    body["metadata"]["labels"][names.INJECT_LABEL] = "false"

    record = pods.put(stored(body, uid="a", phase="Succeeded"), 1.0)

    assert (record.base, record.is_finished) == (first.base, True)
