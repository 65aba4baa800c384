"""Values are sealed before they are stored, once, and nothing of them stays anywhere."""

import base64
import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.admission.support import (
    CLUSTER_ID,
    FINGERPRINT_KEY,
    KEYS,
    applied_by_kubectl,
    ask,
    patched,
    permission,
    refusal,
    review,
    review_context,
    scoped_secret,
    stored,
)
from tests.support.builders import entry_key, home_and_project, inventory
from tests.support.texts import open_text

from scoped_secrets import names
from scoped_secrets.admission.comparison_limit import ComparisonLimit
from scoped_secrets.admission.review import render
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto import sealing
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey, fingerprint
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.names import Reason

MUTATE = "/mutate/scopedsecrets"
CANARY = "canary-5e1d77"
KNOWN = review_context()
SLOT = Slot("acme", Scope.PROJECT, "web", None, "aws")


def context_of(kind, entry, name="aws", slot=SLOT):
    return sealing_context(CLUSTER_ID, "web", name, slot, entry_key(kind, entry))


def unsealed(body, text, kind, entry, **where):
    return open_text(body["spec"], text, context_of(kind, entry, **where), KEYS)


def operations(body, known=KNOWN, **about):
    return list(permission(ask(MUTATE, body, known, **about)).operations)


@pytest.mark.parametrize(
    ("group", "entry", "kind", "name", "value"),
    [
        pytest.param("env", {"name": "A", "value": CANARY}, "env", "A", CANARY.encode(), id="variable"),
        pytest.param("env", {"name": "A", "value": ""}, "env", "A", b"", id="empty variable"),
        pytest.param("env", {"name": "A", "value": "ü\n☃"}, "env", "A", "ü\n☃".encode(), id="Unicode"),
        pytest.param(
            "env", {"name": "A", "value": "x", "sensitive": True}, "env", "A", b"x", id="said to be sensitive"
        ),
        pytest.param("files", {"path": "~/a", "content": CANARY}, "file", "~/a", CANARY.encode(), id="text file"),
        pytest.param("files", {"path": "a", "content": ""}, "file", "a", b"", id="empty file"),
        pytest.param(
            "files",
            {"path": "/a", "contentBase64": base64.encodebytes(bytes(range(256))).decode()},
            "file",
            "/a",
            bytes(range(256)),
            id="binary file",
        ),
    ],
)
def test_a_sensitive_value_is_replaced_by_a_text_that_opens_at_its_place_only(group, entry, kind, name, value):
    spec: dict[str, Any] = {group: [entry]}
    result = stored(scoped_secret(**spec), KNOWN)

    (sealed,) = result["spec"][group]
    assert set(sealed) - {"sensitive"} == {"name" if group == "env" else "path", "sealed"}
    assert unsealed(result, sealed["sealed"], kind, name) == value
    assert parse_header(sealed["sealed"]).fingerprint is not None


@pytest.mark.parametrize(
    ("namespace", "spec", "slot"),
    [
        ("acme", {"scope": "Organization"}, Slot("acme", Scope.ORGANIZATION, None, None, "aws")),
        ("acme", {"scope": "Project", "project": "api"}, Slot("acme", Scope.PROJECT, "api", None, "aws")),
        (
            "web",
            {"scope": "Environment", "environment": "review/*", "secretName": "other"},
            Slot("acme", Scope.ENVIRONMENT, "web", "review/*", "other"),
        ),
    ],
)
def test_the_place_is_the_scope_path_that_the_namespace_gives(namespace, spec, slot):
    result = stored(scoped_secret(namespace=namespace, env=[{"name": "A", "value": "x"}], **spec), KNOWN)

    text = result["spec"]["env"][0]["sealed"]
    context = sealing_context(CLUSTER_ID, namespace, "aws", slot, entry_key("env", "A"))
    assert open_text(result["spec"], text, context, KEYS) == b"x"


def test_plain_configuration_stays_readable():
    body = scoped_secret(env=[{"name": "REGION", "value": "eu", "sensitive": False}])

    assert operations(body) == []
    permission(ask("/validate/scopedsecrets", body, KNOWN))


def test_mutating_again_changes_nothing():
    result = stored(scoped_secret(env=[{"name": "A", "value": "x"}], files=[{"path": "a", "content": "y"}]), KNOWN)

    assert operations(result) == []


@pytest.mark.parametrize("wrap", [lambda body: body, applied_by_kubectl], ids=["server-side", "client-side"])
def test_the_same_manifest_again_is_no_change_at_all(wrap):
    manifest = wrap(
        scoped_secret(
            env=[{"name": "A", "value": "x"}, {"name": "B", "value": ""}],
            files=[{"path": "a", "contentBase64": "eQ=="}],
        )
    )
    old = stored(manifest, KNOWN)
    # Apply merges: the sealed texts stay, and the plain ones come beside them.
    merged = copy.deepcopy(old)
    merged["metadata"] = copy.deepcopy(manifest["metadata"])
    for group, entries in manifest["spec"].items():
        for before, entry in zip(merged["spec"][group], entries, strict=True) if isinstance(entries, list) else ():
            before.update(entry)

    assert stored(merged, KNOWN, old=old) == old


MANAGERS: list[dict[str, Any]] = [
    {"manager": "kubectl", "operation": "Apply", "time": "2026-01-01T00:00:01Z", "fieldsV1": {"f:spec": {}}},
    {"manager": "scoped-secrets", "operation": "Apply", "time": "2026-01-01T00:00:02Z", "subresource": "status"},
]


@pytest.mark.parametrize(
    ("value", "manager", "kept"),
    [
        pytest.param("x", "kubectl", True, id="the same again"),
        pytest.param("y", "kubectl", False, id="another value"),
        pytest.param("x", "argocd", False, id="another manager"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda body: body, applied_by_kubectl], ids=["server-side", "client-side"])
def test_a_repeated_apply_does_not_move_its_manager_behind_others(wrap, value, manager, kept):
    manifest = wrap(scoped_secret(env=[{"name": "A", "value": "x"}]))
    old = stored(manifest, KNOWN)
    old["metadata"]["managedFields"] = MANAGERS
    merged = copy.deepcopy(old)
    merged["metadata"] = copy.deepcopy(manifest["metadata"])
    merged["spec"]["env"][0]["value"] = value
    applied = {**MANAGERS[0], "manager": manager, "time": "2026-01-01T00:00:03Z"}
    merged["metadata"]["managedFields"] = [MANAGERS[1], applied]

    result = stored(merged, KNOWN, old=old)

    assert (result == old) == kept
    assert (result["metadata"]["managedFields"] == MANAGERS) == kept


def owner(operation, manager="someone", **spec):
    """Return a manager that owns fields of a spec; an empty set is the field itself."""
    return {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": spec}}


def variable(*members):
    return {".": {}, "f:name": {}, **{f"f:{member}": {} for member in members}}


@pytest.mark.parametrize("operation", ["Apply", "Update"])
def test_no_manager_owns_a_value_that_is_not_stored(operation):
    body = scoped_secret(
        scope="Project", env=[{"name": "A", "value": "x"}, {"name": "B", "value": "eu", "sensitive": False}]
    )
    fields = {
        "f:scope": {},
        "f:env": {'k:{"name":"A"}': variable("value"), 'k:{"name":"B"}': variable("value", "sensitive")},
    }
    body["metadata"]["managedFields"] = [owner(operation, **fields)]

    (manager,) = stored(body, KNOWN)["metadata"]["managedFields"]

    fields["f:env"]['k:{"name":"A"}'] = variable()
    assert manager == owner(operation, **fields)


def test_a_manager_of_nothing_but_values_goes_and_owns_no_entry_instead():
    body = scoped_secret(env=[{"name": "A", "value": "x"}])
    others = owner("Apply", "another", **{"f:env": {'k:{"name":"A"}': variable()}})
    body["metadata"]["managedFields"] = [owner("Update", **{"f:env": {'k:{"name":"A"}': {"f:value": {}}}}), others]

    assert stored(body, KNOWN)["metadata"]["managedFields"] == [others]


@pytest.mark.parametrize(
    ("operation", "entry", "is_kept"),
    [
        pytest.param("Apply", {"content": "x"}, True, id="an apply, which removes the list by it"),
        pytest.param("Update", {"content": "x"}, False, id="an update of plain text"),
        pytest.param("Update", {"content": "x", "sensitive": False}, True, id="an update that is stored as it is"),
    ],
)
def test_an_update_of_files_in_plain_text_does_not_own_the_list(operation, entry, is_kept):
    body = scoped_secret(files=[{"path": "a", **entry}])
    body["metadata"]["managedFields"] = [owner(operation, **{"f:scope": {}, "f:files": {}})]

    (manager,) = stored(body, KNOWN)["metadata"]["managedFields"]

    assert ("f:files" in manager["fieldsV1"]["f:spec"]) == is_kept


def test_a_repeated_apply_is_no_change_although_the_api_server_gives_the_value_back_to_its_manager():
    fields = {"f:env": {'k:{"name":"A"}': variable("value")}}
    body = scoped_secret(env=[{"name": "A", "value": "x"}])
    body["metadata"]["managedFields"] = [{**owner("Apply", **fields), "time": "2026-01-01T00:00:01Z"}, MANAGERS[1]]
    old = stored(body, KNOWN)
    again = copy.deepcopy(old)
    again["spec"]["env"][0]["value"] = "x"
    again["metadata"]["managedFields"] = [MANAGERS[1], {**owner("Apply", **fields), "time": "2026-01-01T00:00:03Z"}]

    assert stored(again, KNOWN, old=old) == old


def test_a_file_of_a_variable_keeps_its_text_and_loses_its_value_in_the_copy():
    manifest = applied_by_kubectl(
        scoped_secret(
            files=[
                {"env": "KUBECONFIG", "content": CANARY},
                {"path": "a", "env": "A", "content": CANARY},
                {"env": "PLAIN", "content": "x", "sensitive": False},
            ]
        )
    )
    old = stored(manifest, KNOWN)

    assert stored(copy.deepcopy(manifest), KNOWN, old=old) == old
    assert CANARY not in json.dumps(old)
    assert unsealed(old, old["spec"]["files"][0]["sealed"], "file", "$KUBECONFIG") == CANARY.encode()
    assert unsealed(old, old["spec"]["files"][1]["sealed"], "file", "a") == CANARY.encode()
    # The copy cannot exempt an entry that the object says is sensitive.
    secret = copy.deepcopy(old)
    secret["spec"]["files"][2] = {"env": "PLAIN", "content": "x"}
    copied = stored(secret, KNOWN, old=old)["metadata"]["annotations"][names.LAST_APPLIED_ANNOTATION]
    assert [entry.get("content") for entry in json.loads(copied)["spec"]["files"]] == [None, None, None]


def test_a_replaced_object_keeps_the_stored_texts_of_unchanged_values():
    manifest = scoped_secret(env=[{"name": "A", "value": "x"}, {"name": "B", "value": "y"}])
    old = stored(manifest, KNOWN)
    manifest["spec"]["env"] = [{"name": "B", "value": "y"}, {"name": "A", "value": "new"}]

    result = stored(manifest, KNOWN, old=old)

    assert result["spec"]["env"][0]["sealed"] == old["spec"]["env"][1]["sealed"]
    assert result["spec"]["env"][1]["sealed"] != old["spec"]["env"][0]["sealed"]
    assert unsealed(result, result["spec"]["env"][1]["sealed"], "env", "A") == b"new"


def newer_keys():
    return KeyRing((PrivateSealingKey(bytes(32), datetime(2026, 9, 1, tzinfo=UTC)),))


@pytest.mark.parametrize(
    ("old_known", "new_known"),
    [
        pytest.param(KNOWN, replace(KNOWN, keep_unchanged=False), id="comparison is off"),
        pytest.param(KNOWN, replace(KNOWN, recipients=newer_keys().public()), id="the key is lost"),
        pytest.param(replace(KNOWN, cluster_id="another"), KNOWN, id="sealed for another cluster"),
    ],
)
def test_an_equal_value_is_sealed_anew_when_the_stored_text_is_of_no_use(old_known, new_known):
    manifest = scoped_secret(env=[{"name": "A", "value": "x"}])
    old = stored(manifest, old_known)

    result = patched(manifest, ask(MUTATE, manifest, new_known, old=old))

    assert result["spec"]["env"][0]["sealed"] != old["spec"]["env"][0]["sealed"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_forged_review_with_the_right_guess_has_no_part_of_the_stored_fingerprint(dry_run):
    manifest = scoped_secret(env=[{"name": "A", "value": "x"}])
    old = stored(manifest, KNOWN)["spec"]["env"][0]["sealed"]

    guessed = patched(manifest, ask(MUTATE, manifest, KNOWN, dryRun=dry_run))["spec"]["env"][0]["sealed"]

    before, after = parse_header(old).fingerprint, parse_header(guessed).fingerprint
    assert before is not None
    assert after is not None
    assert before.salt != after.salt
    assert before.digest != after.digest
    assert fingerprint(FINGERPRINT_KEY, "web", "aws", "env", "A", SecretValue(b"x"), after.salt) == after


def test_value_with_a_fingerprint_of_a_former_version_stays_when_it_is_applied_again():
    mark = fingerprint(FINGERPRINT_KEY, "web", "aws", "env", "A", SecretValue(b"x"), b"")
    text = seal(SecretValue(b"x"), context_of("env", "A"), KEYS.public().active, mark)
    old = scoped_secret(env=[{"name": "A", "sealed": text}])

    texts = [
        patched(body, ask(MUTATE, body, KNOWN, old=old))["spec"]["env"][0]["sealed"]
        for body in (scoped_secret(env=[{"name": "A", "value": value}]) for value in "xy")
    ]

    assert texts[0] == text
    renewed = parse_header(texts[1]).fingerprint
    assert renewed is not None
    assert len(renewed.salt) == 12


@pytest.mark.parametrize("given", [{"recipients": "newer"}, {"cluster_id": "another"}])
def test_equal_value_for_a_lost_key_or_another_place_keeps_its_fingerprint(given):
    manifest = scoped_secret(env=[{"name": "A", "value": "x"}])
    old = stored(manifest, KNOWN)
    if "recipients" in given:
        given = {"recipients": newer_keys().public()}

    result = patched(manifest, ask(MUTATE, manifest, replace(KNOWN, **given), old=old))

    before, after = (parse_header(body["spec"]["env"][0]["sealed"]) for body in (old, result))
    assert after.fingerprint == before.fingerprint
    before, after = (sealing.parse_header(body["spec"]["dataKeys"][0]["sealed"]) for body in (old, result))
    assert (after.key_id, after.context_digest) != (before.key_id, before.context_digest)


class TestLimitOnGuesses:
    """After ten different values, also the right one counts as changed."""

    MANIFEST = scoped_secret(env=[{"name": "A", "value": "x"}, {"name": "B", "value": "y"}])

    @staticmethod
    def guess(value, known, old, **about):
        body = scoped_secret(env=[{"name": "A", "value": value}, {"name": "B", "value": "y"}])
        outcome = permission(ask(MUTATE, body, known, old=old, **about))
        after = patched(body, outcome)["spec"]["env"]
        kept = [new["sealed"] == before["sealed"] for new, before in zip(after, old["spec"]["env"], strict=True)]
        return kept, outcome.warnings

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_right_guess_after_ten_wrong_ones_looks_like_a_wrong_one(self, dry_run):
        known = replace(KNOWN, comparisons=ComparisonLimit())
        old = stored(self.MANIFEST, known)

        wrong = [self.guess(f"guess-{number}", known, old, dryRun=dry_run) for number in range(10)]
        kept, warnings = self.guess("x", known, old, dryRun=dry_run)
        still_wrong = self.guess("guess-10", known, old, dryRun=dry_run)

        assert wrong == [([False, True], ())] * 10
        assert kept == [False, True]
        assert still_wrong == (kept, warnings)
        (warning,) = warnings
        assert warning.startswith("variable 'A' was not compared with the stored value and counts as changed")

    def test_applying_the_stored_value_never_reaches_the_limit(self):
        known = replace(KNOWN, comparisons=ComparisonLimit())
        old = stored(self.MANIFEST, known)

        answers = [self.guess("x", known, old) for _ in range(100)]

        assert answers == [([True, True], ())] * 100

    def test_showing_one_difference_never_reaches_the_limit(self):
        known = replace(KNOWN, comparisons=ComparisonLimit())
        old = stored(self.MANIFEST, known)

        answers = [self.guess("new", known, old, dryRun=True) for _ in range(100)]

        assert answers == [([False, True], ())] * 100
        assert self.guess("x", known, old) == ([True, True], ())

    def test_offline_text_and_new_entry_do_not_count(self):
        known = replace(KNOWN, comparisons=ComparisonLimit())
        offline = seal(SecretValue(b"x"), context_of("env", "A"), KEYS.public().active, None)
        old = scoped_secret(env=[{"name": "A", "sealed": offline}])

        outcomes = [
            ask(
                MUTATE,
                scoped_secret(env=[{"name": "A", "value": f"{number}"}, {"name": "N", "value": "n"}]),
                known,
                old=old,
            )
            for number in range(30)
        ]

        assert {permission(outcome).warnings for outcome in outcomes} == {()}


def test_without_the_comparison_no_fingerprint_tells_a_guess_from_the_value():
    manifest = scoped_secret(env=[{"name": "A", "value": "x"}])

    result = patched(manifest, ask(MUTATE, manifest, replace(KNOWN, keep_unchanged=False)))

    assert parse_header(result["spec"]["env"][0]["sealed"]).fingerprint is None


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_dry_run_knows_a_value_by_a_former_fingerprint_key_and_a_write_renews_it(dry_run):
    manifest = scoped_secret(env=[{"name": "A", "value": "x"}, {"name": "B", "value": "y"}])
    old = stored(manifest, KNOWN)
    rotated = replace(KNOWN, fingerprint_key=FingerprintKey.generate(), former_fingerprint_keys=(FINGERPRINT_KEY,))
    manifest["spec"]["env"][1]["value"] = "another"

    after = patched(manifest, ask(MUTATE, manifest, rotated, old=old, dryRun=dry_run))

    same, other = [new == before for new, before in zip(after["spec"]["env"], old["spec"]["env"], strict=True)]
    assert (same, other) == (dry_run, False)


def test_a_text_sealed_offline_is_replaced_because_nobody_knows_its_value():
    manifest = scoped_secret(env=[{"name": "A", "value": "x"}])
    offline = seal(SecretValue(b"x"), context_of("env", "A"), KEYS.public().active, None)
    old = scoped_secret(env=[{"name": "A", "sealed": offline}])

    result = patched(manifest, ask(MUTATE, manifest, KNOWN, old=old))

    assert result["spec"]["env"][0]["sealed"] != offline


def test_plain_text_beside_another_sealed_text_is_ambiguous_and_refused():
    body = scoped_secret(env=[{"name": "A", "value": "x", "sealed": "v1:AAAA"}])

    denial = refusal(ask(MUTATE, body, KNOWN))

    assert denial.reason is Reason.INVALID
    assert "`spec.env[0]`" in denial.message


def test_the_sealed_text_goes_when_the_entry_becomes_plain_configuration():
    old = stored(scoped_secret(env=[{"name": "A", "value": "x"}]), KNOWN)
    body = copy.deepcopy(old)
    body["spec"]["env"][0].update(value="eu", sensitive=False)

    result = stored(body, KNOWN, old=old)

    assert result["spec"]["env"] == [{"name": "A", "value": "eu", "sensitive": False}]


def test_plain_configuration_that_becomes_sensitive_is_sealed_in_both_places():
    old = stored(applied_by_kubectl(scoped_secret(env=[{"name": "A", "value": "eu", "sensitive": False}])), KNOWN)
    body = copy.deepcopy(old)
    body["spec"]["env"][0] = {"name": "A", "value": "eu"}

    result = stored(body, KNOWN, old=old)

    assert unsealed(result, result["spec"]["env"][0]["sealed"], "env", "A") == b"eu"
    assert '"eu"' not in result["metadata"]["annotations"][names.LAST_APPLIED_ANNOTATION]


def test_the_copy_of_client_side_apply_loses_the_values_and_nothing_else():
    manifest = scoped_secret(
        env=[{"name": "A", "value": CANARY}, {"name": "REGION", "value": "<eu&>", "sensitive": False}],
        files=[{"path": "a", "content": CANARY, "mode": "0400"}, {"path": "b", "contentBase64": "eA=="}],
        metadata={"labels": {"ä": "☃"}},
    )
    expected = copy.deepcopy(manifest)
    del expected["spec"]["env"][0]["value"]
    del expected["spec"]["files"][0]["content"]
    del expected["spec"]["files"][1]["contentBase64"]

    result = stored(applied_by_kubectl(manifest), KNOWN)

    annotation = result["metadata"]["annotations"][names.LAST_APPLIED_ANNOTATION]
    assert annotation == applied_by_kubectl(expected)["metadata"]["annotations"][names.LAST_APPLIED_ANNOTATION]
    assert CANARY not in json.dumps(result)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{" + CANARY, id="no JSON"),
        pytest.param(json.dumps([CANARY]), id="a list"),
        pytest.param(json.dumps({"spec": {"env": {"A": {"value": CANARY}}}}), id="a map of entries"),
        pytest.param(json.dumps({"spec": {"env": [CANARY]}}), id="a text as entry"),
        pytest.param(json.dumps({"spec": [{"value": CANARY}]}), id="a list as spec"),
        pytest.param('{"spec":{"env":[{"name":"A","value":"' + CANARY + '"}]},"spec":{}}', id="a member twice"),
        pytest.param('{"spec":' + "[" * 100_000, id="deep nesting"),
    ],
)
def test_a_copy_that_cannot_be_read_is_removed(text):
    body = scoped_secret(env=[{"name": "A", "value": "x"}], annotations={names.LAST_APPLIED_ANNOTATION: text, "b": "c"})

    result = stored(body, KNOWN)

    assert result["metadata"]["annotations"] == {"b": "c"}


def test_a_copy_without_values_stays_byte_for_byte():
    text = '{ "spec" : {"env" : [{"sealed":"v1:x","name":"A"}]}}  \n'
    body = scoped_secret(annotations={names.LAST_APPLIED_ANNOTATION: text})

    assert operations(body) == []


def test_a_generated_name_is_refused_where_something_has_to_be_sealed():
    body = scoped_secret(env=[{"name": "A", "value": CANARY}])
    body["metadata"] = {"generateName": "aws-", "namespace": "web"}

    denial = refusal(ask(MUTATE, body, KNOWN))

    assert "`metadata.generateName`" in denial.message
    assert CANARY not in denial.message


def test_a_value_is_never_sealed_for_a_place_that_the_namespace_may_not_define():
    outside = scoped_secret(namespace="outside", env=[{"name": "A", "value": CANARY}])
    foreign = scoped_secret(project="api", env=[{"name": "A", "value": CANARY}])

    assert refusal(ask(MUTATE, outside, KNOWN)).reason is Reason.NAMESPACE_OUTSIDE
    assert refusal(ask(MUTATE, foreign, KNOWN)).reason is Reason.SCOPE_NOT_ALLOWED


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"env": [{"name": "A", "value": "€" * 12_000}]}, "spec.env[0].value", id="variable too large"),
        pytest.param({"env": [{"name": "A", "value": f"{CANARY}\0"}]}, "spec.env[0].value", id="NUL"),
        pytest.param(
            {"files": [{"path": "a", "contentBase64": f"{CANARY}!"}]}, "spec.files[0].contentBase64", id="no base64"
        ),
        pytest.param({"env": [{"name": "A-B", "value": CANARY}]}, "spec.env[0].name", id="a name that is none"),
        pytest.param({"env": [{"name": "A", "value": [CANARY]}]}, "spec.env[0].value", id="a list as value"),
        pytest.param({"env": {"A": {"value": CANARY}}}, "spec.env", id="a map of entries"),
        pytest.param({"env": [{"name": "A", "value": CANARY}], "scope": "Galaxy"}, "spec.scope", id="unknown scope"),
        pytest.param({"files": [{"path": "a", "content": CANARY, "contentBase64": "eA=="}]}, "spec.files[0]", id="two"),
    ],
)
def test_what_cannot_be_sealed_is_refused_by_its_field(spec, field):
    denial = refusal(ask(MUTATE, scoped_secret(**spec), KNOWN))

    assert f"`{field}`" in denial.message
    assert CANARY not in denial.message


def test_a_broken_object_without_plain_text_is_left_to_the_api_server():
    assert operations(scoped_secret(scope="Galaxy", env=[{"name": "A", "sealed": "v1:x"}])) == []


def test_a_broken_object_with_plain_text_in_its_copy_is_refused():
    body = scoped_secret(scope="Galaxy", annotations={names.LAST_APPLIED_ANNOTATION: '{"spec":{"x":{"value":"s"}}}'})

    refusal(ask(MUTATE, body, KNOWN))


def test_a_status_is_not_our_affair():
    body = scoped_secret(env=[{"name": "A", "value": "x"}])

    assert operations(body, old=body, subResource="status") == []


def test_finalizers_come_off_an_object_that_is_being_deleted_whatever_it_holds():
    old = scoped_secret(
        namespace="outside", env=[{"name": "A", "value": "x"}], metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}
    )

    assert operations(old, old=old) == []
    permission(ask("/validate/scopedsecrets", old, KNOWN, old=old))


def test_nothing_new_is_stored_in_plain_text_while_an_object_is_being_deleted():
    old = scoped_secret(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    body = copy.deepcopy(old)
    body["spec"]["env"] = [{"name": "A", "value": "x"}]

    assert "sealed" in stored(body, KNOWN, old=old)["spec"]["env"][0]


def test_no_answer_and_no_log_line_holds_a_value(caplog):
    caplog.set_level("DEBUG")
    bodies = [
        applied_by_kubectl(
            scoped_secret(env=[{"name": "A", "value": CANARY}], files=[{"path": "a", "content": CANARY}])
        ),
        scoped_secret(env=[{"name": CANARY.upper(), "value": CANARY}]),
        scoped_secret(scope=CANARY, env=[{"name": "A", "value": CANARY}]),
        scoped_secret(env=[{"name": "A", "value": CANARY, "sealed": CANARY}]),
        scoped_secret(project=CANARY, env=[{"name": "A", "value": CANARY}]),
        scoped_secret(environment=CANARY, env=[{"name": "A", "value": CANARY}]),
    ]
    for body in bodies:
        for path in (MUTATE, "/validate/scopedsecrets"):
            outcome = ask(path, body, KNOWN)
            answer = render(review("scopedsecrets", body), outcome)
            patch = json.loads(answer)["response"].get("patch", "")
            assert CANARY not in answer.decode() + base64.b64decode(patch).decode()
            assert CANARY not in repr(outcome) + repr(review("scopedsecrets", body, old=body))
    assert CANARY not in caplog.text


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@given(
    values=st.dictionaries(st.from_regex(r"[A-Z]{1,4}\Z", fullmatch=True).map("X_".__add__), TEXTS, max_size=5),
    # A name with a dollar sign is a variable, and its file has no path.
    contents=st.dictionaries(
        st.from_regex(r"[a-z]{1,4}|\$F_[A-Z]{1,4}", fullmatch=True), st.binary(max_size=40), max_size=3
    ),
    public=st.booleans(),
)
def test_whatever_is_applied_is_sealed_once_and_opens_to_what_was_applied(values, contents, public):
    env = [{"name": name, "value": value} for name, value in values.items()]
    if public:
        env.append({"name": "PUBLIC", "value": "p", "sensitive": False})
    files = [
        {
            **({"env": name[1:]} if name.startswith("$") else {"path": name}),
            "contentBase64": base64.b64encode(data).decode(),
        }
        for name, data in contents.items()
    ]
    manifest = applied_by_kubectl(scoped_secret(env=env, files=files))

    result = stored(manifest, KNOWN)

    assert operations(result, old=result) == []
    for entry in result["spec"]["env"][: len(values)]:
        assert unsealed(result, entry["sealed"], "env", entry["name"]) == values[entry["name"]].encode()
    for entry, (name, data) in zip(result["spec"]["files"], contents.items(), strict=True):
        assert unsealed(result, entry["sealed"], "file", name) == data


def test_the_inventory_is_only_read():
    store = inventory(home_and_project())

    stored(scoped_secret(env=[{"name": "A", "value": "x"}]), review_context(store))

    assert len(store) == 0


def test_a_status_that_a_client_changed_does_not_deny_the_value_beside_it():
    # Editors that write YAML 1.2 leave a fingerprint such as 1234567e89 without quotes: kubectl reads a number.
    body = scoped_secret(env=[{"name": "A", "value": CANARY}])
    body["status"] = {"entries": [{"kind": "Env", "name": "A", "fingerprint": 1.234567e95}]}

    result = patched(body, ask(MUTATE, body, KNOWN))

    assert unsealed(result, result["spec"]["env"][0]["sealed"], "env", "A") == CANARY.encode()
