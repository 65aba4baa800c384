"""What may be stored: the right place, a free slot, nothing in plain text, nothing that would be ignored."""

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.admission.support import CLUSTER_ID, KEYS, ask, permission, refusal, review_context, scoped_secret, stored
from tests.support.builders import NOW, definition, entry_key, home_and_project, inventory, scope_labels

from scoped_secrets import names
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.names import Reason
from scoped_secrets.timestamps import rfc3339

VALIDATE = "/validate/scopedsecrets"
KNOWN = review_context()
SLOT = Slot("acme", Scope.PROJECT, "web", None, "aws")


def text_for(kind="env", entry="A", *, name="aws", slot=SLOT, cluster=CLUSTER_ID, size=1, keys=KEYS):
    context = sealing_context(cluster, "web", name, slot, entry_key(kind, entry))
    return seal(SecretValue(b"x" * size), context, keys.public().active, None)


FROM_SECRET = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
PLAIN = {"name": "A", "value": "x", "sensitive": False}


def check(body, known=KNOWN, **about):
    return ask(VALIDATE, body, known, **about)


def test_a_sealed_definition_of_its_namespace_is_stored():
    permission(check(scoped_secret(env=[{"name": "A", "sealed": text_for()}])))


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        pytest.param(scoped_secret(scope="Organization"), Reason.SCOPE_NOT_ALLOWED, "`spec.scope`", id="wider scope"),
        pytest.param(scoped_secret(project="api"), Reason.SCOPE_NOT_ALLOWED, "`spec.project`", id="foreign project"),
        pytest.param(scoped_secret(namespace="outside"), Reason.NAMESPACE_OUTSIDE, "administrator", id="no scope path"),
        pytest.param(
            scoped_secret(env=[{"name": "A", "value": "x"}]),
            Reason.PLAINTEXT_REFUSED,
            "`spec.env[0].value`",
            id="plain variable",
        ),
        pytest.param(
            scoped_secret(files=[{"path": "b", "content": "", "sensitive": False}, {"path": "a", "content": ""}]),
            Reason.PLAINTEXT_REFUSED,
            "`spec.files[1].content`",
            id="plain file",
        ),
        pytest.param(
            scoped_secret(annotations={names.LAST_APPLIED_ANNOTATION: '{"spec":{"env":[{"name":"A","value":"x"}]}}'}),
            Reason.PLAINTEXT_REFUSED,
            names.LAST_APPLIED_ANNOTATION,
            id="plain copy",
        ),
        pytest.param(
            scoped_secret(annotations={names.LAST_APPLIED_ANNOTATION: "{"}),
            Reason.PLAINTEXT_REFUSED,
            names.LAST_APPLIED_ANNOTATION,
            id="unreadable copy",
        ),
        pytest.param(
            scoped_secret(expireTime=rfc3339(NOW)),
            Reason.INVALID,
            "`spec.expireTime` must be in the future; give a later time",
            id="expired already",
        ),
        pytest.param(
            scoped_secret(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "ssec-s", "key": "k"}}}]),
            Reason.RESERVED_NAME,
            "`spec.env[0].valueFrom`",
            id="valueFrom",
        ),
        pytest.param(scoped_secret(scope="Galaxy"), Reason.INVALID, "`spec.scope`", id="broken schema"),
        pytest.param(
            scoped_secret(env=[{"name": "A", "sealed": "v1:AAAA"}]), Reason.INVALID, "`spec.env[0].sealed`", id="short"
        ),
        pytest.param(
            scoped_secret(env=[{"name": "A", "sealed": text_for()[:-9] + "!????????"}]),
            Reason.INVALID,
            "`spec.env[0].sealed`",
            id="no base64",
        ),
        pytest.param(
            scoped_secret(env=[{"name": "A", "sealed": text_for(size=33 * 1024)}]),
            Reason.INVALID,
            "`spec.env[0].sealed`",
            id="sealed value too large",
        ),
        pytest.param(
            scoped_secret(
                files=[{"path": path, "sealed": text_for("file", path, size=460 * 1024)} for path in ("a", "b")]
            ),
            Reason.INVALID,
            "900 KiB",
            id="bundle too large",
        ),
    ],
)
def test_what_may_not_be_stored_is_refused_with_its_field(body, reason, words):
    denial = refusal(check(body))

    assert denial.reason is reason
    assert words in denial.message


@pytest.mark.parametrize(
    ("may_read", "old", "warned"),
    [
        pytest.param(False, None, True, id="the role is missing"),
        pytest.param(False, [PLAIN], True, id="the role is missing and the field is new"),
        pytest.param(False, [FROM_SECRET], False, id="the field was there before"),
        pytest.param(True, None, False, id="the role is there"),
        pytest.param(None, None, False, id="nobody knows"),
    ],
)
def test_who_begins_to_use_native_secrets_without_the_role_is_warned(may_read, old, warned):
    body = scoped_secret(env=[FROM_SECRET], description="new")
    before = None if old is None else scoped_secret(env=old)

    outcome = permission(ask(VALIDATE, body, replace(KNOWN, may_read_sources=may_read), old=before))

    assert [("`spec.env[0].valueFrom`" in text, "value-from.yaml" in text) for text in outcome.warnings] == (
        [(True, True)] if warned else []
    )
    assert all(len(text) <= 256 for text in outcome.warnings)


def test_the_padding_of_sealed_texts_is_not_held_against_them():
    body = scoped_secret(env=[{"name": "A", "sealed": text_for(size=32 * 1024)}])

    permission(check(body))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text_for(entry="B"), id="entry"),
        pytest.param(text_for("file"), id="kind"),
        pytest.param(text_for(name="other"), id="object"),
        pytest.param(text_for(slot=replace(SLOT, project="api")), id="project"),
        pytest.param(text_for(slot=replace(SLOT, organization="rival")), id="organization"),
        pytest.param(text_for(slot=replace(SLOT, scope=Scope.ENVIRONMENT, environment="*")), id="scope"),
        pytest.param(text_for(cluster="another"), id="cluster"),
    ],
)
def test_a_text_that_was_sealed_for_another_place_is_refused(text):
    denial = refusal(check(scoped_secret(env=[{"name": "A", "sealed": text}])))

    assert denial.reason is Reason.SEALED_FOR_ANOTHER
    assert text not in denial.message


def test_a_text_that_was_sealed_for_a_lost_key_is_refused():
    lost = KeyRing((PrivateSealingKey(bytes(32), datetime(2026, 1, 1, tzinfo=UTC)),))

    denial = refusal(check(scoped_secret(env=[{"name": "A", "sealed": text_for(keys=lost)}])))

    assert denial.reason is Reason.KEY_LOST


OWN_ENVIRONMENT = home_and_project() | {"web-production": {"labels": scope_labels("acme", "web", "production")}}


@pytest.mark.parametrize(("environment", "is_denied"), [("production", True), ("prod*", False), ("staging", False)])
def test_project_defines_nothing_for_an_environment_with_its_own_namespaces(environment, is_denied):
    body = scoped_secret(scope="Environment", environment=environment)
    outcome = check(body, review_context(inventory(OWN_ENVIRONMENT, ())))
    if is_denied:
        assert refusal(outcome).reason is Reason.NOT_TRUSTED
        assert "'web-production'" in refusal(outcome).message
    else:
        permission(outcome)


def test_definition_that_was_stored_before_the_environment_had_namespaces_can_be_changed():
    old = scoped_secret(scope="Environment", environment="production", env=[PLAIN])
    new = scoped_secret(scope="Environment", environment="production", env=[{**PLAIN, "value": "y"}])
    permission(check(new, review_context(inventory(OWN_ENVIRONMENT, ())), old=old))


def test_final_is_for_the_home():
    denial = refusal(check(scoped_secret(final=True)))
    assert denial.reason is Reason.NOT_TRUSTED
    assert "`spec.final`" in denial.message
    permission(check(scoped_secret(namespace="acme", scope="Organization", final=True)))
    old = scoped_secret(final=True, env=[PLAIN])
    permission(check(scoped_secret(final=True), old=old))


def test_the_home_takes_a_slot_from_a_project_and_not_the_reverse():
    at_home = scoped_secret(namespace="acme", project="web")
    of_project = review_context(
        inventory(home_and_project(), [definition("web/other", secret_name="aws", scope="Project")])  # noqa: S106
    )
    permission(check(at_home, of_project))
    of_home = definition("acme/other", secret_name="aws", scope="Project", project="web")  # noqa: S106
    assert (
        refusal(check(scoped_secret(), review_context(inventory(home_and_project(), [of_home])))).reason
        is Reason.SLOT_TAKEN
    )


def test_a_slot_that_is_taken_names_who_has_it():
    taken = inventory(
        {**home_and_project(), "web-2": {"labels": scope_labels("acme", "web")}},
        [definition("web-2/theirs", secret_name="aws", scope=Scope.PROJECT)],  # noqa: S106 - a name.
    )

    denial = refusal(check(scoped_secret(), review_context(taken)))

    assert denial.reason is Reason.SLOT_TAKEN
    assert "'web-2/theirs'" in denial.message


@pytest.mark.parametrize(
    "other",
    [
        definition("web/aws", scope=Scope.PROJECT),
        definition("web/other", scope=Scope.PROJECT),
        definition("acme/aws"),
        definition("web/narrow", secret_name="aws", scope=Scope.ENVIRONMENT, environment="production"),  # noqa: S106 - a name.
        definition("acme/api-aws", secret_name="aws", scope=Scope.PROJECT, project="api"),  # noqa: S106 - a name.
    ],
    ids=["itself", "another name", "another scope", "an environment", "another project"],
)
def test_other_slots_do_not_hinder(other):
    permission(check(scoped_secret(), review_context(inventory(home_and_project(), [other]))))


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("/etc/a", "/etc/./a"), "same file"),
        (("~/a", "a"), "same file"),
        ((".ssh/id", ".ssh/x/../id"), "same file"),
        (("/etc/a", "/etc/a/b"), "both file and directory"),
        (("a", "~/a/b"), "both file and directory"),
        (("/../a",), "above the root"),
        (("/proc/self",), "directory of the system"),
        (("/data/a", f"~/{'ä' * 128}/a"), "`spec.files[1].path` has a component of more than 255 bytes"),
    ],
)
def test_files_that_cannot_stand_beside_each_other_are_refused(paths, words):
    files = [{"path": path, "content": "x", "sensitive": False} for path in paths]

    denial = refusal(check(scoped_secret(files=files)))

    assert denial.reason is Reason.PATH_CONFLICT
    assert words in denial.message
    assert "\0" not in denial.message


def test_files_without_a_path_conflict_with_no_path():
    files = [{"env": env, "content": "x", "sensitive": False} for env in ("A", "B")]

    permission(check(scoped_secret(files=[*files, {"path": "a", "env": "C", "content": "x", "sensitive": False}])))


def test_a_component_of_the_largest_length_is_stored():
    permission(check(scoped_secret(files=[{"path": f"~/{'a' * 255}", "content": "x", "sensitive": False}])))


def test_files_that_may_be_apart_in_some_home_are_stored():
    files = [{"path": path, "content": "x", "sensitive": False} for path in ("../a", "/a", "~/b", "/b", "/ab")]

    permission(check(scoped_secret(files=files)))


@pytest.mark.parametrize(
    "fields", [{"expireTime": rfc3339(NOW + timedelta(seconds=1))}, {"rotation": {"intervalDays": 90}}], ids=str
)
def test_a_time_in_the_future_and_a_rotation_may_be_stored(fields):
    permission(check(scoped_secret(**fields)))


@pytest.mark.parametrize(
    ("before", "after", "is_warned"),
    [
        pytest.param("2030-01-01T00:00:00Z", "2020-01-02T00:00:00Z", True, id="moved to the past"),
        pytest.param(None, "2020-01-02T00:00:00Z", True, id="set in the past"),
        pytest.param("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z", True, id="still in the past"),
        pytest.param("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", False, id="unchanged"),
        pytest.param("2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", False, id="moved to the future"),
        pytest.param("2020-01-01T00:00:00Z", None, False, id="removed"),
    ],
)
def test_an_update_to_a_time_in_the_past_is_stored_with_a_warning(before, after, is_warned):
    old, new = (
        scoped_secret(env=[plain()], **({} if time is None else {"expireTime": time})) for time in (before, after)
    )
    new["spec"]["env"][0]["value"] = "changed"

    warnings = permission(check(new, old=old)).warnings

    expected = "`spec.expireTime` is not in the future, so every new job that names the bundle is denied (Expired)"
    assert warnings == ((expected,) if is_warned else ())


# Updates of objects that would not be admitted today


def plain(name="P", value="p"):
    return {"name": name, "value": value, "sensitive": False}


OLD_SINS = {
    "a text for another place": scoped_secret(env=[{"name": "A", "sealed": text_for(entry="B")}, plain()]),
    "a malformed text": scoped_secret(env=[{"name": "A", "sealed": "v1:AAAA"}, plain()]),
    "a time that has passed": scoped_secret(expireTime="2020-01-01T00:00:00Z", env=[plain()]),
    "a reserved source": scoped_secret(
        env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "ssec-s", "key": "k"}}}, plain()]
    ),
    "a namespace without a path": scoped_secret(namespace="outside", env=[plain()]),
    "two paths of one file": scoped_secret(
        files=[{"path": path, "content": "x", "sensitive": False} for path in ("~/a", "a")], env=[plain()]
    ),
    "a component that is too long": scoped_secret(
        files=[{"path": f"~/{'a' * 256}", "content": "x", "sensitive": False}], env=[plain()]
    ),
    "too much": scoped_secret(env=[plain("BIG", "€" * 12_000), plain()]),
}


@pytest.mark.parametrize("old", OLD_SINS.values(), ids=OLD_SINS.keys())
def test_an_update_is_asked_only_for_what_it_changes(old):
    body = copy.deepcopy(old)
    body["spec"]["env"][-1]["value"] = "changed"
    body["metadata"]["labels"] = {"tier": "gold"}

    permission(check(body, old=old))
    assert check(body) != check(body, old=old)


@pytest.mark.parametrize("old", OLD_SINS.values(), ids=OLD_SINS.keys())
def test_labels_and_finalizers_can_always_be_changed(old):
    body = copy.deepcopy(old)
    body["metadata"]["finalizers"] = []

    permission(check(body, old=old))


@pytest.mark.parametrize("old", OLD_SINS.values(), ids=OLD_SINS.keys())
def test_an_update_may_add_no_new_sin(old):
    body = copy.deepcopy(old)
    body["spec"]["env"].append({"name": "NEW", "sealed": "v1:BBBB"})

    assert refusal(check(body, old=old)).reason is Reason.INVALID


def test_plain_text_is_refused_even_where_it_was_stored_before():
    old = scoped_secret(env=[{"name": "A", "value": "x"}])
    body = copy.deepcopy(old)
    body["metadata"]["labels"] = {"tier": "gold"}

    assert refusal(check(body, old=old)).reason is Reason.PLAINTEXT_REFUSED


def test_any_update_seals_what_was_stored_while_the_webhook_was_off():
    old = scoped_secret(env=[{"name": "A", "value": "x"}])
    body = copy.deepcopy(old)
    body["metadata"]["labels"] = {"tier": "gold"}

    assert "value" not in stored(body, KNOWN, old=old)["spec"]["env"][0]


def test_a_status_is_not_our_affair():
    permission(check(scoped_secret(scope="Galaxy"), old=scoped_secret(), subResource="status"))


@pytest.mark.parametrize(
    ("path", "attach", "allowed", "is_warned"),
    [
        pytest.param("/etc/pip.conf", "Always", "", True, id="outside of the home directory"),
        pytest.param("/etc/pip.conf", "Always", "/etc", False, id="where the home allows it"),
        pytest.param("/etc/pip.conf", "OnReference", "", False, id="not attached"),
        pytest.param("~/.npmrc", "Always", "", False, id="in the home directory"),
    ],
)
def test_the_author_of_an_attached_file_is_warned_of_denials(path, attach, allowed, is_warned):
    namespaces = home_and_project()
    namespaces["acme"] = {**namespaces["acme"], "annotations": {names.ALLOW_ATTACH_PATHS_ANNOTATION: allowed}}
    known = review_context(inventory(namespaces))
    body = scoped_secret(attach=attach, files=[{"path": path, "content": "x", "sensitive": False}])

    warnings = permission(ask("/validate/scopedsecrets", body, known)).warnings

    assert bool(warnings) == is_warned
    assert all("`spec.files[0].path`" in warning and "PathNotAllowed" in warning for warning in warnings)
