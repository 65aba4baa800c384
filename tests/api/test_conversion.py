"""Models become the core's types: complete, small, and unusable rather than absent when something is wrong."""

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.api.support import CANARY, changed, full_policy, minimal_secret, sealed, stored_secret
from tests.crypto.support import CONTEXT

from scoped_secrets.api.parsing import parse_scoped_secret, parse_secret_policy, to_definition, to_policy
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.interactive import Interaction, InteractiveAccess
from scoped_secrets.core.policy.label_selector import LabelSelector, Operator, Requirement
from scoped_secrets.core.policy.policy import Effect, KeyConflict, Policy
from scoped_secrets.core.policy.subjects import Subject, SubjectKind
from scoped_secrets.core.resolution.definitions import (
    Attach,
    Definition,
    Entry,
    Override,
    PlainSource,
    Rotation,
    SealedDataKey,
    SealedSource,
    SecretKeySource,
)
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.data_keys import NewDataKey
from scoped_secrets.crypto.sealing import plaintext_bound
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.names import Reason

WEB = Binding(namespace="web", organization="acme", project="web")
SESSIONS = InteractiveAccess(
    frozenset({Interaction.EXEC, Interaction.ATTACH, Interaction.EPHEMERAL_CONTAINERS}),
    (Subject(SubjectKind.SERVICE_ACCOUNT, "agent", "ci"), Subject(SubjectKind.GROUP, "oncall")),
)


def definition(body: dict[str, Any], *, keep_sealed: bool = True) -> Definition:
    return to_definition(parse_scoped_secret(body), keep_sealed=keep_sealed)


def test_variables_of_files_become_part_of_their_entries():
    body = changed(stored_secret(), "spec.files.0", {"env": "KUBECONFIG", "sealed": sealed()})
    body = changed(body, "spec.files.1.env", "MOTD")

    pathless, both, plain = definition(body).files

    assert (pathless.name, pathless.path, pathless.env, pathless.mode) == ("$KUBECONFIG", None, "KUBECONFIG", 0o600)
    assert (both.name, both.path, both.env) == ("/etc/motd", "/etc/motd", "MOTD")
    assert (plain.name, plain.path, plain.env) == ("~/blob", "~/blob", None)


def test_scoped_secret_becomes_a_definition():
    assert definition(stored_secret()) == Definition(
        uid="6b1ddd6e-3b5c-4a7e-9c55-0f0a3c1c2d11",
        generation=3,
        namespace="web",
        name="aws-production",
        created="2026-01-01T00:00:00Z",
        secret_name="aws",  # noqa: S106 - a name.
        scope=Scope.ENVIRONMENT,
        project=None,
        environment="production",
        labels={"tier": "production"},
        override=Override.MERGE,
        final=True,
        attach=Attach.ALWAYS,
        env=(
            Entry.variable("AWS_SECRET_ACCESS_KEY", SealedSource(sealed(), plaintext_bound(sealed()))),
            Entry.variable("REGION", PlainSource(b"eu-west-1")),
        ),
        files=(
            Entry.file(".ssh/id_ed25519", 0o600, SealedSource(sealed(400), plaintext_bound(sealed(400)))),
            Entry.file("/etc/motd", 0o644, PlainSource(b"hello\n")),
            Entry.file("~/blob", 0o444, PlainSource(b"\x00\xff\x00\xff")),
        ),
    )


def test_minimal_scoped_secret_uses_its_own_name_and_the_defaults():
    small = definition(changed(minimal_secret(), "spec.files", [{"path": "a", "sealed": sealed()}]))

    assert (small.secret_name, small.override, small.final, small.attach) == (
        "aws",
        Override.REPLACE,
        False,
        Attach.ON_REFERENCE,
    )
    assert small.files[0].mode == 0o600
    assert small.not_ready is None


def test_admission_keeps_no_sealed_text():
    kept = definition(stored_secret(), keep_sealed=True)
    slim = definition(stored_secret(), keep_sealed=False)

    assert [entry.source.size for entry in slim.env] == [entry.source.size for entry in kept.env]
    assert [entry.source.size for entry in slim.files] == [entry.source.size for entry in kept.files]
    sources = [entry.source for entries in (slim.env, slim.files) for entry in entries]
    assert [source.text for source in sources if isinstance(source, SealedSource)] == ["", ""]


def test_only_the_controller_keeps_data_keys():
    body = changed(stored_secret(), "spec.dataKeys", [{"id": "0f1e2d3c4b5a6978", "sealed": sealed(32)}])

    assert definition(body).data_keys == (SealedDataKey("0f1e2d3c4b5a6978", sealed(32)),)
    assert definition(body, keep_sealed=False).data_keys == ()
    assert sealed(32) not in repr(definition(body))


def test_definition_whose_value_lacks_its_data_key_is_not_ready():
    data_key = NewDataKey()
    text = data_key.seal(SecretValue(b"x"), CONTEXT, None)
    given = {"id": str(data_key.data_key_id), "sealed": sealed(32)}
    body = changed(changed(stored_secret(), "spec.env.0.sealed", text), "spec.dataKeys", [given])

    for keep_sealed in (True, False):
        assert definition(body, keep_sealed=keep_sealed).not_ready is None
        lacking = changed(body, "spec.dataKeys", [{**given, "id": "0011223344556677"}])
        assert definition(lacking, keep_sealed=keep_sealed).not_ready is Reason.INVALID


def test_a_thousand_definitions_of_a_kilobyte_take_less_than_five_megabytes():
    bodies = []
    for index in range(1000):
        body = changed(stored_secret(), "metadata.uid", f"6b1ddd6e-3b5c-4a7e-9c55-{index:012}")
        bodies.append(changed(body, "metadata.name", f"aws-{index}"))
    # The first one fills caches that all of them share.
    definition(bodies[0])

    tracemalloc.start()
    try:
        kept = [definition(body, keep_sealed=False) for body in bodies]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(kept) == 1000
    assert taken < 5_000_000


REFERENCE = {"secretKeyRef": {"name": "db", "key": "password"}}
UNUSABLE: dict[str, tuple[str, Any, Reason]] = {
    "secret plain text is never used": ("spec.env.0", {"name": "A", "value": CANARY}, Reason.PLAINTEXT_REFUSED),
    "secret plain content is never used": ("spec.files.0", {"path": "a", "content": CANARY}, Reason.PLAINTEXT_REFUSED),
    "secret plain bytes are never used": (
        "spec.files.0",
        {"path": "a", "contentBase64": "!"},
        Reason.PLAINTEXT_REFUSED,
    ),
    "plain text beside sealed text is never used": ("spec.env.0.value", CANARY, Reason.PLAINTEXT_REFUSED),
    "a damaged sealed text is invalid": ("spec.env.0.sealed", "v1:AAAA", Reason.INVALID),
    "damaged base64 is invalid": ("spec.files.2.contentBase64", "!", Reason.INVALID),
    "NUL in a variable is invalid": ("spec.env.1.value", "a\0", Reason.INVALID),
    "a bundle that is too large is invalid": (
        "spec.files",
        [{"path": f"a{index}", "content": "a" * 460_801, "sensitive": False} for index in range(2)],
        Reason.INVALID,
    ),
}


@pytest.mark.parametrize("keep_sealed", [False, True])
@pytest.mark.parametrize("sentence", UNUSABLE)
def test_unusable_definition_states_the_reason_and_keeps_its_slot(sentence: str, keep_sealed: bool):
    path, value, reason = UNUSABLE[sentence]

    unusable = definition(changed(stored_secret(), path, value), keep_sealed=keep_sealed)

    assert unusable.not_ready is reason
    assert (unusable.secret_name, unusable.scope, unusable.environment) == ("aws", Scope.ENVIRONMENT, "production")
    assert CANARY not in repr(unusable)


def test_plaintext_of_unusable_definition_is_not_kept():
    unusable = definition(changed(stored_secret(), "spec.env.0", {"name": "A", "value": CANARY}))

    assert unusable.env[0].source == SealedSource("", 0)


def test_native_secret_value_counts_as_the_largest_size_of_its_entry_kind():
    body = changed(stored_secret(), "spec.env.0", {"name": "A", "valueFrom": REFERENCE})
    converted = definition(changed(body, "spec.files.0", {"path": "a", "valueFrom": REFERENCE}))

    assert converted.not_ready is None
    assert converted.env[0] == Entry.variable("A", SecretKeySource("db", "password", 32 * 1024))
    assert converted.files[0].source == SecretKeySource("db", "password", 512 * 1024)


@pytest.mark.parametrize(("keep_sealed", "expected"), [(False, Reason.SOURCE_MISSING), (True, None)])
def test_missing_source_denies_at_admission_and_is_read_again_by_the_controller(keep_sealed: bool, expected):
    body = stored_secret()
    condition = {
        "type": "Ready",
        "status": "False",
        "observedGeneration": body["metadata"]["generation"],
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "SourceMissing",
        "message": "m",
    }
    body["status"] = {"conditions": [condition]}

    assert definition(body, keep_sealed=keep_sealed).not_ready is expected


@pytest.mark.parametrize(
    ("keep_sealed", "observed", "expected"),
    [(False, 3, (True, False)), (False, 2, (None, None)), (False, 0, (None, None)), (True, 3, (None, None))],
    ids=["reported", "reported of an older generation", "not reported", "looked up by whoever renders"],
)
def test_optional_source_is_missing_when_the_status_reports_it(
    keep_sealed: bool, observed: int, expected: tuple[bool | None, bool | None]
):
    optional = {"secretKeyRef": {**REFERENCE["secretKeyRef"], "optional": True}}
    body = changed(stored_secret(), "spec.env", [{"name": name, "valueFrom": optional} for name in ("A", "B")])
    body["metadata"]["generation"] = 3
    # A file of the same name is another entry.
    missing = [{"kind": "Env", "name": "A"}, {"kind": "File", "name": "B"}]
    body["status"] = {"observedGeneration": observed, "missingEntries": missing}

    converted = definition(body, keep_sealed=keep_sealed)

    assert [entry.source for entry in converted.env] == [
        SecretKeySource("db", "password", 32 * 1024, is_optional=True, is_missing=is_missing) for is_missing in expected
    ]
    assert converted.not_ready is None


def test_an_optional_file_without_a_path_is_missing_by_the_name_of_its_variable():
    reference = {"valueFrom": {"secretKeyRef": {"name": "db", "key": "config", "optional": True}}}
    body = changed(stored_secret(), "spec.files", [{"env": name, **reference} for name in ("A", "B")])
    body["status"] = {"observedGeneration": 3, "missingEntries": [{"kind": "File", "name": "$B"}]}

    converted = definition(body, keep_sealed=False)

    assert [entry.source for entry in converted.files] == [
        SecretKeySource("db", "config", 512 * 1024, is_optional=True, is_missing=is_missing)
        for is_missing in (False, True)
    ]


def test_expire_time_is_converted_to_utc():
    converted = definition(changed(stored_secret(), "spec.expireTime", "2027-01-01T00:00:00+02:00"))

    assert converted.expires == datetime(2026, 12, 31, 22, tzinfo=UTC)
    assert converted.not_ready is None


def test_rotation_reminds_one_week_before_by_default():
    converted = definition(changed(stored_secret(), "spec.rotation", {"intervalDays": 90}))

    assert converted.rotation == Rotation(interval_days=90, remind_days=7)
    assert converted.not_ready is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reason": "KeyLost"}, Reason.KEY_LOST),
        ({"reason": "SourceMissing"}, Reason.SOURCE_MISSING),
        ({"reason": "Expired"}, Reason.EXPIRED),
        ({"reason": "SlotTaken"}, None),
        ({"reason": "KeyLost", "status": "True"}, None),
        ({"reason": "KeyLost", "status": "Unknown"}, None),
        ({"reason": "KeyLost", "observedGeneration": 2}, None),
        ({"reason": "KeyLost", "type": "Conflicted"}, None),
    ],
)
def test_only_the_present_ready_condition_makes_a_definition_unusable(change: dict[str, Any], reason: Reason | None):
    condition = {**stored_secret()["status"]["conditions"][0], "status": "False", **change}

    body = changed(stored_secret(), "status.conditions.0", condition)
    assert definition(body, keep_sealed=False).not_ready is reason


def test_policy_governs_the_scope_of_its_namespace():
    selector = LabelSelector(
        (Requirement("tier", Operator.IN, ("production",)), Requirement("example.org/team", Operator.EXISTS))
    )
    pods = LabelSelector(
        (Requirement("app", Operator.IN, ("deploy",)), Requirement("stage", Operator.NOT_IN, ("test",)))
    )

    converted = to_policy(parse_secret_policy(full_policy()), WEB)

    assert converted == Policy(
        namespace="web",
        name="production",
        organization="acme",
        project="web",
        environment=None,
        effect=Effect.ALLOW,
        secret_names=("aws", "deploy-*"),
        selector=selector,
        scopes=(Scope.ENVIRONMENT,),
        rules=(
            Rule(
                name="main-only",
                projects=("web", "api-*"),
                environments=("production", "review/*"),
                namespaces=("web-ci",),
                service_accounts=("deployer",),
                creators=("system:serviceaccount:gitlab:runner",),
                refs=("refs/heads/main", "refs/tags/v*"),
                events=("push", "tag"),
                pod_selector=pods,
                not_before=datetime(2026, 1, 1, tzinfo=UTC),
                not_after=datetime(2026, 12, 31, 23, tzinfo=UTC),
            ),
        ),
        key_conflict=KeyConflict.FAIL,
        interactive=SESSIONS,
        broken=False,
    )


def test_policy_scope_comes_from_the_binding():
    home = Binding(namespace="acme", organization="acme")
    environment = Binding(namespace="web-prod", organization="acme", project="web", environment="production")
    model = parse_secret_policy(full_policy())

    assert (to_policy(model, home).project, to_policy(model, home).environment) == (None, None)
    assert to_policy(model, environment).environment == "production"


def test_interactive_access_of_a_policy_is_what_it_denies_and_to_whom_not():
    policy = to_policy(parse_secret_policy(full_policy()), WEB)

    assert not policy.broken
    assert policy.interactive == SESSIONS


def test_policy_without_a_word_about_sessions_denies_none():
    empty = to_policy(parse_secret_policy(changed(full_policy(), "spec.interactive", {})), WEB)

    assert empty.interactive == InteractiveAccess(frozenset())
    body = full_policy()
    del body["spec"]["interactive"]
    assert to_policy(parse_secret_policy(body), WEB).interactive is None
