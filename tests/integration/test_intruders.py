"""Ways around injection and around entitlement: each gets nothing, and says why."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest

from scoped_secrets import names
from scoped_secrets.crypto.sealed_texts import parse_header
from tests.cluster.processes import wait_until
from tests.integration.console import named_secrets, pod, resubmitted, scoped_secret, secret_policy
from tests.integration.people import done, kubeconfig, person, wait_for_certificate

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console, canary: Canary) -> tuple[Company, str]:
    """An organization whose project has a bundle, and the project's namespace."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("intruders")}))
    company.settle(web)
    return company, web


def test_pod_labelled_after_creation_gets_no_bundle_and_an_event(
    firm: tuple[Company, str], console: Console, operator: InstalledOperator
):
    _, web = firm
    body = pod(f"{web}/late", "aws")
    del body["metadata"]["labels"]
    console.create(body)
    before = console.bundles(web)

    with operator.guard_off():
        console.cluster.kubectl("label", "pod", "late", "-n", web, f"{names.INJECT_LABEL}={names.INJECT_VALUE}")

    event = console.wait_event(web, "late", "NotInjected")
    assert event["type"] == "Warning"
    assert console.bundles(web).keys() == before.keys()
    assert not named_secrets(console.cluster.get("pod", "late", "-n", web))


def test_pod_stored_without_admission_gets_no_bundle_and_an_event(
    firm: tuple[Company, str], console: Console, operator: InstalledOperator
):
    _, web = firm
    before = console.bundles(web)
    with operator.webhooks_off():
        console.create(pod(f"{web}/unseen", "aws"))

    event = console.wait_event(web, "unseen", "NotInjected")

    assert event["type"] == "Warning"
    assert event["involvedObject"]["uid"] == console.cluster.get("pod", "unseen", "-n", web)["metadata"]["uid"]
    assert console.bundles(web).keys() == before.keys()


def test_pod_with_handwritten_references_gets_no_bundle(
    firm: tuple[Company, str], console: Console, operator: InstalledOperator
):
    _, web = firm
    volume = {
        "name": names.VOLUME_NAME,
        "projected": {
            "sources": [
                {
                    "secret": {
                        "name": f"{names.BUNDLE_PREFIX}{'a' * 32}-0",
                        "items": [{"key": names.RESOLUTION_FILE, "path": names.RESOLUTION_FILE}],
                    }
                }
            ]
        },
    }
    before = console.bundles(web)
    body = pod(f"{web}/handmade", "aws", volumes=[volume])

    message = console.refusal(body)
    with operator.webhooks_off():
        console.create(body)

    assert "ReservedName" in message
    assert console.wait_event(web, "handmade", "NotInjected")["type"] == "Warning"
    assert console.bundles(web).keys() == before.keys()


def test_a_pod_that_forges_a_whole_injection_gets_nothing_that_policy_denies(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    console.apply(
        scoped_secret(f"{web}/public", env={"KEY": canary.value("public")}),
        scoped_secret(f"{web}/secret", env={"KEY": canary.value("denied to all")}),
        secret_policy(f"{web}/nobody", "secret", effect="Deny"),
    )
    company.settle(web)
    body = pod(f"{web}/forger", "public")
    # The admission server tells anybody a name that is genuine for a pod; what the pod then says must not matter.
    answer = operator.recorder.post("/mutate/pods", review("CREATE", body))
    patch = base64.b64decode(json.loads(answer.body)["response"]["patch"])
    forged = json.loads(json.dumps(jsonpatch.apply_patch(body, patch.decode())).replace("public", "secret"))

    with operator.webhooks_off():
        console.create(forged)

    event = console.wait_event(web, "forger", "PolicyDenied")
    assert f"policy '{web}/nobody'" in event["message"]
    assert not console.bundles(web)


@pytest.mark.parametrize(
    "spec",
    [
        {"volumes": [{"name": "stolen", "secret": {"secretName": "BUNDLE"}}]},
        {"volumes": [{"name": "stolen", "projected": {"sources": [{"secret": {"name": "BUNDLE"}}]}}]},
        {"imagePullSecrets": [{"name": "BUNDLE"}]},
        {"containers": [{"name": "job", "image": "busybox", "envFrom": [{"secretRef": {"name": "BUNDLE"}}]}]},
        {
            "containers": [
                {
                    "name": "job",
                    "image": "busybox",
                    "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "BUNDLE", "key": "aws.KEY"}}}],
                }
            ]
        },
    ],
)
def test_an_injected_pod_cannot_name_another_pods_bundle(
    spec: dict[str, Any], firm: tuple[Company, str], console: Console
):
    _, web = firm
    if not console.exists("pod", web, "victim"):
        console.create(pod(f"{web}/victim", "aws"))
        console.seen(web, "victim")
    (bundle, *_) = named_secrets(console.cluster.get("pod", "victim", "-n", web))
    stolen = json.loads(json.dumps(spec).replace("BUNDLE", bundle))

    message = console.refusal(pod(f"{web}/thief", None, **stolen))

    assert "ReservedName" in message
    assert not console.exists("pod", web, "thief")


def test_another_pod_with_the_stored_spec_of_an_injected_one_is_refused(firm: tuple[Company, str], console: Console):
    _, web = firm
    console.create(pod(f"{web}/original", "aws"))
    console.seen(web, "original")

    message = console.refusal(resubmitted(console.cluster.get("pod", "original", "-n", web), "copy"))

    assert "ReservedName: volume 'scoped-secrets' names a bundle that was not made for this pod" in message
    assert not console.exists("pod", web, "copy")


def test_the_same_pod_submitted_again_keeps_what_it_has_and_gets_its_own_bundle(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    console.create(pod(f"{web}/again", "aws"))
    console.seen(web, "again")
    first = console.cluster.get("pod", "again", "-n", web)
    body = resubmitted(first, "again")

    # The second one is there as soon as the first is gone, and so before its bundle is.
    console.cluster.kubectl("replace", "--force", "--grace-period=0", "-f", "-", input=json.dumps(body))

    second = console.cluster.get("pod", "again", "-n", web)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert second["spec"]["volumes"] == first["spec"]["volumes"]
    assert second["spec"]["containers"] == first["spec"]["containers"]
    uid = second["metadata"]["uid"]
    wait_until(lambda: is_owned(console, web, uid), "the second pod's own bundle", seconds=60)
    assert console.seen(web, "again").visible == {"KEY": canary.value("intruders")}


def test_older_of_two_pods_with_one_bundle_name_gets_it(firm: tuple[Company, str], console: Console, canary: Canary):
    _, web = firm
    body = pod(f"{web}/generated", "aws")
    del body["metadata"]["name"]
    body["metadata"]["generateName"] = "generated-"
    console.create(body)
    (older,) = [name for name in console.items("pods", web) if name.startswith("generated-")]
    console.seen(web, older)
    copied = resubmitted(console.cluster.get("pod", older, "-n", web), None)

    printed = console.create(copied)

    younger = printed.split()[0].removeprefix("pod/")
    assert console.wait_event(web, younger, "BundleTaken")["type"] == "Warning"
    (bundle,) = {
        secret["metadata"]["ownerReferences"][0]["uid"]
        for name, secret in console.bundles(web).items()
        if name in named_secrets(console.cluster.get("pod", older, "-n", web))
    }
    assert bundle == console.cluster.get("pod", older, "-n", web)["metadata"]["uid"]


def test_a_forged_review_creates_nothing_and_reveals_nothing(
    firm: tuple[Company, str], console: Console, canary: Canary, operator: InstalledOperator
):
    _, web = firm
    stored = console.cluster.get("ssec", "aws", "-n", web)
    before = {name: body["metadata"]["resourceVersion"] for name, body in console.bundles(web).items()}
    requests = [
        ("/mutate/pods", review("CREATE", pod(f"{web}/forged", "aws"))),
        ("/validate/pods", review("CREATE", pod(f"{web}/forged", "aws"))),
        ("/mutate/pods", review("CREATE", {})),
        ("/mutate/scopedsecrets", review("CREATE", stored)),
        ("/mutate/scopedsecrets", review("UPDATE", stored, stored)),
        ("/validate/scopedsecrets", review("UPDATE", stored, stored)),
        ("/validate/secretpolicies", review("DELETE", stored)),
        ("/validate/unknown", review("CREATE", stored)),
    ]

    answers = [operator.recorder.post(path, body) for path, body in requests]

    for answer in answers:
        assert not canary.find(answer.path, answer.searchable())
    granted = json.loads(answers[0].body)["response"]
    assert granted["allowed"] is True
    assert named_secrets({"spec": json.loads(answers[0].searchable().splitlines()[1])})
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 200, 200, 200, 404]
    assert json.loads(answers[1].body)["response"]["allowed"] is False
    # Whatever was to follow from it has followed once a later pod has its bundle.
    console.create(pod(f"{web}/later", "aws"))
    later = named_secrets(console.cluster.get("pod", "later", "-n", web))
    console.seen(web, "later")
    after = {name: body["metadata"]["resourceVersion"] for name, body in console.bundles(web).items()}
    assert {name: version for name, version in after.items() if name not in later} == before
    assert not console.exists("pod", web, "forged")


def test_forged_reviews_confirm_no_guess_beyond_the_limit(
    firm: tuple[Company, str], console: Console, canary: Canary, operator: InstalledOperator
):
    _, web = firm
    plain = [scoped_secret(f"{web}/guessed", env={"KEY": canary.value(f"guess {number}")}) for number in range(11)]
    right = scoped_secret(f"{web}/guessed", env={"KEY": canary.value("guessed")})
    console.apply(right)
    console.wait_current(web, "guessed")
    stored = console.cluster.get("ssec", "guessed", "-n", web)
    header = parse_header(stored["spec"]["env"][0]["sealed"])

    def forge(manifest: dict[str, Any], old: dict[str, Any] | None = None) -> tuple[str | None, list[str]]:
        """Return the sealed text that a forged review gets, ``None`` for the stored one, and the warnings."""
        operation = "CREATE" if old is None else "UPDATE"
        answer = operator.recorder.post("/mutate/scopedsecrets", review(operation, manifest, old))
        assert not canary.find(answer.path, answer.searchable())
        response = json.loads(answer.body)["response"]
        operations = json.loads(base64.b64decode(response["patch"]))
        entries: list[dict[str, str]] = next(
            (each["value"] for each in operations if each["path"] == "/spec/env"), [{}]
        )
        text = entries[0].get("sealed")
        return None if text == stored["spec"]["env"][0]["sealed"] else text, response.get("warnings", [])

    created, _ = forge(right)
    assert created is not None
    guessed = parse_header(created)
    assert guessed.context_digest == header.context_digest
    assert guessed.fingerprint is not None
    assert header.fingerprint is not None
    assert guessed.fingerprint.salt != header.fingerprint.salt
    assert guessed.fingerprint.digest != header.fingerprint.digest
    assert stored["status"]["entries"][0]["fingerprint"] != guessed.fingerprint.short()
    # One replica answers here: the right guess is told, and no more after ten others.
    assert forge(right, stored) == (None, [])
    answers = [forge(manifest, stored) for manifest in plain[:10]]
    assert all(text is not None and not warnings for text, warnings in answers)
    late = [forge(manifest, stored) for manifest in (right, plain[10])]
    assert all(text is not None for text, _ in late)
    assert late[0][1] == late[1][1] != []


def test_forged_reviews_confirm_no_guess_beyond_the_limit_with_a_recorded_fingerprint(
    firm: tuple[Company, str], console: Console, canary: Canary, operator: InstalledOperator
):
    company, web = firm
    wait_for_certificate(console)
    developer = kubeconfig(company, person(company, "intruders-developer", "edit", web), namespace=web)
    done("create", "recorded", "-p", "web", "-e", "KEY=@-", kubeconfig=developer, stdin=canary.value("recorded"))
    console.wait_current(web, "recorded")
    stored = console.cluster.get("ssec", "recorded", "-n", web)
    text = stored["spec"]["env"][0]["sealed"]
    assert parse_header(text).fingerprint is None
    assert stored["status"]["entries"][0]["recordedFingerprint"]

    def is_kept(what: str) -> tuple[bool, int]:
        """Tell whether a forged review keeps the stored text for a guess, and how many warnings it gets."""
        manifest = scoped_secret(f"{web}/recorded", env={"KEY": canary.value(what)})
        answer = operator.recorder.post("/mutate/scopedsecrets", review("UPDATE", manifest, stored))
        assert not canary.find(answer.path, answer.searchable())
        response = json.loads(answer.body)["response"]
        operations = json.loads(base64.b64decode(response["patch"]))
        entries = next(each["value"] for each in operations if each["path"] == "/spec/env")
        return entries[0]["sealed"] == text, len(response.get("warnings", []))

    assert is_kept("recorded") == (True, 0)
    assert [is_kept(f"recorded guess {number}") for number in range(10)] == [(False, 0)] * 10
    assert [is_kept(what) for what in ("recorded", "recorded guess 10")] == [(False, 1)] * 2


def test_a_sealed_text_becomes_the_former_value_of_its_own_variable_only(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    console.apply(scoped_secret(f"{web}/moved", env={"KEY": canary.value("moved")}))
    console.wait_current(web, "moved")
    before = console.cluster.get("ssec", "moved", "-n", web)["spec"]
    (entry,) = before["env"]
    until = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def refusal(**fields: str) -> str:
        former = {"name": "PRINTED", "sealed": entry["sealed"], "expireTime": until, **fields}
        patch = json.dumps([{"op": "add", "path": "/spec/env/-", "value": former}])
        change = ("patch", "ssec", "moved", "-n", web, "--type=json", "-p", patch)
        result = console.cluster.kubectl(*change, check=False)
        assert result.returncode != 0, f"this was not refused: {fields}"
        assert not canary.find("the refusal", result.stderr)
        return result.stderr

    assert "must be the name of the variable `previousOf` and `_PREVIOUS`" in refusal(previousOf="KEY")
    assert "SealedForAnother" in refusal(name="PRINTED_PREVIOUS", previousOf="PRINTED")
    late = (datetime.now(UTC) + timedelta(days=91)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert "at most 90 days ahead" in refusal(name="KEY_PREVIOUS", previousOf="KEY", expireTime=late)
    assert console.cluster.get("ssec", "moved", "-n", web)["spec"] == before


def test_namespace_without_a_scope_path_gets_nothing(company: Company, console: Console):
    outside = company.outside()

    message = console.refusal(pod(f"{outside}/job", "aws"))

    assert "NamespaceOutside" in message
    assert names.ORGANIZATION_LABEL in message


def test_a_pod_without_the_label_is_left_alone(firm: tuple[Company, str], console: Console):
    _, web = firm
    body = pod(f"{web}/plain", "aws")
    del body["metadata"]["labels"]

    console.create(body)

    stored = console.cluster.get("pod", "plain", "-n", web)
    assert not named_secrets(stored)
    assert names.RESOLUTION_ANNOTATION not in stored["metadata"]["annotations"]


def is_owned(console: Console, namespace: str, uid: str) -> bool:
    """Tell whether a pod has a bundle of its own."""
    return any(
        body["metadata"]["labels"].get(names.POD_UID_LABEL) == uid for body in console.bundles(namespace).values()
    )


def review(operation: str, body: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an AdmissionReview that the API server never sent."""
    kind = body.get("kind", "Pod")
    group = names.GROUP if kind != "Pod" else ""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "00000000-0000-0000-0000-000000000000",
            "kind": {"group": group, "version": "v1", "kind": kind},
            "resource": {"group": group, "version": "v1", "resource": f"{kind.lower()}s"},
            "namespace": body.get("metadata", {}).get("namespace", ""),
            "name": body.get("metadata", {}).get("name", ""),
            "operation": operation,
            "userInfo": {"username": "system:masters", "groups": ["system:masters"]},
            "object": body,
            "oldObject": old,
        },
    }
