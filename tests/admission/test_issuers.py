"""Trusted issuers in the admission process: the file, the presets with pods of their engines, and decisions."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.admission.support import ask, patched, permission, refusal, review, review_context
from tests.support.builders import definition, home_and_project, inventory, policy, scope_labels
from tests.support.engines import engines

from scoped_secrets import names
from scoped_secrets.admission.issuers import IssuersFile
from scoped_secrets.admission.webhooks import WEBHOOKS
from scoped_secrets.core.admission_record import parse_admission_record
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.issuer_presets import PRESETS
from scoped_secrets.core.policy.issuers import Writings
from scoped_secrets.names import Reason

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.engines import Engine

    from scoped_secrets.admission.review import Outcome
    from scoped_secrets.admission.review_context import ReviewContext
    from scoped_secrets.core.policy.issuers import ReadOwners

MUTATE, WORKLOADS = "/mutate/pods", "/mutate/workloads"
ENGINES = engines()
AWS = definition("acme/aws", env={"AWS_KEY": "x"})
JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"


def known(engine: Engine, *rules: Rule, **namespace: str) -> ReviewContext:
    policies = [policy("acme/only", rules=rules)] if rules else []
    return review_context(inventory(home_and_project(**namespace), [AWS], policies), issuers=(engine.issuer(),))


def owners(engine: Engine) -> ReadOwners:
    """Return what admission reads of the pod's owners."""
    if not engine.owners:
        return {}
    last = engine.owners[-1]
    metadata = last["metadata"]
    writings = Writings(metadata.get("labels", {}), metadata.get("annotations", {}), last["kind"])
    return {engine.issuer().owners: writings}


def created(engine: Engine, context: ReviewContext, user: str | None = None, **more: Any) -> Outcome:
    """Return the decision about the engine's pod, of a workload of the engine as Kubernetes creates it."""
    body = more.pop("body", None) or engine.pod("web", "aws")
    requester = user or engine.creator
    if engine.through is not None:
        body = copy.deepcopy(body)
        template = {"metadata": body["metadata"], "spec": body["spec"]}
        workload = {"metadata": {"name": "job", "namespace": "web"}, "spec": {"template": template}}
        stored = patched(workload, ask(WORKLOADS, workload, context, userInfo={"username": requester}))
        body["metadata"]["annotations"] |= stored["spec"]["template"]["metadata"]["annotations"]
        body["metadata"]["ownerReferences"] = [{"uid": "job-uid", "kind": "Job", "controller": True}]
        requester = JOB_CONTROLLER
    request = review("pods", body, userInfo={"username": requester})
    return WEBHOOKS[MUTATE](dataclasses.replace(request, owners=more.pop("owners", owners(engine))), context)


def record(engine: Engine, outcome: Outcome) -> Any:
    (text,) = (
        operation["value"]
        for operation in permission(outcome).operations
        if str(operation["path"]).endswith("scopedsecrets.dev~1claims")
    )
    assert isinstance(text, str)
    return parse_admission_record(text)


def test_there_is_a_pod_of_every_preset():
    assert list(ENGINES) == list(PRESETS)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_preset_reads_what_the_engine_states(engine: Engine):
    found = record(engine, created(engine, known(engine)))

    stated = {name: getattr(found, name) for name in ("project", "environment", "ref", "event") if getattr(found, name)}
    assert stated == engine.states
    assert found.issuer == engine.name
    assert dict(found.sources).keys() == engine.states.keys()


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_the_same_pod_of_another_creator_states_nothing(engine: Engine):
    found = record(engine, created(engine, known(engine), user="system:serviceaccount:web:default"))

    assert (found.issuer, found.project, found.ref, found.event) == ("", "", "", "")


def test_the_label_of_gitlab_counts_and_not_the_annotation_of_the_same_name():
    engine = ENGINES["gitlab-runner"]
    body = engine.pod("web", "aws")
    key = "project.runner.gitlab.com/id"
    assert body["metadata"]["labels"][key] != body["metadata"]["annotations"][key]

    assert dict(record(engine, created(engine, known(engine))).sources)["project"] == f"label {key} of the Pod"


MAIN = Rule("main", refs=("refs/heads/main", "refs/tags/*"))


@pytest.mark.parametrize("name", [name for name, engine in ENGINES.items() if "ref" in engine.states])
def test_a_rule_by_ref_allows_the_engines_pod_and_not_the_same_pod_of_a_person(name: str):
    engine = ENGINES[name]

    permission(created(engine, known(engine, MAIN)))
    denial = refusal(created(engine, known(engine, MAIN), user="mallory"))
    assert denial.reason is Reason.POLICY_DENIED
    assert "`refs` is stated by no trusted issuer" in denial.message


def test_a_pipeline_for_another_project_gets_nothing_in_the_namespace():
    engine = ENGINES["gitlab-runner"]
    body = engine.pod("web", "aws")
    body["metadata"]["labels"]["project.runner.gitlab.com/id"] = "43"

    denial = refusal(created(engine, known(engine), body=body))

    assert denial.reason is Reason.PROJECT_NOT_ALLOWED
    assert "trusted issuer 'gitlab-runner' states another project than the namespace's" in denial.message


def test_a_pull_request_does_not_run_for_the_branch_that_it_is_merged_into():
    engine = ENGINES["tekton-pipelines-as-code"]
    ((kinds, run),) = owners(engine).items()
    run = dataclasses.replace(
        run,
        labels={**run.labels, "pipelinesascode.tekton.dev/event-type": "pull_request"},
        annotations={**run.annotations, "pipelinesascode.tekton.dev/source-branch": "refs/heads/main"},
    )

    found = record(engine, created(engine, known(engine), owners={kinds: run}))

    assert (found.event, found.ref) == ("pull_request", "")


def test_a_pod_whose_owner_cannot_be_read_is_denied():
    engine = ENGINES["tekton-pipelines-as-code"]

    denial = refusal(created(engine, known(engine), owners=None))

    assert denial.reason is Reason.OWNER_UNKNOWN


def test_annotations_of_an_issuer_that_another_webhook_changes_after_ours_deny_the_pod():
    engine = ENGINES["gitlab-runner"]
    context = known(engine)
    body = engine.pod("web", "aws")
    user = {"username": engine.creator}
    stored = patched(body, ask(MUTATE, body, context, userInfo=user))
    permission(ask(MUTATE, stored, context, userInfo=user))

    stored["metadata"]["annotations"]["job.runner.gitlab.com/ref"] = "release"

    assert refusal(ask(MUTATE, stored, context, userInfo=user)).reason is Reason.RESERVED_NAME


def test_a_record_that_a_pod_brings_along_states_nothing():
    engine = ENGINES["gitlab-runner"]
    context = known(engine, MAIN)
    forged = engine.pod("web", "aws", **{names.CLAIMS_ANNOTATION: json.dumps({"ref": "refs/heads/main"})})

    assert refusal(ask(MUTATE, forged, context, userInfo={"username": "mallory"})).reason is Reason.POLICY_DENIED


def test_a_text_that_is_no_claim_is_a_warning_without_the_text():
    engine = ENGINES["gitlab-runner"]
    body = engine.pod("web", "aws")
    body["metadata"]["annotations"]["job.runner.gitlab.com/ref"] = "mallory:main"

    outcome = permission(created(engine, known(engine), body=body))

    (warning, *_) = outcome.warnings
    assert "annotation job.runner.gitlab.com/ref of the Pod is no ref, and no claim" in warning
    assert "mallory" not in warning


def test_the_report_of_the_decision_has_the_source_of_each_claim():
    engine = ENGINES["gitlab-runner"]
    body = engine.pod("web", "aws")

    stored = patched(body, created(engine, known(engine), body=body))

    claims = json.loads(stored["metadata"]["annotations"][names.RESOLUTION_ANNOTATION])["claims"]
    assert claims == {
        "project": {"value": "web", "source": "namespace"},
        "namespace": {"value": "web", "source": "request"},
        "serviceAccount": {"value": "default", "source": "Pod"},
        "creator": {"value": engine.creator, "source": "request"},
        "ref": {
            "value": "refs/heads/main refs/tags/main",
            "source": "trusted issuer gitlab-runner: annotation job.runner.gitlab.com/ref of the Pod",
        },
    }


ENVIRONMENTS = {"event": {"annotation": names.EVENT_ANNOTATION}, "environment": {"label": "environment"}}


def environment_of(outcome: Outcome, body: dict[str, Any]) -> Any:
    return json.loads(patched(body, outcome)["metadata"]["annotations"][names.RESOLUTION_ANNOTATION]).get("environment")


@pytest.mark.parametrize(
    ("vouches", "has_own", "allowed", "environment"),
    [
        pytest.param(False, False, "", None, id="an environment that nothing grants"),
        pytest.param(True, False, "", "review", id="an environment that the issuer vouches for"),
        pytest.param(True, True, "", None, id="which has namespaces of its own"),
        pytest.param(False, True, "review", "review", id="which the namespace allows"),
    ],
)
def test_an_issuer_lets_its_pods_only_into_environments_without_namespaces_of_their_own(
    vouches: bool, has_own: bool, allowed: str, environment: str | None
):
    engine = ENGINES["gitlab-runner"]
    issuer = dataclasses.replace(
        engine.issuer(),
        environment=dataclasses.replace(PRESETS["github-arc"].project, text="environment"),  # type: ignore[type-var]
        environments=("review",) if vouches else (),
    )
    namespaces = home_and_project(**({names.ALLOW_ENVIRONMENTS_ANNOTATION: allowed} if allowed else {}))
    if has_own:
        namespaces["web-review"] = {"labels": scope_labels("acme", "web", "review")}
    body = engine.pod("web", "aws")
    body["metadata"]["labels"]["environment"] = "review"

    outcome = created(engine, review_context(inventory(namespaces, [AWS]), issuers=(issuer,)), body=body)

    if environment is None:
        denial = refusal(outcome)
        assert denial.reason is Reason.ENVIRONMENT_NOT_ALLOWED
        assert (
            "trusted issuer 'gitlab-runner' states an environment that this namespace does not allow" in denial.message
        )
    else:
        assert environment_of(outcome, body) == environment


def test_a_pod_asks_for_no_other_environment_than_its_issuer_states():
    engine = ENGINES["job"]
    issuer = dataclasses.replace(engine.issuer(), environment=PRESETS["github-arc"].project)
    body = engine.pod("web", "aws", **{names.ENVIRONMENT_ANNOTATION: "production"})
    body["metadata"]["labels"]["actions.github.com/repository"] = "staging"
    snapshot = inventory(home_and_project(**{names.ALLOW_ENVIRONMENTS_ANNOTATION: "*"}), [AWS])

    denial = refusal(created(engine, review_context(snapshot, issuers=(issuer,)), body=body))

    assert "asks for an environment other than the one that trusted issuer 'job' states" in denial.message


def test_a_workloads_preview_knows_the_claims_of_its_template():
    engine = ENGINES["job"]
    body = engine.pod("web", "aws")
    template = {"metadata": body["metadata"], "spec": body["spec"]}
    workload = {"metadata": {"name": "job", "namespace": "web"}, "spec": {"template": template}}

    def warnings(user: str) -> str:
        return " ".join(permission(ask(WORKLOADS, workload, known(engine, MAIN), userInfo={"username": user})).warnings)

    assert "would be denied now" not in warnings(engine.creator)
    assert "`refs` is stated by no trusted issuer" in warnings("mallory")


VALID = json.dumps({"trustedIssuers": [ENGINES["job"].configuration()]})


async def test_the_file_of_issuers_is_read_again_when_it_changes(tmp_path: Path, caplog):
    path = tmp_path / "issuers.yaml"
    path.write_text(VALID)
    file = IssuersFile(str(path))
    await file.reload()
    assert [issuer.name for issuer in file.issuers] == ["job"]

    path.write_text("trustedIssuers: []")
    await file.reload()

    assert (file.issuers, file.is_valid) == ((), True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"trustedIssuers": [{"preset": "none"}]}', "`trustedIssuers[0].preset` must be 'gitlab-runner'"),
        (b"\xff", "must be UTF-8 text"),
        (b"#" * (1024 * 1024 + 1), "must have at most 1 MiB"),
        (None, "--trusted-issuers-file must name a file that can be read"),
    ],
)
async def test_a_file_that_cannot_be_used_leaves_the_former_issuers_in_use(tmp_path: Path, caplog, content, message):
    path = tmp_path / "issuers.yaml"
    path.write_text(VALID)
    file = IssuersFile(str(path))
    await file.reload()
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    await file.reload()
    await file.reload()

    assert [issuer.name for issuer in file.issuers] == ["job"]
    assert not file.is_valid
    rejected = [each for each in caplog.records if each.message.startswith("trusted issuers rejected")]
    assert len(rejected) == 1
    assert message in str(vars(rejected[0]))


async def test_without_a_file_there_are_no_issuers():
    file = IssuersFile(None)
    await file.reload()

    assert (file.issuers, file.is_valid) == ((), True)
