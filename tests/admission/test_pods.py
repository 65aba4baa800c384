"""The webhooks of pods: mutation injects once, and denials say what to do."""

import copy
import json
from datetime import timedelta
from typing import Any

import pytest
from tests.admission.support import FINGERPRINT_KEY, ask, patched, permission, refusal, review_context
from tests.support.builders import NOW, container, definition, home_and_project, inventory, pod_body, policy, sealed

from scoped_secrets import names
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.policy.policy import Effect
from scoped_secrets.crypto.bundle_names import is_genuine, make_base
from scoped_secrets.names import Reason

MUTATE, COPIES = "/mutate/pods", "/mutate/copies"
# Only the configurations of earlier releases name this path.
FORMER = "/validate/pods"
AWS = definition(
    "acme/aws",
    env={"AWS_KEY": sealed("v1:x")},
    files={".ssh/id": (sealed("v1:y"), 0o600)},
)


def snapshot(*definitions, policies=(), **annotations) -> Inventory:
    return inventory(home_and_project(**annotations), definitions or (AWS,), policies)


def injected(body: dict[str, Any], known=None, *, ask_dry: bool = False) -> dict[str, Any]:
    return patched(body, ask(MUTATE, body, known or review_context(snapshot()), dryRun=ask_dry))


def base_of(body: dict[str, Any]) -> str:
    volume = next(v for v in body["spec"]["volumes"] if v["name"] == names.VOLUME_NAME)
    name: str = volume["projected"]["sources"][0]["secret"]["name"]
    return name.removesuffix("-0")


def test_a_pod_without_the_label_is_let_through_unchanged():
    body = pod_body("aws", metadata={"labels": {"app": "web"}})

    for path in (MUTATE, COPIES, FORMER):
        outcome = permission(ask(path, body, review_context(snapshot())))
        assert list(outcome.operations) == []
        assert outcome.warnings == ()


def test_a_mirror_pod_of_a_node_is_let_through_unchanged():
    body = pod_body("aws", annotations={names.MIRROR_ANNOTATION: "hash"})
    node = {"username": "system:node:one", "groups": ["system:nodes", "system:authenticated"]}

    for path in (MUTATE, FORMER):
        assert list(permission(ask(path, body, review_context(snapshot()), userInfo=node)).operations) == []


@pytest.mark.parametrize("groups", [None, [], ["system:authenticated", "system:nodes:mine"]])
def test_a_users_pod_with_the_mirror_annotation_is_decided_like_any_other(groups):
    body = pod_body("no-such-bundle", annotations={names.MIRROR_ANNOTATION: "hash"})
    user = {"username": "someone", "groups": groups}

    assert refusal(ask(MUTATE, body, review_context(snapshot()), userInfo=user)).reason == "NotFound"
    assert refusal(ask(FORMER, body, review_context(snapshot()), userInfo=user)).reason == "NotInjected"


def test_updates_and_subresources_of_pods_are_allowed_unchanged():
    body = pod_body("no-such-bundle")

    assert list(permission(ask(MUTATE, body, review_context(snapshot()), old=body)).operations) == []
    assert list(permission(ask(MUTATE, body, review_context(snapshot()), subResource="binding")).operations) == []


def test_a_pod_that_opted_in_gets_variables_files_volume_and_provenance():
    body = injected(pod_body("aws"))

    job = body["spec"]["containers"][0]
    assert job["env"] == [
        {"name": "AWS_KEY", "valueFrom": {"secretKeyRef": {"name": f"{base_of(body)}-0", "key": "aws.AWS_KEY"}}}
    ]
    assert [mount["mountPath"] for mount in job["volumeMounts"]] == [names.MOUNT_PATH, "/root/.ssh/id"]
    assert "acme/aws" in body["metadata"]["annotations"][names.RESOLUTION_ANNOTATION]


def test_the_bundle_is_named_for_this_pod_and_this_review():
    body = pod_body("aws", metadata={"name": None, "generateName": "job-"})
    known = review_context(snapshot())

    first = patched(body, ask(MUTATE, body, known, uid="one"))
    second = patched(body, ask(MUTATE, body, known, uid="two"))

    assert base_of(first) != base_of(second)
    assert is_genuine(FINGERPRINT_KEY, "web", 'generateName:job-/{"creator":"someone"}', base_of(first))


def test_the_namespace_of_the_request_decides_and_not_the_one_in_the_body():
    body = pod_body("aws", namespace="web")

    outcome = ask(MUTATE, body, review_context(snapshot()), namespace="elsewhere")

    assert refusal(outcome).reason is Reason.NAMESPACE_OUTSIDE


def test_dry_run_is_answered_the_same_but_for_the_bundles_name():
    body = pod_body("aws")
    real, dry = (injected(body, ask_dry=each) for each in (False, True))

    assert base_of(real) != base_of(dry)
    assert json.loads(json.dumps(dry).replace(base_of(dry), base_of(real))) == real


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="bare"),
        pytest.param({"metadata": {"name": None, "generateName": "job-"}}, id="generated name"),
        pytest.param(
            {
                "containers": [
                    container(env=[{"name": "A", "value": "${secrets.aws.AWS_KEY}"}], args=["${secrets.aws.AWS_KEY}"]),
                    container("side", env=[], volumeMounts=[]),
                ],
                "initContainers": [container("prepare", restartPolicy="Always")],
                "volumes": [],
            },
            id="init containers, expressions, empty lists",
        ),
        pytest.param(
            {"securityContext": {"runAsUser": 1000}, "annotations": {names.HOME_ANNOTATION: "/home/ci"}}, id="non-root"
        ),
        pytest.param({"annotations": {names.CONTAINERS_ANNOTATION: "job"}}, id="listed containers"),
    ],
)
def test_a_second_pass_adds_nothing(fields):
    known = review_context(snapshot())
    body = injected(pod_body("aws", **fields), known)

    again = permission(ask(MUTATE, body, known, uid="another review"))

    assert list(again.operations) == []
    assert again.is_repeated
    permission(ask(FORMER, body, known, uid="a third review"))


@pytest.mark.parametrize("seconds", [0, 30, -30])
def test_a_complete_pod_whose_bundle_was_named_within_a_request_is_asked_about_again(seconds):
    body = injected(pod_body("aws"))

    later = review_context(snapshot(), now=NOW + timedelta(seconds=seconds))

    assert permission(ask(MUTATE, body, later)).is_repeated


@pytest.mark.parametrize("seconds", [31, 86400, -31])
def test_a_pod_that_is_created_again_with_what_was_injected_is_decided_for_the_first_time(seconds):
    body = injected(pod_body("aws"))

    later = review_context(snapshot(), now=NOW + timedelta(seconds=seconds))

    assert not permission(ask(MUTATE, body, later)).is_repeated


def test_a_pod_that_is_created_as_a_dry_run_showed_it_is_decided_for_the_first_time():
    known = review_context(snapshot())
    body = injected(pod_body("aws"), known, ask_dry=True)

    assert permission(ask(MUTATE, body, known, dryRun=True)).is_repeated
    assert not permission(ask(MUTATE, body, known)).is_repeated


def test_a_container_that_another_webhook_added_is_the_only_one_that_changes():
    known = review_context(snapshot())
    body = injected(pod_body("aws"), known)
    body["spec"]["containers"].append(container("sidecar"))

    outcome = permission(ask(MUTATE, body, known, uid="reinvocation"))

    assert outcome.operations
    assert all(str(operation["path"]).startswith("/spec/containers/1/") for operation in outcome.operations)
    result = patched(body, outcome)
    assert base_of(result) == base_of(body)
    assert not outcome.is_repeated


def test_configurations_of_earlier_releases_get_a_denial_for_a_pod_that_was_never_injected():
    denial = refusal(ask(FORMER, pod_body("aws"), review_context(snapshot())))

    assert denial.reason is Reason.NOT_INJECTED
    assert names.INJECT_LABEL in denial.message


def test_configurations_of_earlier_releases_get_no_denial_for_what_the_controller_decides():
    known = review_context(snapshot())
    body = injected(pod_body("aws"), known)
    body["spec"]["containers"].append(container("sidecar"))
    body["metadata"].update(name="job-x7k2p", uid="pod-uid")

    permission(ask(FORMER, body, known))


def test_containers_in_another_order_are_still_complete():
    known = review_context(snapshot())
    body = injected(pod_body("aws", containers=[container("one"), container("two")]), known)
    body["spec"]["containers"].reverse()

    assert list(permission(ask(MUTATE, body, known)).operations) == []


def test_a_second_pass_denies_a_pod_that_a_policy_denies_by_then():
    store = snapshot()
    body = injected(pod_body("aws"), review_context(store))
    store.put_policy(policy("acme/nobody", effect=Effect.DENY))

    assert refusal(ask(MUTATE, body, review_context(store))).reason is Reason.POLICY_DENIED


def test_a_denial_names_bundle_reason_and_remedy():
    denial = refusal(ask(MUTATE, pod_body("missing"), review_context(snapshot())))

    assert denial.reason is Reason.NOT_FOUND
    assert "'missing'" in denial.message
    assert "create a ScopedSecret" in denial.message


def test_warnings_reach_the_person_who_creates_the_pod():
    outcome = permission(ask(MUTATE, pod_body("aws", securityContext={"fsGroup": 5}), review_context(snapshot())))

    assert any("fsGroup 5" in warning for warning in outcome.warnings)


def volume(secret: str) -> dict[str, Any]:
    items = [{"key": "k", "path": "k", "mode": 0o444}]
    return {"name": names.VOLUME_NAME, "projected": {"sources": [{"secret": {"name": secret, "items": items}}]}}


FOREIGN = make_base(FINGERPRINT_KEY, "web", 'name:other-pod/{"creator":"someone"}', "review-0")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"volumes": [volume(f"{FOREIGN}-0")]}, id="the bundle of another pod"),
        pytest.param({"volumes": [volume("ssec-" + "a" * 32 + "-0")]}, id="a made-up bundle"),
        pytest.param({"volumes": [volume("mine")]}, id="a volume of our name"),
        pytest.param({"volumes": [{"name": names.VOLUME_NAME, "emptyDir": {}}]}, id="an empty volume of our name"),
        pytest.param({"volumes": [{"name": "v", "secret": {"secretName": f"{FOREIGN}-0"}}]}, id="a secret volume"),
        pytest.param(
            {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": f"{FOREIGN}-0"}}]}}]},
            id="a projected volume",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": f"{FOREIGN}-0"}}}]},
            id="a CSI volume",
        ),
        pytest.param({"imagePullSecrets": [{"name": f"{FOREIGN}-0"}]}, id="a pull secret"),
        pytest.param(
            {"containers": [container(envFrom=[{"secretRef": {"name": f"{FOREIGN}-0"}}])]}, id="all variables"
        ),
        pytest.param(
            {
                "initContainers": [
                    container(
                        "init", env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": f"{FOREIGN}-0", "key": "k"}}}]
                    )
                ]
            },
            id="one variable of an init container",
        ),
    ],
)
def test_a_pod_that_names_the_bundle_of_another_pod_is_denied(spec):
    denial = refusal(ask(MUTATE, pod_body("aws", **spec), review_context(snapshot())))

    assert denial.reason is Reason.RESERVED_NAME


@pytest.mark.parametrize("value", [None, "false", "True", ""])
def test_a_copy_of_an_injected_pod_without_the_label_is_denied_before_another_webhook_can_add_it(value):
    body = injected(pod_body("aws"))
    labels = {} if value is None else {names.INJECT_LABEL: value}
    body["metadata"]["labels"] = labels

    denial = refusal(ask(COPIES, body, review_context(snapshot())))

    assert denial.reason is Reason.RESERVED_NAME
    assert names.SECRETS_ANNOTATION in denial.message


def test_a_pod_with_the_label_is_not_taken_for_a_copy():
    assert list(permission(ask(COPIES, injected(pod_body("aws")), review_context(snapshot()))).operations) == []


def test_a_pod_that_mounts_its_own_bundle_by_other_means_is_denied():
    known = review_context(snapshot())
    body = injected(pod_body("aws"), known)
    body["spec"]["volumes"].append({"name": "copy", "secret": {"secretName": f"{base_of(body)}-0"}})

    assert refusal(ask(MUTATE, body, known)).reason is Reason.RESERVED_NAME


def test_the_denial_of_a_copied_pod_says_to_remove_the_injected_parts():
    body = injected(pod_body("aws"))
    copied = copy.deepcopy(body)
    copied["metadata"]["name"] = "another"

    denial = refusal(ask(MUTATE, copied, review_context(snapshot())))

    assert denial.reason is Reason.RESERVED_NAME
    assert "remove the volume" in denial.message


def test_a_forged_annotation_grants_nothing_and_is_overwritten():
    forged = '{"bundles":[{"name":"other","pin":"x@1"}]}'
    body = pod_body("aws", annotations={names.RESOLUTION_ANNOTATION: forged})

    result = injected(body)

    assert result["metadata"]["annotations"][names.RESOLUTION_ANNOTATION] != forged
    assert [v["name"] for v in result["spec"]["containers"][0]["env"]] == ["AWS_KEY"]


def test_an_annotation_that_is_changed_after_injection_is_restored():
    known = review_context(snapshot())
    body = injected(pod_body("aws"), known)
    changed = copy.deepcopy(body)
    changed["metadata"]["annotations"][names.RESOLUTION_ANNOTATION] = "{}"

    assert patched(changed, ask(MUTATE, changed, known)) == body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="no object"),
        pytest.param({}, id="an empty object"),
        pytest.param({"metadata": {}, "spec": 5}, id="a number as spec"),
        pytest.param({**pod_body("aws"), "spec": {"containers": [{}]}}, id="a container without a name"),
        pytest.param(pod_body("aws", imagePullSecrets=[5]), id="a number as pull secret"),
        pytest.param(pod_body("aws", imagePullSecrets=[{"name": 5}]), id="a number as name"),
        pytest.param(pod_body("aws", containers=[container(envFrom=["x"])]), id="a text as source"),
    ],
)
def test_an_object_that_is_not_a_pod_is_denied(body):
    assert refusal(ask(MUTATE, body, review_context(snapshot()), namespace="web")).reason is Reason.INVALID_POD


def test_a_pod_is_gated_where_the_controller_may_remove_the_gate():
    known = review_context(snapshot(), gate=True)

    body = injected(pod_body("aws"), known)

    assert body["spec"]["schedulingGates"] == [{"name": names.BUNDLE_GATE}]
    assert list(permission(ask(MUTATE, body, known)).operations) == []
    assert "schedulingGates" not in injected(pod_body("aws"))["spec"]
