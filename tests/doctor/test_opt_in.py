"""The check of the opt-in: bodies as the API server has them, and what is said about them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scoped_secrets import names
from scoped_secrets.doctor.decoding import decode_labels
from scoped_secrets.doctor.facts import Facts, OptInFacts, Unreadable
from scoped_secrets.doctor.findings import Severity
from scoped_secrets.doctor.opt_in import check_opt_in
from scoped_secrets.doctor.opt_in_facts import (
    WarningPolicy,
    decode_opt_in,
    decode_policy,
    decode_sources,
    find_overlap,
)

POLICY = WarningPolicy("scoped-secrets", is_there=True)
UNREAD = Unreadable(needs="a right")
# The check needs nothing else.
FACTS = Facts(
    now=datetime(2026, 11, 1, tzinfo=UTC),
    version="0.1.0",
    namespace="scoped-secrets",
    server=UNREAD,
    crds=UNREAD,
    workloads=UNREAD,
    lease=UNREAD,
    hooks=(),
    shipped_hooks=(),
    served=None,
    published=UNREAD,
    namespaces=(),
    objects=(),
    rights=UNREAD,
    injection=UNREAD,
    opt_in=OptInFacts(POLICY),
)
GROUP = names.GROUP
LABEL = {names.INJECT_LABEL: "true"}
ANNOTATION = {names.SECRETS_ANNOTATION: "aws"}


def metadata(name="a", labels=None, annotations=None, **more):
    return {"namespace": "web", "name": name, "labels": labels or {}, "annotations": annotations or {}, **more}


def pod(labels=None, annotations=None, **more):
    return "Pod", {"metadata": metadata(labels=labels, annotations=annotations, **more)}


def job(outer=(None, None), inner=(None, None), **more):
    template = {"metadata": {"labels": inner[0], "annotations": inner[1]}}
    return "Job", {"metadata": metadata("a", *outer, **more), "spec": {"template": template}}


def cron_job(outer=(None, None), middle=(None, None), inner=(None, None)):
    template = {"metadata": {"labels": inner[0], "annotations": inner[1]}}
    job_template = {
        "metadata": {"labels": middle[0], "annotations": middle[1]},
        "spec": {"template": template},
    }
    return "CronJob", {"metadata": metadata("a", *outer), "spec": {"jobTemplate": job_template}}


def told(*objects, namespaces=()):
    """Return what is said about these objects, each as (message, remedy)."""
    decoded = tuple(filter(None, (decode_opt_in(kind, body) for kind, body in objects)))
    facts = replace(
        FACTS,
        opt_in=OptInFacts(POLICY, objects=(decoded,)),
        namespaces=tuple(decode_labels(each) for each in namespaces),
    )
    findings = list(check_opt_in(facts))
    assert {finding.severity for finding in findings} <= {Severity.WARNING}
    return [(finding.message, finding.remedy) for finding in findings]


@pytest.mark.parametrize(
    "given",
    [
        pod(),
        pod(LABEL, ANNOTATION),
        pod(LABEL, dict.fromkeys(names.POD_ANNOTATIONS, "x")),
        pod({names.INJECT_LABEL: "false"}, ANNOTATION),
        pod({f"x.{GROUP}/inject": "True"}, {f"{GROUP}.example/secrets": "aws"}),
        job(inner=(LABEL, ANNOTATION)),
        job((LABEL, ANNOTATION), (LABEL, ANNOTATION)),
        job(({names.INJECT_LABEL: "false"}, None)),
        cron_job((LABEL, ANNOTATION), (LABEL, ANNOTATION), (LABEL, ANNOTATION)),
    ],
)
def test_correct_object_has_no_finding(given):
    assert told(given) == []


def test_objects_without_metadata_have_no_finding():
    assert told(("Deployment", {"metadata": {"namespace": "web", "name": "a"}, "spec": {"template": {}}})) == []


@pytest.mark.parametrize("value", ["True", "yes", "1", ""])
def test_other_value_of_the_label_is_found(value):
    assert told(pod({names.INJECT_LABEL: value}, ANNOTATION)) == [
        (
            f"the label {names.INJECT_LABEL} has the value '{value}', which does not opt in: 'Pod web/a'",
            'write "true", in quotes and lower case, or "false" to opt out',
        )
    ]


@pytest.mark.parametrize(
    ("given", "what", "path"),
    [
        (job((LABEL, ANNOTATION)), f"{names.INJECT_LABEL}, {names.SECRETS_ANNOTATION}", "spec.template.metadata"),
        (job((LABEL, None), (None, ANNOTATION)), names.INJECT_LABEL, "spec.template.metadata"),
        (job((None, ANNOTATION), (LABEL, None)), names.SECRETS_ANNOTATION, "spec.template.metadata"),
        (job(({names.INJECT_LABEL: "True"}, None)), names.INJECT_LABEL, "spec.template.metadata"),
        (
            cron_job(middle=(LABEL, ANNOTATION)),
            f"{names.INJECT_LABEL}, {names.SECRETS_ANNOTATION}",
            "spec.jobTemplate.spec.template.metadata",
        ),
        (
            cron_job(outer=(LABEL, None), middle=(None, ANNOTATION)),
            f"{names.INJECT_LABEL}, {names.SECRETS_ANNOTATION}",
            "spec.jobTemplate.spec.template.metadata",
        ),
    ],
)
def test_opt_in_on_the_workload_instead_of_its_template_is_found(given, what, path):
    kind, _ = given

    assert told(given) == [
        (
            f"{what} is only on the workload, and pods get what is on their template: '{kind} web/a'",
            f"move it to {path}",
        )
    ]


def test_annotation_without_the_label_is_found():
    written = f"{names.SECRETS_ANNOTATION}, {names.HOME_ANNOTATION}"

    assert told(pod(None, {names.HOME_ANNOTATION: "/x", **ANNOTATION})) == [
        (
            f"{written} has no effect on pods without the label {names.INJECT_LABEL}: 'Pod web/a'",
            f'add the label {names.INJECT_LABEL}: "true", or remove the annotation',
        )
    ]


@pytest.mark.parametrize(
    ("labels", "annotations", "what", "remedy"),
    [
        (LABEL, {f"{GROUP}/secret": "aws"}, "annotation 'secret'", f"rename it to '{GROUP}/secrets', or remove it"),
        (LABEL, {f"{GROUP}/Secrets": "aws"}, "annotation 'Secrets'", f"rename it to '{GROUP}/secrets', or remove it"),
        (LABEL, {f"{GROUP}/environnement": "x"}, "annotation 'environnement'", f"rename it to '{GROUP}/environment', "),
        ({f"{GROUP}/injekt": "true"}, ANNOTATION, "label 'injekt'", f"rename it to '{names.INJECT_LABEL}', or remove"),
        (None, {**LABEL, **ANNOTATION}, "annotation 'inject'", "make it a label"),
        (ANNOTATION, None, "label 'secrets'", "make it an annotation"),
        ({f"{GROUP}/secret": "aws"}, None, "label 'secret'", f"make it an annotation with the name '{GROUP}/secrets'"),
        ({f"{GROUP}/project": "web"}, None, "label 'project'", "remove it; it belongs on namespaces"),
        (LABEL, {f"{GROUP}/zzz": "x"}, "annotation 'zzz'", f"remove it; known are {names.SECRETS_ANNOTATION}, "),
    ],
)
def test_unknown_name_is_found_with_the_nearest_known_one(labels, annotations, what, remedy):
    sort, _, name = what.partition(" ")

    ((message, said),) = told(pod(labels, annotations))
    assert message == f"the {sort} '{GROUP}/{name.strip(chr(39))}' has no meaning on pods: 'Pod web/a'"
    assert said.startswith(remedy)
    assert told(job(inner=(labels, annotations)))[0] == (message.replace("Pod web", "Job web"), said)


def test_the_resolution_is_known_and_never_suggested():
    assert told(pod(LABEL, {names.RESOLUTION_ANNOTATION: "{}"})) == []
    ((_, remedy),) = told(pod(LABEL, {f"{GROUP}/resolutio": "x"}))
    assert names.RESOLUTION_ANNOTATION not in remedy


@pytest.mark.parametrize(
    ("labels", "annotations", "remedy"),
    [
        ({f"{GROUP}/organisation": "acme"}, None, f"rename it to '{names.ORGANIZATION_LABEL}', or remove it"),
        (None, {f"{GROUP}/allow-environment": "x"}, f"rename it to '{names.ALLOW_ENVIRONMENTS_ANNOTATION}'"),
        (None, {names.PROJECT_LABEL: "web"}, "make it a label"),
        (LABEL, None, "remove it; it belongs on pods"),
        (None, {names.OPTIONAL_ANNOTATION: "x"}, "remove it; it belongs on pods"),
    ],
)
def test_unknown_name_on_a_namespace_is_found(labels, annotations, remedy):
    ((message, said),) = told(namespaces=[metadata("odd", labels, annotations)])

    assert message.endswith("has no meaning on namespaces: 'Namespace odd'")
    assert said.startswith(remedy)


def test_names_of_namespaces_are_known_there():
    labels = dict.fromkeys((names.ORGANIZATION_LABEL, names.PROJECT_LABEL, names.ENVIRONMENT_LABEL), "x")
    annotations = (names.ENVIRONMENT_ANNOTATION, names.ALLOW_ENVIRONMENTS_ANNOTATION, names.SECRETS_ANNOTATION)
    more = (names.HOME_ANNOTATION, names.RUN_AS_USER_ANNOTATION)

    assert told(namespaces=[metadata("fine", labels, dict.fromkeys((*annotations, *more), "x"))]) == []


@pytest.mark.parametrize(
    ("owner", "is_checked"),
    [
        ({"apiVersion": "batch/v1", "kind": "Job", "controller": True}, False),
        ({"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True}, False),
        ({"apiVersion": "batch/v1", "kind": "Job"}, True),
        ({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "controller": True}, True),
        ({"apiVersion": "batch.example/v1", "kind": "Job", "controller": True}, True),
    ],
)
def test_pods_of_workloads_are_reported_by_their_template_alone(owner, is_checked):
    assert bool(told(pod(None, ANNOTATION, ownerReferences=[owner]))) == is_checked


def test_same_mistake_is_one_finding_with_a_handful_of_names():
    pods = [("Pod", {"metadata": metadata(f"p{number}", None, ANNOTATION)}) for number in range(7)]

    ((message, _),) = told(*pods)

    assert message.endswith(": 'Pod web/p0', 'Pod web/p1', 'Pod web/p2', 'Pod web/p3', 'Pod web/p4' and 2 more")


def test_many_different_mistakes_are_few_findings():
    pods = [pod(LABEL, {f"{GROUP}/unknown-{number:02}": "x"}) for number in range(30)]

    found = told(*pods)

    assert len(found) == 11
    assert found[-1][0] == "20 more mistakes of this sort: 'Pod web/a'"


def injected(env_from, env=None, **container):
    variables = env or [
        {"name": "REGION", "valueFrom": {"secretKeyRef": {"name": "ssec-1", "key": "a"}}},
        {"name": "APP_KEY", "valueFrom": {"secretKeyRef": {"name": "ssec-1", "key": "b"}}},
        {"name": "SCOPED_SECRETS_1", "valueFrom": {"secretKeyRef": {"name": "ssec-1", "key": "c"}}},
        {"name": "FOREIGN", "valueFrom": {"secretKeyRef": {"name": "other", "key": "c"}}},
        {"name": "PLAIN", "value": "x"},
    ]
    main = {"name": "main", "env": variables, "envFrom": env_from, **container}
    return {
        "metadata": metadata(labels=LABEL),
        "spec": {"volumes": [{"name": names.VOLUME_NAME}], "containers": [main]},
    }


CONFIG_MAP = {"data": dict.fromkeys(("REGION", "KEY", "SCOPED_SECRETS_1", "FOREIGN", "PLAIN", "OTHER"), "value-9371")}


@pytest.mark.parametrize(
    ("env_from", "variables"),
    [
        ([{"configMapRef": {"name": "settings"}}], [("REGION",)]),
        ([{"configMapRef": {"name": "settings"}, "prefix": "APP_"}], [("APP_KEY",)]),
        ([{"configMapRef": {"name": "settings"}, "prefix": "X_"}], []),
        ([{"secretRef": {"name": "settings"}}], []),
        (None, []),
    ],
)
def test_variables_from_a_config_map_and_from_the_bundle_are_found(env_from, variables):
    sources = list(decode_sources(injected(env_from)))
    overlaps = [overlap for source in sources if (overlap := find_overlap(source, CONFIG_MAP)) is not None]

    assert [overlap.variables for overlap in overlaps] == variables
    assert "value-9371" not in repr(overlaps)


def test_pod_without_the_volume_and_missing_config_map_have_no_overlap():
    body = injected([{"configMapRef": {"name": "settings"}}])
    (source,) = decode_sources(body)
    del body["spec"]["volumes"]

    assert list(decode_sources(body)) == []
    assert find_overlap(source, None) is None
    assert find_overlap(source, {}) is None


def test_overlap_is_a_finding_for_all_pods_with_the_same_one():
    overlaps = []
    for name in ("a", "b"):
        body = injected([{"configMapRef": {"name": "settings"}}])
        body["metadata"]["name"] = name
        overlaps += [find_overlap(source, CONFIG_MAP) for source in decode_sources(body)]
    facts = replace(FACTS, opt_in=OptInFacts(POLICY, overlaps=(tuple(filter(None, overlaps)),)))

    (finding,) = check_opt_in(facts)

    assert finding.severity is Severity.WARNING
    assert finding.message == (
        "the value of the bundle wins over that of the ConfigMap 'web/settings' for 'REGION' in the container 'main': "
        "'Pod web/a', 'Pod web/b'"
    )


@pytest.mark.parametrize(
    ("policy", "binding", "words"),
    [
        (None, None, "the ValidatingAdmissionPolicy 'x' does not exist"),
        ({}, None, "the ValidatingAdmissionPolicyBinding 'x' does not exist or does not warn"),
        ({}, {"spec": {"policyName": "y", "validationActions": ["Warn"]}}, "does not exist or does not warn"),
        ({}, {"spec": {"policyName": "x", "validationActions": ["Audit"]}}, "does not exist or does not warn"),
        ({}, {"spec": {"policyName": "x", "validationActions": ["Warn", "Audit"]}}, None),
    ],
)
def test_policy_that_does_not_warn_is_found(policy, binding, words):
    bound = {"spec": {"policyName": "x", "validationActions": ["Warn"]}}
    policy = decode_policy("x", policy, {"x": binding, "x-workloads": bound})
    found = list(check_opt_in(replace(FACTS, opt_in=OptInFacts(policy))))

    assert [finding.severity for finding in found] == ([] if words is None else [Severity.WARNING])
    assert all(words is not None and words in finding.message for finding in found)


def test_facts_that_could_not_be_read_are_unchecked():
    unread = Unreadable(needs="list on jobs.batch")
    facts = OptInFacts(unread, objects=(unread, ()), overlaps=(Unreadable(failure="it failed"),), not_compared=3)

    found = list(check_opt_in(replace(FACTS, opt_in=facts, namespaces=unread)))

    assert {finding.severity for finding in found} == {Severity.UNCHECKED}
    assert [finding.message.split(": ")[-1] for finding in found] == [
        "needs list on jobs.batch",
        "needs list on jobs.batch",
        "it failed",
        "3 are not checked",
    ]
