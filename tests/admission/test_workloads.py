"""Who created a pod: the requester, or the user who wrote the template of the pod's workload."""

import copy
import json
from typing import Any

import pytest
from tests.admission.support import FINGERPRINT_KEY, ask, patched, permission, refusal, review_context
from tests.support.builders import definition, home_and_project, inventory, pod_body

from scoped_secrets import names
from scoped_secrets.core.admission_record import AdmissionRecord, parse_admission_record
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.names import Reason

PODS = "/mutate/pods"
WORKLOADS = "/mutate/workloads"
JOB_CONTROLLER = {"username": "system:serviceaccount:kube-system:job-controller"}
ALICE, MALLORY = {"username": "alice"}, {"username": "mallory"}
OWNER = [{"apiVersion": "batch/v1", "kind": "Job", "name": "build", "uid": "uid-1", "controller": True}]
KNOWN = review_context(inventory(home_and_project(), [definition("acme/aws", env={"A": "1"})]))


def job(**fields: Any) -> dict[str, Any]:
    """Return a Job whose template opts in."""
    template = pod_body(fields.pop("secrets", "aws"), **fields)
    del template["metadata"]["name"]
    del template["metadata"]["namespace"]
    return {"metadata": {"name": "build", "namespace": "web"}, "spec": {"template": template}}


def cron_job() -> dict[str, Any]:
    return {"metadata": {"name": "build", "namespace": "web"}, "spec": {"jobTemplate": {"spec": job()["spec"]}}}


def written(body: dict[str, Any], user: dict[str, Any] = ALICE, **given: Any) -> dict[str, Any]:
    return patched(body, ask(WORKLOADS, body, KNOWN, userInfo=user, **given))


def annotations(body: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = body["spec"]["template"]["metadata"].get("annotations", {})
    return found


def created(template: dict[str, Any], user: dict[str, Any], **given: Any) -> AdmissionRecord:
    """Return the record of a pod of a template."""
    template = copy.deepcopy(template)
    template["metadata"] |= {"generateName": "build-", "namespace": given.pop("namespace", "web"), **given}
    pod = patched(template, ask(PODS, template, KNOWN, userInfo=user))
    return parse_admission_record(pod["metadata"]["annotations"][names.CLAIMS_ANNOTATION])


def test_the_creator_of_a_pod_is_its_requester_whatever_the_pod_says():
    forged = {
        names.CLAIMS_ANNOTATION: AdmissionRecord(creator="alice").text(),
        names.CREATOR_ANNOTATION: annotations(written(job()))[names.CREATOR_ANNOTATION],
    }
    body = pod_body("aws", annotations=forged, metadata={"ownerReferences": OWNER})

    pod = patched(body, ask(PODS, body, KNOWN, userInfo=MALLORY))

    assert parse_admission_record(pod["metadata"]["annotations"][names.CLAIMS_ANNOTATION]) == AdmissionRecord("mallory")


def test_the_creator_of_a_workloads_pods_is_the_user_who_wrote_its_template():
    template = written(job())["spec"]["template"]

    record = created(template, JOB_CONTROLLER, ownerReferences=OWNER)

    assert record == AdmissionRecord(creator="alice", owner="uid-1")


def test_a_pod_of_a_workload_without_a_record_was_created_by_the_controller():
    record = created(job()["spec"]["template"], JOB_CONTROLLER, ownerReferences=OWNER)

    assert record == AdmissionRecord(creator=JOB_CONTROLLER["username"], owner="uid-1")


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param('{"creator":"alice"}', id="no tag"),
        pytest.param('{"creator":"alice","tag":"' + "a" * 24 + '"}', id="another tag"),
        pytest.param('{"creator":"alice","tag":5}', id="a number as tag"),
        pytest.param("alice", id="no JSON"),
        pytest.param("[]", id="a list"),
    ],
)
def test_a_record_that_admission_did_not_write_counts_for_nothing(annotation):
    template = job(annotations={names.CREATOR_ANNOTATION: annotation})["spec"]["template"]

    assert created(template, JOB_CONTROLLER).creator == JOB_CONTROLLER["username"]


def test_a_record_of_another_namespace_counts_for_nothing():
    known = review_context(inventory(home_and_project(), [definition("acme/aws", env={"A": "1"})]))
    body = job()
    elsewhere = patched(body, ask(WORKLOADS, body, known, userInfo=ALICE, namespace="api"))

    assert created(elsewhere["spec"]["template"], JOB_CONTROLLER).creator == JOB_CONTROLLER["username"]


def test_a_record_outlives_the_rotation_of_the_key_that_made_it():
    body = job()
    former = review_context(KNOWN.inventory, fingerprint_key=FingerprintKey(bytes(32)))
    template = patched(body, ask(WORKLOADS, body, former, userInfo=ALICE))["spec"]["template"]
    template["metadata"] |= {"generateName": "build-", "namespace": "web"}
    rotated = review_context(
        KNOWN.inventory, fingerprint_key=FINGERPRINT_KEY, former_fingerprint_keys=(FingerprintKey(bytes(32)),)
    )

    pod = patched(template, ask(PODS, template, rotated, userInfo=JOB_CONTROLLER))

    assert parse_admission_record(pod["metadata"]["annotations"][names.CLAIMS_ANNOTATION]).creator == "alice"


def test_a_user_cannot_write_another_users_name_into_a_template():
    alices = annotations(written(job()))
    body = job(annotations=alices)

    assert json.loads(annotations(written(body, MALLORY))[names.CREATOR_ANNOTATION])["creator"] == "mallory"


def test_a_cron_job_records_its_creator_and_its_controller_passes_the_record_on():
    cron = written(cron_job(), kind={"group": "batch", "version": "v1", "kind": "CronJob"})
    its_job = {"metadata": {"name": "build-1", "namespace": "web"}, "spec": cron["spec"]["jobTemplate"]["spec"]}
    controller = {"username": "system:serviceaccount:kube-system:cronjob-controller"}

    assert written(its_job, controller) == its_job
    assert created(its_job["spec"]["template"], JOB_CONTROLLER).creator == "alice"


def test_a_user_who_changes_the_template_becomes_its_creator():
    old = written(job())
    changed = copy.deepcopy(old)
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "another"

    assert json.loads(annotations(written(changed, MALLORY, old=old))[names.CREATOR_ANNOTATION])["creator"] == "mallory"


@pytest.mark.parametrize("keeps_record", [True, False], ids=["with the record", "without it, as in Git"])
def test_a_user_who_leaves_the_template_as_it_is_does_not_become_its_creator(keeps_record):
    old = written(job())
    scaled = copy.deepcopy(old)
    scaled["spec"]["parallelism"] = 3
    if not keeps_record:
        del annotations(scaled)[names.CREATOR_ANNOTATION]

    assert annotations(written(scaled, MALLORY, old=old)) == annotations(old)


def test_a_workload_that_is_older_than_the_webhook_gets_no_record_until_its_template_changes():
    old = job()
    forged = job(annotations={names.SECRETS_ANNOTATION: "aws", names.CREATOR_ANNOTATION: "alice"})

    assert names.CREATOR_ANNOTATION not in annotations(written(forged, MALLORY, old=old))


def test_a_template_without_annotations_gets_the_record():
    body = job()
    body["spec"]["template"]["metadata"].pop("annotations")

    assert names.CREATOR_ANNOTATION in annotations(written(body))


@pytest.mark.parametrize("labels", [{}, {names.INJECT_LABEL: "false"}])
def test_a_workload_whose_template_does_not_opt_in_stays_as_it_is(labels):
    body = job()
    body["spec"]["template"]["metadata"]["labels"] = labels

    outcome = permission(ask(WORKLOADS, body, KNOWN))

    assert (list(outcome.operations), outcome.warnings) == ([], ())


def test_the_writer_of_a_workload_is_told_that_its_pods_would_be_denied():
    body = job(secrets="missing")
    denial = refusal(ask(PODS, pod_body("missing"), KNOWN))

    outcome = permission(ask(WORKLOADS, body, KNOWN))

    assert outcome.warnings == (f"pods of this Job would be denied now: {Reason.NOT_FOUND}: {denial.message}",)
    assert outcome.is_provisional


def test_the_writer_of_a_workload_is_told_what_its_pods_leave_open():
    body = job(annotations={names.SECRETS_ANNOTATION: "aws", f"{names.GROUP}/secret": "x"})

    (warning,) = permission(ask(WORKLOADS, body, KNOWN)).warnings

    assert "has no meaning on a pod" in warning


def test_a_controller_is_not_told():
    outcome = permission(ask(WORKLOADS, job(secrets="missing"), KNOWN, userInfo=JOB_CONTROLLER))

    assert (list(outcome.operations), outcome.warnings) == ([], ())


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(None, id="none"),
        pytest.param(5, id="a number"),
        pytest.param({"metadata": None}, id="no metadata"),
        pytest.param({"metadata": {"labels": {names.INJECT_LABEL: "true"}}}, id="no spec"),
    ],
)
def test_a_broken_template_is_left_to_the_api_server(template):
    body = {"metadata": {"name": "build", "namespace": "web"}, "spec": {"template": template}}

    assert permission(ask(WORKLOADS, body, KNOWN)).warnings == ()
