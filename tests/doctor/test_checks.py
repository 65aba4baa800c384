"""Each check as a table: what is otherwise than in a sound installation, and what is said about it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scoped_secrets import names
from scoped_secrets.admission.webhooks import WEBHOOKS, webhook_name
from scoped_secrets.doctor.checks import CHECKS, examine
from scoped_secrets.doctor.facts import (
    Crd,
    Facts,
    Hook,
    Hooks,
    Injected,
    Injection,
    Lease,
    NamespaceLabels,
    OptInFacts,
    Published,
    Reach,
    Readiness,
    RightAnswer,
    Served,
    ServerVersion,
    Unreadable,
    Workload,
)
from scoped_secrets.doctor.findings import Severity
from scoped_secrets.doctor.gather import shipped_hooks
from scoped_secrets.doctor.guard import GuardPolicy
from scoped_secrets.doctor.injection import read_answer, trial_pod
from scoped_secrets.doctor.opt_in_facts import WarningPolicy
from scoped_secrets.doctor.rights import Right

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ERROR, WARNING, UNCHECKED = Severity.ERROR, Severity.WARNING, Severity.UNCHECKED

# Two webhooks ask about sessions: one for each label that gives a namespace a scope path.
NAMES = {webhook_name(path): path for path in WEBHOOKS}
# Answered for the configurations of earlier releases only.
del NAMES["pods.validate.scopedsecrets.dev"]
NAMES["interactive-by-project.validate.scopedsecrets.dev"] = "/validate/interactive"


def workload(component, **given):
    fields = {
        "component": component,
        "name": f"scoped-secrets-{component}",
        "wanted": 2,
        "ready": 2,
        "is_rolled_out": True,
        "image": "registry.example:5000/scoped-secrets:0.1.0",
        "account": f"scoped-secrets-{component}",
        "arguments": (component, "--organization=acme"),
    }
    return Workload(**fields | given)


def hooks(verb, **given):
    kind = {"mutate": "MutatingWebhookConfiguration", "validate": "ValidatingWebhookConfiguration"}[verb]
    fields: dict[str, Any] = {
        "is_strict": True,
        "is_selective": True,
        "has_bundle": True,
        "bundle_end": NOW + 900 * DAY,
    } | given
    found = [Hook(name, path, **fields) for name, path in NAMES.items() if path.startswith(f"/{verb}/")]
    return Hooks(kind, "scoped-secrets", tuple(found))


def without(verb, name):
    given = hooks(verb)
    return replace(given, webhooks=tuple(hook for hook in given.webhooks if hook.name != name))


RIGHT = Right("create", "", "secrets")
SOUND = Facts(
    now=NOW,
    version="0.1.0",
    namespace="scoped-secrets",
    server=ServerVersion(1, 36),
    crds=(Crd("scopedsecrets.scopedsecrets.dev", is_there=True, is_established=True, is_ours=True),),
    workloads=(workload("controller"), workload("admission")),
    lease=Lease("controller-1_ab", 1.5, 15.0),
    hooks=(hooks("mutate"), hooks("validate")),
    shipped_hooks=shipped_hooks(),
    served=Served("https://x.y.svc:443", Reach.TRUSTED, end=NOW + 60 * DAY, checksum="c1"),
    published=Published(is_there=True, checksum="c1", key_created=NOW - 10 * DAY, cluster_id="id"),
    namespaces=(
        NamespaceLabels("plain"),
        NamespaceLabels("acme", organization="acme"),
        NamespaceLabels("web", organization="acme", project="web", environment="production", allows_environments=True),
    ),
    objects=((Readiness("ScopedSecret", "web/aws", "", is_observed=True, age=100.0),), ()),
    rights=(RightAnswer("scoped-secrets-controller", RIGHT, is_allowed=True),),
    injection=Injection("web", Injected.YES),
    opt_in=OptInFacts(WarningPolicy("scoped-secrets", is_there=True)),
    guard=(GuardPolicy("x-pods", "guard.pods.enabled", is_there=True, is_bound=True, is_ours=True),),
)


def lacking(**given):
    return {"objects": ((Readiness("ScopedSecret", "web/aws", **given),), ())}


def only(**labels):
    return {"namespaces": (NamespaceLabels("acme", organization="acme"), NamespaceLabels("odd", **labels))}


def guard(**given):
    return {"guard": (GuardPolicy("x-pods", "guard.pods.enabled", **given),)}


TABLE = {
    "a policy of the guard is gone": ("guard", WARNING, "'x-pods' of the guard does not exist", guard(is_there=False)),
    "a policy of the guard denies nothing": (
        "guard",
        WARNING,
        "the ValidatingAdmissionPolicyBinding 'x-pods' of the guard does not exist or does not deny",
        guard(is_there=True),
    ),
    "a policy of the guard says something else": (
        "guard",
        WARNING,
        "'x-pods' of the guard differs from the one of this version",
        guard(is_there=True, is_bound=True),
    ),
    "the policy about pods that were not injected is gone": (
        "guard",
        ERROR,
        "the ValidatingAdmissionPolicy 'x-injected' does not exist",
        {"guard": (GuardPolicy("x-injected", "", is_there=False),)},
    ),
    "the policy about pods that were not injected denies nothing": (
        "guard",
        ERROR,
        "the ValidatingAdmissionPolicyBinding 'x-injected' does not exist or does not deny",
        {"guard": (GuardPolicy("x-injected", "", is_there=True),)},
    ),
    "a pod is denied because it is not injected": (
        "injection",
        ERROR,
        "is denied because no webhook of the operator injects it",
        {"injection": Injection("web", Injected.REFUSED)},
    ),
    "the guard may not be read": ("guard", UNCHECKED, "needs get", {"guard": Unreadable(needs="get on policies")}),
    "no policy that warns": (
        "opt-in",
        WARNING,
        "the ValidatingAdmissionPolicy 'scoped-secrets' does not exist",
        {"opt_in": OptInFacts(WarningPolicy("scoped-secrets", is_there=False))},
    ),
    "an API server that is too old": ("versions", ERROR, "Kubernetes 1.30", {"server": ServerVersion(1, 30)}),
    "another version runs": (
        "versions",
        WARNING,
        "the admission is version 0.2.0",
        {"workloads": (workload("controller"), workload("admission", image="scoped-secrets:v0.2.0"))},
    ),
    "a CRD that is missing": ("crds", ERROR, "does not exist", {"crds": (Crd("a.b", is_there=False),)}),
    "a CRD that is not served": ("crds", ERROR, "not Established", {"crds": (Crd("a.b", is_there=True),)}),
    "a CRD of another version": (
        "crds",
        WARNING,
        "another schema",
        {"crds": (Crd("a.b", is_there=True, is_established=True),)},
    ),
    "no Deployment": ("workloads", ERROR, "no Deployment of the controller", {"workloads": (workload("admission"),)}),
    "no ready pod": (
        "workloads",
        ERROR,
        "no ready pod",
        {"workloads": (workload("controller", ready=0), workload("admission"))},
    ),
    "a Deployment that is switched off": (
        "workloads",
        ERROR,
        "scaled to 0",
        {"workloads": (workload("controller", wanted=0, ready=0), workload("admission"))},
    ),
    "a pod too few": (
        "workloads",
        WARNING,
        "1 ready pods of 2",
        {"workloads": (workload("controller"), workload("admission", ready=1))},
    ),
    "a roll-out": (
        "workloads",
        WARNING,
        "being rolled out",
        {"workloads": (workload("controller", is_rolled_out=False), workload("admission"))},
    ),
    "no Lease": ("lease", ERROR, "no controller holds the Lease", {"lease": None}),
    "a Lease without a holder": ("lease", ERROR, "no controller holds the Lease", {"lease": Lease("", 1.0, 15.0)}),
    "a Lease that nobody renews": ("lease", ERROR, "76 seconds ago", {"lease": Lease("x", 75.5, 15.0)}),
    "no webhook configuration": (
        "webhooks",
        ERROR,
        "the MutatingWebhookConfiguration 'scoped-secrets' does not exist",
        {"hooks": (replace(hooks("mutate"), webhooks=None), hooks("validate"))},
    ),
    "a webhook that is missing": (
        "webhooks",
        ERROR,
        "lacks the webhook 'secretpolicies.validate.scopedsecrets.dev'",
        {"hooks": (hooks("mutate"), without("validate", "secretpolicies.validate.scopedsecrets.dev"))},
    ),
    "webhooks that let pass what they should refuse": (
        "webhooks",
        WARNING,
        "failurePolicy Ignore",
        {"hooks": (hooks("mutate", is_strict=False), hooks("validate"))},
    ),
    "webhooks that see every pod": (
        "webhooks",
        WARNING,
        "did not opt in",
        {"hooks": (hooks("mutate", is_selective=False), hooks("validate"))},
    ),
    "no caBundle": (
        "webhooks",
        ERROR,
        "has no caBundle",
        {"hooks": (hooks("mutate", has_bundle=False), hooks("validate"))},
    ),
    "a caBundle that has ended": (
        "webhooks",
        ERROR,
        "expired on 2026-10-31",
        {"hooks": (hooks("mutate", bundle_end=NOW - DAY), hooks("validate"))},
    ),
    "a caBundle of nonsense": (
        "webhooks",
        ERROR,
        "holds no certificate",
        {"hooks": (hooks("mutate", bundle_end=None), hooks("validate"))},
    ),
    "a server that is out of reach": (
        "certificate",
        UNCHECKED,
        "cannot be reached from here",
        {"served": Served("https://x", Reach.UNREACHABLE)},
    ),
    "a certificate that is not trusted": (
        "certificate",
        ERROR,
        "does not trust",
        {"served": Served("https://x", Reach.UNTRUSTED, "it has expired")},
    ),
    "a certificate that ends soon": (
        "certificate",
        WARNING,
        "expires in 6 days",
        {"served": Served("https://x", Reach.TRUSTED, end=NOW + 6.5 * DAY)},
    ),
    "no published key": ("keys", ERROR, "does not exist", {"published": Published(is_there=False)}),
    "a published key that is none": ("keys", ERROR, "no sealing certificate", {"published": Published(is_there=True)}),
    "a published key that admission does not use": (
        "keys",
        WARNING,
        "other keys than those that admission seals for",
        {"served": Served("https://x", Reach.TRUSTED, checksum="c2")},
    ),
    "an old key": (
        "keys",
        WARNING,
        "61 days old",
        {"published": Published(is_there=True, checksum="c1", key_created=NOW - 61 * DAY)},
    ),
    "a right that is missing": (
        "rights",
        ERROR,
        "'scoped-secrets/scoped-secrets-controller' lacks create on secrets",
        {"rights": (RightAnswer("scoped-secrets-controller", RIGHT, is_allowed=False),)},
    ),
    "an empty label": (
        "namespaces",
        WARNING,
        "empty label scopedsecrets.dev/project",
        only(organization="acme", project=""),
    ),
    "an environment of no project": (
        "namespaces",
        WARNING,
        "scopedsecrets.dev/environment and no scopedsecrets.dev/project",
        only(organization="acme", environment="production"),
    ),
    "allowed environments of no project": (
        "namespaces",
        WARNING,
        "allow-environments and no",
        only(organization="acme", allows_environments=True),
    ),
    "a project of no named organization": ("namespaces", WARNING, "so that it belongs to 'acme'", only(project="web")),
    "a lost key": ("objects", ERROR, "reason KeyLost: 'web/aws'", lacking(reason="KeyLost", is_observed=True, age=1.0)),
    "a definition that is not Ready": (
        "objects",
        WARNING,
        "reason SourceMissing: 'web/aws'",
        lacking(reason="SourceMissing", is_observed=True, age=1.0),
    ),
    "a definition that nobody has looked at": (
        "objects",
        WARNING,
        "has not observed the latest generation",
        lacking(reason="", is_observed=False, age=61.0),
    ),
    "a pod that gets nothing": (
        "injection",
        ERROR,
        "without its secrets",
        {"injection": Injection("web", Injected.NO)},
    ),
    "a webhook that cannot be asked": (
        "injection",
        ERROR,
        "the webhook for a pod with the label scopedsecrets.dev/inject in namespace 'web': nothing listens there",
        {"injection": Injection("web", Injected.NOT_ANSWERED, "nothing listens there")},
    ),
    "a webhook that fails": (
        "injection",
        ERROR,
        "denied with reason InternalError",
        {"injection": Injection("web", Injected.DENIED, "InternalError")},
    ),
    "a chosen namespace that stands outside": (
        "injection",
        WARNING,
        "denied with reason NamespaceOutside",
        {"injection": Injection("web", Injected.DENIED, "NamespaceOutside", is_chosen=True)},
    ),
    "something else that refuses pods": (
        "injection",
        UNCHECKED,
        "denied by another component: a quota",
        {"injection": Injection("web", Injected.STOPPED, "a quota")},
    ),
}

UNREADABLE = Unreadable(needs="list on things")
FAILED = 'Internal error occurred: failed calling webhook "pods.mutate.scopedsecrets.dev": Post "https://x": '


def findings(facts):
    return [(check, finding) for check, found in examine(facts).items() for finding in found]


def test_nothing_is_found_in_a_sound_installation():
    assert findings(SOUND) == []


@pytest.mark.parametrize("story", TABLE)
def test_what_is_wrong_is_found_by_one_check_with_its_remedy(story):
    check, severity, words, otherwise = TABLE[story]

    found = findings(replace(SOUND, **otherwise))

    assert {(name, finding.severity) for name, finding in found} == {(check, severity)}
    assert any(words in finding.message for _, finding in found)
    assert all(finding.remedy and finding.remedy != finding.message for _, finding in found)


def test_every_check_has_a_story():
    assert {check for check, *_ in TABLE.values()} == CHECKS.keys()


@pytest.mark.parametrize(
    ("check", "otherwise"),
    [
        ("versions", {"server": UNREADABLE}),
        ("crds", {"crds": UNREADABLE}),
        ("workloads", {"workloads": UNREADABLE}),
        ("lease", {"lease": UNREADABLE}),
        ("webhooks", {"hooks": (UNREADABLE, hooks("validate"))}),
        ("keys", {"published": UNREADABLE}),
        ("rights", {"rights": UNREADABLE}),
        ("namespaces", {"namespaces": UNREADABLE}),
        ("objects", {"objects": (UNREADABLE, ())}),
        ("injection", {"injection": UNREADABLE}),
    ],
)
def test_what_may_not_be_read_is_said_to_be_unchecked_with_the_right_that_is_missing(check, otherwise):
    ((name, finding),) = findings(replace(SOUND, **otherwise))

    assert (name, finding.severity) == (check, UNCHECKED)
    assert "not checked: needs list on things" in finding.message


def test_who_may_read_nothing_hears_so_of_every_check():
    fields = ("server", "crds", "workloads", "lease", "published", "rights", "namespaces", "injection")
    nothing: dict[str, Any] = dict.fromkeys(fields, UNREADABLE)
    facts = replace(SOUND, hooks=(UNREADABLE,) * 2, objects=(UNREADABLE,) * 2, served=None, **nothing)

    assert {finding.severity for _, finding in findings(facts)} == {UNCHECKED}


def test_a_new_definition_is_given_a_moment():
    assert findings(replace(SOUND, **lacking(reason="", is_observed=False, age=5.0))) == []


def test_a_key_that_is_never_rotated_on_purpose_is_never_too_old():
    never = (workload("controller", arguments=("controller", "--key-rotation-days", "0")), workload("admission"))
    old = Published(is_there=True, checksum="c1", key_created=NOW - 900 * DAY)

    assert findings(replace(SOUND, workloads=never, published=old)) == []


def test_projects_without_organizations_are_fine_where_nobody_names_one():
    assert findings(replace(SOUND, namespaces=(NamespaceLabels("web", project="web"),))) == []


def test_a_namespace_that_nobody_chose_may_stand_outside():
    assert findings(replace(SOUND, injection=Injection("default", Injected.DENIED, "NamespaceOutside"))) == []


def test_long_lists_are_cut():
    many = tuple(Readiness("ScopedSecret", f"web/s{n}", "Invalid", is_observed=True, age=99.0) for n in range(8))

    ((_, finding),) = findings(replace(SOUND, objects=(many, ())))
    assert finding.message.endswith("'web/s4' and 3 more")


@pytest.mark.parametrize(
    ("image", "is_told"),
    [
        ("scoped-secrets:0.1.0", False),
        ("host:5000/a/scoped-secrets:0.3.0", True),
        ("host:5000/scoped-secrets", False),
        ("scoped-secrets:latest", False),
        ("scoped-secrets@sha256:0123", False),
        ("scoped-secrets:0.3.0@sha256:0123", True),
    ],
)
def test_versions_are_read_from_tags(image, is_told):
    found = findings(replace(SOUND, workloads=(workload("controller", image=image), workload("admission"))))

    assert bool(found) == is_told


def answered(status: int, body: dict[str, Any]) -> Injection:
    """Return what an answer of the API server says about the injection, which it must say something about."""
    injection = read_answer("web", status, body)
    assert isinstance(injection, Injection), injection
    return injection


class TestAnswers:
    """What the API server says to a pod that is created as a dry run."""

    def test_a_pod_with_our_volume_is_injected(self):
        body = {"spec": {"volumes": [{"name": names.VOLUME_NAME}]}}

        assert answered(201, body).outcome is Injected.YES

    def test_a_pod_without_it_is_not(self):
        assert answered(201, trial_pod("x")).outcome is Injected.NO

    @pytest.mark.parametrize(
        ("message", "outcome", "words"),
        [
            (
                'admission webhook "pods.mutate.scopedsecrets.dev" denied the request: NamespaceOutside: a sentence',
                Injected.DENIED,
                "NamespaceOutside",
            ),
            (
                FAILED + "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Injected.NOT_ANSWERED,
                "does not trust",
            ),
            (
                FAILED + "no endpoints available",
                Injected.NOT_ANSWERED,
                "no pod",
            ),
            (
                FAILED + "dial tcp 127.0.0.1:1: connect: connection refused",
                Injected.NOT_ANSWERED,
                "nothing listens",
            ),
            (
                FAILED + "context deadline exceeded",
                Injected.NOT_ANSWERED,
                "in time",
            ),
            (
                "ValidatingAdmissionPolicy 'x-injected' with binding 'x-injected' denied request: NotInjected: words",
                Injected.REFUSED,
                "",
            ),
            ("ValidatingAdmissionPolicy 'y' with binding 'y' denied request: no", Injected.STOPPED, "answers 403"),
            ('admission webhook "a.b.example" denied the request: no', Injected.STOPPED, "the webhook 'a.b.example'"),
            ('pods "x" is forbidden: violates PodSecurity "restricted"', Injected.STOPPED, "Pod Security"),
            ('pods "x" is forbidden: exceeded quota: q', Injected.STOPPED, "quota"),
        ],
    )
    def test_refusals_are_told_apart_and_not_repeated(self, message, outcome, words):
        answer = answered(403, {"message": message})

        assert answer.outcome is outcome
        assert words in answer.reason
        assert message not in answer.reason

    def test_who_may_not_create_pods_hears_which_right_is_missing(self):
        message = 'pods is forbidden: User "x" cannot create resource "pods" in API group "" in the namespace "web"'

        assert read_answer("web", 403, {"message": message}) == Unreadable(needs="create on pods in namespace 'web'")


class TestShippedWebhooks:
    """The expected webhooks are those of the manifests, whatever they are."""

    def test_they_are_the_webhooks_that_admission_answers(self):
        shipped = {hook.name: hook.path for each in shipped_hooks() for hook in each.webhooks or ()}

        assert shipped == NAMES

    def test_a_webhook_added_to_the_manifests_is_expected(self):
        added = Hook(
            "x.mutate.example", "/mutate/x", is_strict=True, is_selective=False, has_bundle=True, bundle_end=None
        )
        mutate, validate = shipped_hooks()
        changed = replace(mutate, webhooks=(*(mutate.webhooks or ()), added))

        ((check, finding),) = findings(replace(SOUND, shipped_hooks=(changed, validate)))
        assert (check, finding.severity) == ("webhooks", ERROR)
        assert "lacks the webhook 'x.mutate.example'" in finding.message

    def test_a_changed_path_is_found(self):
        mutate, validate = hooks("mutate"), hooks("validate")
        moved = replace(mutate, webhooks=tuple(replace(hook, path="/elsewhere") for hook in mutate.webhooks or ()))

        found = findings(replace(SOUND, hooks=(moved, validate)))
        assert [finding.severity for _, finding in found] == [ERROR] * len(moved.webhooks)
        assert "is not called at /mutate/pods" in found[0][1].message

    def test_a_webhook_that_ships_with_failure_policy_ignore_may_have_it(self):
        mutate, validate = shipped_hooks()
        lax = replace(mutate, webhooks=tuple(replace(hook, is_strict=False) for hook in mutate.webhooks or ()))
        present = (hooks("mutate", is_strict=False), hooks("validate"))

        assert findings(replace(SOUND, shipped_hooks=(lax, validate), hooks=present)) == []
