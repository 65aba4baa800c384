"""Whether a session in a pod that holds bundles is denied (DESIGN section 6)."""

# ruff: noqa: S106 - `secret_name` is a name

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import NAMESPACES, Store, definitions, examples, policies, stores
from tests.support.builders import definition, inventory, pod_body, policy, scope_labels, selector

from scoped_secrets import names
from scoped_secrets.core.entry import EntryKind
from scoped_secrets.core.injection.bundle_entry import bundle_of, data_key
from scoped_secrets.core.injection.held_bundles import HeldBundles, held_bundles
from scoped_secrets.core.interactive import find_interactive_denial
from scoped_secrets.core.pod import parse_pod
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.interactive import Interaction, InteractiveAccess
from scoped_secrets.core.policy.subjects import Requester, Subject, SubjectKind
from scoped_secrets.core.resolution.definitions import Entry, SealedSource
from scoped_secrets.core.scope.slot import Scope

BASE = f"{names.BUNDLE_PREFIX}{'a' * 32}-0"
DORA = Requester("dora", frozenset({"developers"}))
DENY = InteractiveAccess(frozenset(Interaction))
PLACES = {
    "acme": {"labels": scope_labels("acme")},
    "web": {
        "labels": scope_labels("acme", "web"),
        "annotations": {names.ALLOW_ENVIRONMENTS_ANNOTATION: "review/*"},
    },
    "web-production": {"labels": scope_labels("acme", "web", "production")},
}


def denial(given_policies, *, held=("aws",), known=(), namespace="web", unknown=False, requester=DORA, **annotations):
    snapshot = inventory(PLACES, known, given_policies)
    binding = snapshot.binding(namespace)
    assert binding is not None
    pod = parse_pod(
        pod_body(namespace=namespace, annotations={f"{names.GROUP}/{k}": v for k, v in annotations.items()})
    )
    bundles = HeldBundles(frozenset(held), has_unknown=unknown)
    return find_interactive_denial(Interaction.EXEC, requester, pod, bundles, binding, snapshot)


def denier(location="acme/p", **fields):
    return policy(location, **{"interactive": DENY, **fields})


WIDE = definition("acme/aws")
NARROW = definition("web/aws", scope=Scope.PROJECT, labels={"tier": "gold"})
PRODUCTION = definition("web-production/aws", scope=Scope.ENVIRONMENT, environment="production")
REVIEW = definition("web/aws-review", secret_name="aws", scope=Scope.ENVIRONMENT, environment="review/*")


@pytest.mark.parametrize(
    ("sentence", "policies", "options", "policy_and_bundle"),
    [
        ("no policy denies nothing", [], {"known": [WIDE]}, None),
        ("a policy without a word about sessions", [policy("acme/p")], {"known": [WIDE]}, None),
        ("another session is denied",
         [denier(interactive=InteractiveAccess(frozenset({Interaction.ATTACH})))], {"known": [WIDE]}, None),
        ("the bundle is named", [denier(secret_names=("a*",))], {"known": [WIDE]}, ("acme/p", "aws")),
        ("another bundle is named", [denier(secret_names=("db",))], {"known": [WIDE]}, None),
        ("one bundle of several is enough",
         [denier(secret_names=("db",))], {"held": ("aws", "db"), "known": [WIDE]}, ("acme/p", "db")),
        ("a shadowed definition counts", [denier(scopes=(Scope.ORGANIZATION,))],
         {"known": [WIDE, NARROW]}, ("acme/p", "aws")),
        ("labels of any candidate count", [denier(selector=selector(tier="gold"))],
         {"known": [WIDE, NARROW]}, ("acme/p", "aws")),
        ("a scope that no candidate has", [denier(scopes=(Scope.PROJECT,))], {"known": [WIDE]}, None),
        ("a deleted definition counts for a name", [denier(secret_names=("aws",))], {}, ("acme/p", "aws")),
        ("a deleted definition counts for a scope", [denier(scopes=(Scope.PROJECT,))], {}, ("acme/p", "aws")),
        ("a policy of the project by name, with the organization's definition left",
         [denier("web/p", secret_names=("aws",))], {"known": [WIDE]}, ("web/p", "aws")),
        ("by name, a policy of the project does not reach production", [denier("web/p", secret_names=("aws",))],
         {"known": [WIDE], "namespace": "web-production"}, None),
        ("production's policy in production", [denier("web-production/p", secret_names=("*",))],
         {"known": [PRODUCTION], "namespace": "web-production"}, ("web-production/p", "aws")),
        ("production's policy does not reach pods that cannot run for it",
         [denier("web-production/p", secret_names=("*",))], {"known": [WIDE, PRODUCTION]}, None),
        ("it does when the pod says so", [denier("web-production/p", secret_names=("*",))],
         {"known": [PRODUCTION], "environment": "production"}, ("web-production/p", "aws")),
        ("an allowed environment counts without the annotation", [denier(scopes=(Scope.ENVIRONMENT,))],
         {"known": [WIDE, REVIEW]}, ("acme/p", "aws")),
        ("an unknown bundle counts for every policy", [denier(secret_names=("db",))],
         {"held": (), "unknown": True, "known": [WIDE]}, ("acme/p", None)),
        ("a policy of another place never counts", [denier("elsewhere/p")], {"known": [WIDE], "unknown": True}, None),
    ],
)  # fmt: skip
def test_a_policy_that_may_govern_a_held_bundle_denies(sentence, policies, options, policy_and_bundle):
    found = denial(policies, **options)

    assert (found and (found.policy, found.bundle)) == policy_and_bundle


def test_a_granted_environment_counts_even_when_its_time_has_passed():
    grant = policy(
        "acme/grant",
        rules=(Rule("r", environments=("production",), service_accounts=("default",), namespaces=("never",)),),
    )
    strict = denier("web-production/p", secret_names=("aws",))

    assert denial([grant, strict], known=[WIDE, PRODUCTION]) is not None


@pytest.mark.parametrize(
    ("subject", "requester"),
    [
        (Subject(SubjectKind.USER, "dora"), DORA),
        (Subject(SubjectKind.GROUP, "developers"), DORA),
        (Subject(SubjectKind.SERVICE_ACCOUNT, "runner", "ci"), Requester("system:serviceaccount:ci:runner")),
    ],
)
def test_an_exemption_holds_for_its_policy_and_for_no_other(subject, requester):
    exempting = denier("acme/a", interactive=InteractiveAccess(frozenset(Interaction), (subject,)))

    assert denial([exempting], known=[WIDE], requester=requester) is None
    found = denial([exempting, denier("acme/b")], known=[WIDE], requester=requester)
    assert found is not None
    assert found.policy == "acme/b"


@pytest.mark.parametrize(
    ("subject", "requester"),
    [
        (Subject(SubjectKind.USER, "developers"), DORA),
        (Subject(SubjectKind.GROUP, "dora"), DORA),
        (Subject(SubjectKind.SERVICE_ACCOUNT, "runner", "ci"), Requester("runner", frozenset({"ci"}))),
    ],
)
def test_a_name_of_another_kind_exempts_no_one(subject, requester):
    exempting = denier(interactive=InteractiveAccess(frozenset(Interaction), (subject,)))

    assert denial([exempting], known=[WIDE], requester=requester) is not None


ACCESSES = st.none() | st.builds(
    InteractiveAccess,
    st.frozensets(st.sampled_from(tuple(Interaction))),
    st.sampled_from(((), (Subject(SubjectKind.USER, "dora"),), (Subject(SubjectKind.GROUP, "x"),))),
)
SPEAKING = st.builds(lambda each, access: dataclasses.replace(each, interactive=access), policies(), ACCESSES)


@examples(2)
@given(
    stores(),
    st.lists(SPEAKING, max_size=4, unique_by=lambda each: each.location),
    SPEAKING,
    st.frozensets(st.sampled_from(("aws", "db", "gone"))),
    st.booleans(),
    st.sampled_from([name for name in NAMESPACES if name != "outside"]),
    st.sampled_from(tuple(Interaction)),
)
def test_adding_a_policy_never_allows_more(store, some, another, bundles, unknown, namespace, interaction):
    some = [each for each in some if each.location != another.location]
    pod = parse_pod(pod_body(namespace=namespace))
    held = HeldBundles(bundles, has_unknown=unknown)

    def is_denied(given_policies):
        snapshot = Store(store.definitions, tuple(given_policies)).inventory()
        binding = snapshot.binding(namespace)
        assert binding is not None
        return find_interactive_denial(interaction, DORA, pod, held, binding, snapshot) is not None

    assert is_denied([*some, another]) >= is_denied(some)


@examples(1)
@given(st.lists(definitions(), min_size=1, max_size=4, unique_by=lambda each: each.location), st.data())
def test_removing_definitions_never_lifts_a_policy_by_name(known, data):
    strict = denier(secret_names=("aws",))
    rest = data.draw(st.lists(st.sampled_from(known), unique_by=lambda each: each.location))

    assert denial([strict], known=[each for each in known if each.namespace in PLACES]) is not None
    assert denial([strict], known=[each for each in rest if each.namespace in PLACES]) is not None


def reference(key="aws.KEY", name=BASE):
    return {"name": "A", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def volume(*keys, name=BASE):
    items = [{"key": key, "path": f"p{index}"} for index, key in enumerate(keys)]
    return {"name": "v", "projected": {"sources": [{"secret": {"name": name, **({"items": items} if items else {})}}]}}


@pytest.mark.parametrize(
    ("spec", "expected", "has_unknown"),
    [
        ({"containers": [{"name": "c", "env": [{"name": "A", "value": BASE}]}]}, set(), False),
        ({"containers": [{"name": "c", "env": [reference(name="db")]}]}, set(), False),
        ({"volumes": [volume("resolution.json")]}, set(), False),
        ({"containers": [{"name": "c", "env": [reference()]}]}, {"aws"}, False),
        ({"initContainers": [{"name": "c", "env": [reference("a.b-c.KEY")]}]}, {"a.b-c"}, False),
        ({"ephemeralContainers": [{"name": "c", "env": [reference()]}]}, {"aws"}, False),
        ({"volumes": [volume("resolution.json", "x.file-0123456789ab", "y.env-0123456789ab")]}, {"x", "y"}, False),
        ({"volumes": [volume()]}, set(), True),
        ({"volumes": [{"name": "v", "secret": {"secretName": BASE}}]}, set(), True),
        ({"volumes": [{"name": "v", "secret": {"secretName": BASE, "items": [{"key": "x.A"}]}}]}, {"x"}, False),
        ({"volumes": [{"name": "v", "csi": {"nodePublishSecretRef": {"name": BASE}}}]}, set(), True),
        ({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": BASE}}]}]}, set(), True),
        ({"containers": [{"name": "c", "env": [reference("nodots")]}]}, set(), True),
        ({"containers": [{"name": "ssec-c"}]}, set(), False),
    ],
)  # fmt: skip
def test_references_of_the_spec_tell_which_bundles_a_pod_holds(spec, expected, has_unknown):
    assert held_bundles(spec) == HeldBundles(frozenset(expected), has_unknown=has_unknown)
    assert bool(held_bundles(spec)) is bool(expected or has_unknown)


@given(
    st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", fullmatch=True).filter(str.isascii),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,254}", fullmatch=True).filter(str.isascii),
    st.sampled_from(EntryKind),
)
def test_every_data_key_tells_its_bundle(bundle, name, kind):
    source = SealedSource("", 0)
    entry = Entry.variable(name, source) if kind is EntryKind.ENV else Entry.file(f"/{name}", 0o600, source, None)

    assert bundle_of(data_key(bundle, entry)) == bundle
