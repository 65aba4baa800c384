"""What a pod gets and what it may not be (DESIGN section 8)."""

# ruff: noqa: S106 - `secret_name` is a name

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples
from tests.support.builders import (
    BASE,
    NOW,
    container,
    decide_about,
    definition,
    denied,
    granted,
    home_and_project,
    inventory,
    pod_body,
    policy,
    sealed,
)
from tests.support.container_view import patched, view, views

from scoped_secrets import names
from scoped_secrets.core.decide import Denied, Granted
from scoped_secrets.core.injection.containers import MAX_VARIABLES
from scoped_secrets.core.injection.expressions import hidden_variable
from scoped_secrets.core.injection.files import MAX_FILES
from scoped_secrets.core.injection.inject import existing_base
from scoped_secrets.core.pod import parse_pod
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.policy import KeyConflict
from scoped_secrets.core.resolution.definitions import Attach
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

AWS = definition("acme/aws", env={"KEY": "k", "TOKEN": "t"}, files={"/etc/aws": "file"})
DB = definition("acme/db", env={"KEY": "other"}, files={"/etc/db": "file"})
WORLD = inventory(home_and_project(), [AWS, DB])


def world_of(*definitions, policies=()):
    return inventory(home_and_project(), definitions, policies)


def test_every_container_and_init_container_gets_variables_and_files():
    body = pod_body("aws", containers=[container("a"), container("b")], initContainers=[container("init")])
    for name, seen in views(body, granted(body, WORLD)).items():
        assert seen.visible == {"KEY": "k", "TOKEN": "t"}, name
        assert seen.files["/etc/aws"] == "file"
        assert seen.modes["/etc/aws"] == 0o600


def test_ephemeral_containers_get_nothing():
    body = pod_body("aws")
    body["spec"]["ephemeralContainers"] = [container("debug")]
    assert patched(body, granted(body, WORLD))["spec"]["ephemeralContainers"] == [container("debug")]


def test_the_containers_annotation_limits_who_gets_secrets():
    body = pod_body(
        "aws",
        annotations={names.CONTAINERS_ANNOTATION: " a, init "},
        containers=[container("a"), container("b")],
        initContainers=[container("init")],
    )
    seen = views(body, granted(body, WORLD))
    assert {name for name, found in seen.items() if found.env} == {"a", "init"}
    assert patched(body, granted(body, WORLD))["spec"]["containers"][1] == container("b")


def test_no_value_enters_the_pod():
    body = pod_body("aws")
    text = json.dumps(patched(body, granted(body, WORLD)))
    assert '"k"' not in text
    assert '"file"' not in text


def test_every_pod_mounts_the_volume_read_only_even_without_files():
    body = pod_body("")
    result = patched(body, granted(body, WORLD))
    assert result["spec"]["containers"][0]["volumeMounts"] == [
        {"name": names.VOLUME_NAME, "mountPath": names.MOUNT_PATH, "readOnly": True}
    ]
    seen = view(body, granted(body, WORLD))
    assert set(seen.files) == {f"{names.MOUNT_PATH}/{names.RESOLUTION_FILE}"}


def test_existing_fields_of_the_pod_stay_unchanged():
    own = container(
        env=[{"name": "MINE", "value": "1"}, {"name": "FROM", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
    )
    body = pod_body("aws", containers=[own], volumes=[{"name": "data", "emptyDir": {}}])
    before = deepcopy(body)
    result = patched(body, granted(body, WORLD))
    assert body == before
    spec = result["spec"]
    assert spec["containers"][0]["env"][-2:] == own["env"]
    assert spec["containers"][0]["volumeMounts"][0] == own["volumeMounts"][0]
    assert spec["volumes"][0] == {"name": "data", "emptyDir": {}}


@pytest.mark.parametrize("null", ["env", "volumeMounts", "command", "args"])
def test_null_fields_are_missing_fields(null):
    fields: dict[str, Any] = {null: None}
    body = pod_body("aws", containers=[container(**fields)], volumes=None, securityContext=None)
    result = patched(body, granted(body, WORLD))
    assert result["spec"]["containers"][0]["env"]


def test_a_pod_without_annotations_gets_its_annotation():
    body = pod_body()
    assert "annotations" not in body["metadata"]
    assert names.RESOLUTION_ANNOTATION in patched(body, granted(body, WORLD))["metadata"]["annotations"]


def test_the_containers_own_variable_wins_and_is_reported():
    body = pod_body("aws", containers=[container("a", env=[{"name": "KEY", "value": "own"}]), container("b")])
    decision = granted(body, WORLD)
    seen = views(body, decision)
    assert (seen["a"].env["KEY"], seen["b"].env["KEY"]) == ("own", "k")
    assert json.loads(decision.injection.resolution)["kept"] == {"a": ["KEY"]}
    annotation = patched(body, decision)["metadata"]["annotations"][names.RESOLUTION_ANNOTATION]
    assert json.loads(annotation)["kept"] == {"a": ["KEY"]}


def test_the_containers_own_variables_may_expand_injected_ones():
    body = pod_body("aws", containers=[container(env=[{"name": "URL", "value": "x://$(KEY)@h"}], args=["$(TOKEN)"])])
    seen = view(body, granted(body, WORLD))
    assert seen.env["URL"] == "x://k@h"
    assert seen.args == ("t",)


# Expressions


def test_expressions_expand_in_variables_commands_and_arguments():
    job = container(
        command=["sh", "-c", "login ${secrets.aws.KEY}"],
        args=["${secrets.aws.TOKEN}${secrets.aws.KEY}", "$$${secrets.aws.KEY}"],
        env=[{"name": "URL", "value": "x://${secrets.aws.TOKEN}@h"}],
    )
    body = pod_body("aws", containers=[job])
    decision = granted(body, WORLD)
    seen = view(body, decision)
    assert seen.command == ("sh", "-c", "login k")
    assert seen.args == ("tk", "$k")
    assert seen.env["URL"] == "x://t@h"
    assert "${secrets." not in json.dumps(patched(body, decision)["spec"])


def test_an_expression_reads_its_own_bundle_whatever_the_variable_of_that_name_is():
    body = pod_body("aws, db", containers=[container(args=["${secrets.aws.KEY}", "${secrets.db.KEY}", "$(KEY)"])])
    assert view(body, granted(body, WORLD)).args == ("k", "other", "other")


def test_an_expression_of_a_bundle_with_dots_ends_at_the_last_one():
    snapshot = world_of(definition("acme/a.b", env={"K": "dotted"}), definition("acme/a", env={"b": "short"}))
    body = pod_body("a.b, a", containers=[container(args=["${secrets.a.b.K}", "${secrets.a.b}"])])
    assert view(body, granted(body, snapshot)).args == ("dotted", "short")


def test_an_expression_works_where_the_container_keeps_its_own_variable():
    job = container(env=[{"name": "KEY", "value": "own"}], args=["${secrets.aws.KEY}"])
    body = pod_body("aws", containers=[job])
    seen = view(body, granted(body, WORLD))
    assert (seen.env["KEY"], seen.args) == ("own", ("k",))


@pytest.mark.parametrize(
    ("sentence", "text", "reason"),
    [
        ("without a key", "${secrets.aws}", Reason.INVALID_REFERENCE),
        ("without an end", "${secrets.aws.KEY", Reason.INVALID_REFERENCE),
        ("with a default", "${secrets.aws.KEY:-x}", Reason.INVALID_REFERENCE),
        ("with a key that begins with a digit", "${secrets.aws.9}", Reason.INVALID_REFERENCE),
        ("with spaces", "${secrets. aws.KEY }", Reason.INVALID_REFERENCE),
        ("within another", "${secrets.aws.${secrets.aws.KEY}}", Reason.INVALID_REFERENCE),
        ("one right and one wrong", "${secrets.aws.KEY} ${secrets.}", Reason.INVALID_REFERENCE),
        ("after a dollar sign, which would undo it", "$${secrets.aws.KEY}", Reason.INVALID_REFERENCE),
        ("after three dollar signs", "a$$$${secrets.aws.KEY}", Reason.INVALID_REFERENCE),
        ("of a bundle that the job does not name", "${secrets.db.KEY}", Reason.INVALID_REFERENCE),
        ("of a variable that the bundle does not have", "${secrets.aws.NONE}", Reason.KEY_NOT_FOUND),
        ("of a file", "${secrets.aws.etc}", Reason.KEY_NOT_FOUND),
    ],
)
@pytest.mark.parametrize("field", ["command", "args", "env"])
def test_malformed_expression_is_denied(sentence, text, reason, field):
    value = [{"name": "X", "value": text}] if field == "env" else [text]
    fields: dict[str, Any] = {field: value}
    refused = denied(pod_body("aws", containers=[container(**fields)]), WORLD)
    assert refused.reason is reason


def test_other_text_is_left_unchanged():
    texts = ["${SECRETS.aws.KEY}", "${secrets}", "$secrets.aws.KEY", "{secrets.aws.KEY}", "$(NOT)", "$${HOME}"]
    body = pod_body("aws", containers=[container(args=texts)])
    assert patched(body, granted(body, WORLD))["spec"]["containers"][0]["args"] == texts


def test_expression_in_an_unlisted_container_is_denied():
    body = pod_body(
        "aws",
        annotations={names.CONTAINERS_ANNOTATION: "a"},
        containers=[container("a"), container("b", args=["${secrets.aws.KEY}"])],
    )
    assert denied(body, WORLD).reason is Reason.INVALID_REFERENCE


def test_an_expression_of_an_optional_bundle_that_is_missing_is_refused():
    body = pod_body("none?", containers=[container(args=["${secrets.none.KEY}"])])
    assert denied(body, WORLD).reason is Reason.INVALID_REFERENCE


def test_hidden_variables_are_derived_from_their_key_and_reserved():
    body = pod_body("aws", containers=[container(env=[{"name": hidden_variable("aws.KEY"), "value": "x"}])])
    assert denied(body, WORLD).reason is Reason.RESERVED_NAME


def test_a_second_pass_over_expressions_changes_nothing():
    body = pod_body("aws, db", containers=[container(args=["${secrets.aws.KEY}"]), container("b")])
    first = granted(body, WORLD)
    again = granted(patched(body, first), WORLD)
    assert again.injection.operations == ()
    assert again.injection.layout == first.injection.layout


# Conflicts of keys


def test_the_last_bundle_wins_a_key_and_it_is_reported():
    body = pod_body("aws, db")
    decision = granted(body, WORLD)
    assert view(body, decision).env["KEY"] == "other"
    assert json.loads(decision.injection.resolution)["overridden"] == {"KEY": {"bundle": "db", "over": ["aws"]}}


@pytest.mark.parametrize(
    ("sentence", "annotations", "policies", "is_refused"),
    [
        ("nobody asks", {}, (), False),
        ("the pod asks", {names.KEY_CONFLICT_ANNOTATION: "Fail"}, (), True),
        ("the pod asks for the default", {names.KEY_CONFLICT_ANNOTATION: "LastWins"}, (), False),
        ("a policy over one of the bundles asks", {}, (
            policy("acme/strict", secret_names=("db",), rules=(Rule("all"),), key_conflict=KeyConflict.FAIL),), True),
        ("a policy over another bundle asks", {}, (
            policy("acme/strict", secret_names=("x",), rules=(Rule("all"),), key_conflict=KeyConflict.FAIL),), False),
        ("the pod cannot soften a policy", {names.KEY_CONFLICT_ANNOTATION: "LastWins"}, (
            policy("acme/strict", rules=(Rule("all"),), key_conflict=KeyConflict.FAIL),), True),
    ],
)  # fmt: skip
def test_key_conflict_denies_the_pod_where_requested(sentence, annotations, policies, is_refused):
    body = pod_body("aws, db", annotations=annotations)
    decision = decide_about(body, world_of(AWS, DB, policies=policies))
    if is_refused:
        assert isinstance(decision, Denied)
        assert decision.reason is Reason.KEY_CONFLICT
        assert "'aws'" in decision.message
        assert "'db'" in decision.message
    else:
        assert isinstance(decision, Granted)


def test_a_conflict_of_files_names_two_bundles_even_when_the_last_one_holds_the_path_twice():
    snapshot = world_of(
        definition("acme/a", files={"/etc/x": "a"}), definition("acme/b", files={"/etc/x": "1", "/etc//x": "2"})
    )
    message = denied(pod_body("a, b", annotations={names.KEY_CONFLICT_ANNOTATION: "Fail"}), snapshot).message
    assert "bundles 'a' and 'b'" in message


def test_one_bundle_is_never_in_conflict_with_itself():
    snapshot = world_of(definition("acme/b", files={"/etc/x": "1", "/etc//x": "2"}))
    body = pod_body("b", annotations={names.KEY_CONFLICT_ANNOTATION: "Fail"})
    decision = granted(body, snapshot)
    assert view(body, decision).files["/etc/x"] == "2"
    assert "over" not in decision.injection.resolution


# Broken and denied bundles

EXPIRED = definition("acme/old", env={"A": "a"}, expires=NOW)
LOST = definition("acme/lost", env={"A": "a"}, not_ready=Reason.KEY_LOST)


@pytest.mark.parametrize(("item", "reason"), [(EXPIRED, Reason.EXPIRED), (LOST, Reason.NOT_READY)])
@pytest.mark.parametrize("mark", ["", "?"])
def test_broken_bundle_denies_the_pod_that_references_it(item, reason, mark):
    """Also where it is optional: that is for what is missing or denied, and this one is there and broken."""
    refused = denied(pod_body(item.secret_name + mark), world_of(item))
    assert refused.reason is reason
    assert item.location in refused.message


@pytest.mark.parametrize("item", [EXPIRED, LOST])
def test_a_broken_bundle_is_not_replaced_by_a_wider_one(item):
    narrow = definition("web/own", secret_name="aws", scope="Project", expires=item.expires, not_ready=item.not_ready)
    assert isinstance(decide_about(pod_body("aws"), world_of(AWS, narrow)), Denied)


def attached(item):
    return definition(item.location, env={"A": "a"}, attach=Attach.ALWAYS, expires=item.expires)


def test_broken_attached_bundle_denies_every_pod():
    assert denied(pod_body(""), world_of(attached(EXPIRED))).reason is Reason.EXPIRED


def test_broken_attached_bundle_that_policy_denies_stops_no_pod():
    decision = granted(pod_body(""), world_of(attached(EXPIRED), policies=[policy("acme/nobody")]))
    assert [(left.name, left.reason, left.is_attached) for left in decision.grant.left_out] == [
        ("old", Reason.POLICY_DENIED, True)
    ]


def test_a_denied_contributor_denies_the_whole_bundle():
    narrow = definition("web/own", secret_name="aws", scope="Project", override="Merge", env={"B": "b"})
    snapshot = world_of(AWS, narrow, policies=[policy("acme/nobody", scopes=("Organization",))])
    refused = denied(pod_body("aws"), snapshot)
    assert refused.reason is Reason.POLICY_DENIED
    assert "denied by policy 'acme/nobody', which has no rules" in refused.message


def test_a_denied_winner_is_not_replaced_by_a_wider_one():
    narrow = definition("web/own", secret_name="aws", scope="Project", env={"B": "b"})
    snapshot = world_of(AWS, narrow, policies=[policy("web/nobody")])
    assert denied(pod_body("aws"), snapshot).reason is Reason.POLICY_DENIED


# Reserved names and forged pods


ITEMS = [{"key": "a", "path": "a"}]


def injected(secrets="aws"):
    body = pod_body(secrets)
    return patched(body, granted(body, WORLD))


@pytest.mark.parametrize(
    "volume",
    [
        {"emptyDir": {}},
        {"secret": {"secretName": f"{BASE}-0"}},
        {"projected": {"sources": []}},
        {"projected": {"sources": [{"configMap": {"name": "x"}}]}},
        {"projected": {"sources": [{"secret": {"name": "mine", "items": ITEMS}}]}},
        {"projected": {"sources": [{"secret": {"name": f"{BASE}-0", "optional": True, "items": ITEMS}}]}},
        {"projected": {"sources": [{"secret": {"name": f"{BASE}-x", "items": ITEMS}}]}},
    ],
)
def test_foreign_volume_with_the_reserved_name_is_denied(volume):
    body = pod_body("aws", volumes=[{"name": names.VOLUME_NAME, **volume}])
    with pytest.raises(DeniedError) as refusal:
        existing_base(parse_pod(body))
    assert refusal.value.reason is Reason.RESERVED_NAME
    assert isinstance(decide_about(body, WORLD), Denied)


def test_the_base_of_an_injected_pod_is_read_from_its_volume():
    assert existing_base(parse_pod(injected())) == BASE
    assert existing_base(parse_pod(pod_body("aws"))) is None


def add_key(pod):
    reference = {"name": f"{BASE}-0", "key": "db.KEY"}
    pod["spec"]["containers"][0]["env"].append({"name": "STOLEN", "valueFrom": {"secretKeyRef": reference}})


def add_item(pod):
    items = pod["spec"]["volumes"][0]["projected"]["sources"][0]["secret"]["items"]
    items.append({"key": "db.KEY", "path": "stolen", "mode": 0o444})


def add_mount(pod):
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": names.VOLUME_NAME, "mountPath": "/elsewhere"})


def make_writable(pod):
    pod["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = False


@pytest.mark.parametrize("forge", [add_key, add_item, add_mount, make_writable])
def test_pod_changed_by_hand_is_denied(forge):
    pod = injected()
    forge(pod)
    assert denied(pod, WORLD).reason is Reason.DEFINITIONS_CHANGED


def test_mode_that_was_changed_by_hand_is_restored():
    pod = injected()
    pod["spec"]["volumes"][0]["projected"]["sources"][0]["secret"]["items"][1]["mode"] = 0o444
    decision = granted(pod, WORLD)
    assert view(pod, decision).modes["/etc/aws"] == 0o600
    assert len(decision.injection.operations) == 1


def test_what_another_webhook_removed_is_added_again():
    pod = injected()
    pod["spec"]["containers"][0].pop("env")
    pod["spec"]["containers"].append(container("sidecar"))
    seen = views(pod, granted(pod, WORLD))
    assert seen["job"].visible == seen["sidecar"].visible == {"KEY": "k", "TOKEN": "t"}


def test_changed_definitions_are_distinguished_from_a_complete_pod():
    pod = injected()
    newer = definition("acme/aws", generation=2, env={"KEY": "new"})
    assert denied(pod, world_of(newer)).reason is Reason.DEFINITIONS_CHANGED
    same_names = definition("acme/aws", generation=2, env={"KEY": "1", "TOKEN": "2"}, files={"/etc/aws": "3"})
    operations = granted(pod, world_of(same_names)).injection.operations
    assert [operation["path"] for operation in operations] == [
        f"/metadata/annotations/{names.RESOLUTION_ANNOTATION.replace('/', '~1')}"
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "x", "KEY", "/x", "${secrets.aws.KEY}"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(
            ["name", "env", "value", "valueFrom", "secretKeyRef", "key", "volumeMounts", "mountPath", "command", "uid",
             "projected", "sources", "secret", "items", "path", "mode", "runAsUser", "fsGroup", "controller"]
        ),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@examples(5)
@given(
    metadata=st.dictionaries(
        st.sampled_from(["name", "generateName", "uid", "labels", "annotations", "ownerReferences"]), JSON
    ),
    spec=st.dictionaries(
        st.sampled_from(["containers", "initContainers", "volumes", "securityContext", "serviceAccountName"]), JSON
    ),
    names_bundle=st.booleans(),
)
def test_invalid_pod_body_is_denied_and_never_raises(metadata, spec, names_bundle):
    if names_bundle:
        metadata = metadata | {"annotations": {names.SECRETS_ANNOTATION: "aws"}}
    body = {"metadata": metadata | {"namespace": "web"}, "spec": spec}

    assert attempt(body) in {Granted, Denied, Reason.INVALID_POD}


def attempt(body):
    """Return what a body comes to; anything but a decision or a refusal goes on as it is."""
    try:
        return type(decide_about(body, WORLD))
    except DeniedError as refusal:
        return refusal.reason


@pytest.mark.parametrize("body", [{}, {"metadata": None, "spec": {}}, {"metadata": {}, "spec": []}, {"metadata": {}}])
def test_a_body_without_its_parts_is_refused(body):
    with pytest.raises(DeniedError) as refusal:
        parse_pod(body)
    assert refusal.value.reason is Reason.INVALID_POD


# Limits


def test_a_container_gets_five_hundred_variables_and_no_more():
    most = [definition(f"acme/b{n}", env={f"V{n}_{i}": "x" for i in range(100)}) for n in range(5)]
    secrets = ", ".join(item.secret_name for item in most)
    body = pod_body(secrets)
    assert len(view(body, granted(body, world_of(*most))).env) == MAX_VARIABLES
    refused = denied(pod_body(f"{secrets}, db"), world_of(*most, DB))
    assert refused.reason is Reason.LIMIT_EXCEEDED
    assert "at most 500" in refused.message


def test_hidden_variables_count_too():
    most = [definition(f"acme/b{n}", env={f"V{n}_{i}": "x" for i in range(100)}) for n in range(5)]
    body = pod_body(", ".join(item.secret_name for item in most), containers=[container(args=["${secrets.b0.V0_0}"])])
    assert denied(body, world_of(*most)).reason is Reason.LIMIT_EXCEEDED


def test_a_container_gets_five_hundred_files_and_no_more():
    most = [definition(f"acme/b{n}", files={f"/etc/{n}/{i}": "x" for i in range(50)}) for n in range(10)]
    secrets = ", ".join(item.secret_name for item in most)
    body = pod_body(secrets)
    files = view(body, granted(body, world_of(*most))).files
    assert len([path for path in files if not path.startswith(names.MOUNT_PATH)]) == MAX_FILES
    assert denied(pod_body(f"{secrets}, db"), world_of(*most, DB)).reason is Reason.LIMIT_EXCEEDED


def test_a_job_holds_six_mebibytes_and_no_more():
    size = 512 * 1024
    most = [definition(f"acme/b{n}", files={f"/etc/{n}": sealed("", size)}) for n in range(12)]
    secrets = ", ".join(item.secret_name for item in most)
    assert isinstance(decide_about(pod_body(secrets), world_of(*most)), Granted)
    one_more = definition("acme/one", env={"A": sealed("", 1)})
    refused = denied(pod_body(f"{secrets}, one"), world_of(*most, one_more))
    assert refused.reason is Reason.LIMIT_EXCEEDED
    assert "6291456" in refused.message
