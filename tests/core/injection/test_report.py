"""Where each thing comes from: names only (DESIGN sections 8 and 9)."""

# ruff: noqa: S106 - `secret_name` is a name

import json

import pytest
from tests.support.builders import container, definition, granted, home_and_project, inventory, pod_body, policy
from tests.support.container_view import patched, view

from scoped_secrets import names
from scoped_secrets.core.injection.report import pins_of
from scoped_secrets.core.policy.claims import Rule

WIDE = definition("acme/aws", generation=7, env={"KEY": "wide", "REGION": "wide"}, files={"/etc/x": ("wide", 0o644)})
NARROW = definition("web/own", secret_name="aws", scope="Project", override="Merge", env={"KEY": "narrow"})
OTHER = definition("acme/db", env={"KEY": "other"}, attach="Always")


def reports(body, *definitions, policies=()):
    """Return the annotation and ``resolution.json``, both as they reach the cluster and the job."""
    decision = granted(body, inventory(home_and_project(), definitions, policies))
    annotation = patched(body, decision)["metadata"]["annotations"][names.RESOLUTION_ANNOTATION]
    file = view(body, decision).files[f"{names.MOUNT_PATH}/{names.RESOLUTION_FILE}"]
    return json.loads(annotation), json.loads(file)


def test_annotation_names_winner_scope_merges_overrides_and_allowing_rule():
    allow = policy("acme/allow", secret_names=("aws",), rules=(Rule("everybody"),))
    annotation, _ = reports(pod_body("aws, none?"), WIDE, NARROW, OTHER, policies=[allow])
    assert annotation == {
        "organization": "acme",
        "project": "web",
        "bundles": [
            {
                "name": "db",
                "definition": "acme/db",
                "pin": "uid-acme-db@1",
                "scope": "Organization",
                "attached": True,
            },
            {
                "name": "aws",
                "definition": "web/own",
                "pin": "uid-web-own@1",
                "scope": "Project",
                "mergedFrom": [{"definition": "acme/aws", "pin": "uid-acme-aws@7"}],
                "allowedBy": [{"policy": "acme/allow", "rule": "everybody"}],
            },
        ],
        "overridden": {"KEY": {"bundle": "aws", "over": ["db"]}},
        "leftOut": [{"name": "none", "reason": "NotFound"}],
    }


def test_the_annotation_names_what_was_shadowed_and_what_was_blocked():
    final = definition("acme/aws", final=True)
    shadowed, _ = reports(pod_body("aws"), WIDE, definition("web/own", secret_name="aws", scope="Project"))
    blocked, _ = reports(pod_body("aws"), final, NARROW)
    assert shadowed["bundles"][0]["shadowed"] == ["acme/aws"]
    assert blocked["bundles"][0]["blocked"] == ["web/own"]


def test_the_file_names_the_origin_of_every_variable_and_file_of_every_container():
    body = pod_body("aws", containers=[container("a"), container("b")])
    _, file = reports(body, WIDE, NARROW, OTHER)
    assert file["env"] == {
        "KEY": {"bundle": "aws", "definition": "web/own", "over": ["db"]},
        "REGION": {"bundle": "aws", "definition": "acme/aws"},
    }
    where = {"/etc/x": {"bundle": "aws", "definition": "acme/aws", "mode": "0644"}}
    assert file["files"] == {"a": where, "b": where}


def test_pins_are_every_definition_in_use_and_survive_the_annotation():
    body = pod_body("aws")
    decision = granted(body, inventory(home_and_project(), [WIDE, NARROW, OTHER]))
    annotation = patched(body, decision)["metadata"]["annotations"][names.RESOLUTION_ANNOTATION]
    assert pins_of(annotation) == decision.grant.pins == ("uid-acme-db@1", "uid-web-own@1", "uid-acme-aws@7")


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        "",
        "no JSON",
        "[]",
        "{}",
        "1" * 5000,
        "[" * 100_000,
        '{"bundles": 1}',
        '{"bundles": "text"}',
        '{"bundles": [1]}',
        '{"bundles": [{}]}',
        '{"bundles": [{"pin": 1}]}',
        '{"bundles": [{"pin": "a@1", "mergedFrom": null}]}',
        '{"bundles": [{"pin": "a@1", "mergedFrom": [{}]}]}',
    ],
)
def test_foreign_annotation_pins_nothing(annotation):
    assert pins_of(annotation) is None


def test_empty_grant_has_no_pins():
    assert pins_of('{"bundles": []}') == ()
