"""What is plainly valid is valid: the models say so of every such object."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.support import REMOVED, changed, minimal_secret
from tests.strategies import examples

from scoped_secrets.api.accepted import valid_definition
from scoped_secrets.api.parsing import check_scoped_secret, parse_scoped_secret, to_definition
from scoped_secrets.api.plain_form import is_plainly_valid
from scoped_secrets.api.reserved_variables import RESERVED_NAMES, RESERVED_PREFIXES
from scoped_secrets.errors import InvalidObjectError


def plain() -> dict[str, Any]:
    content = base64.b64encode(b"-----BEGIN KEY-----\n").decode()
    body = changed(minimal_secret(), "spec.env", [{"name": "AWS_SECRET", "value": "one"}, {"name": "B", "value": ""}])
    return changed(body, "spec.files", [{"path": ".ssh/id_ed25519", "mode": "0600", "contentBase64": content}])


def is_valid(body: dict[str, Any]) -> bool:
    try:
        check_scoped_secret(parse_scoped_secret(body))
    except InvalidObjectError:
        return False
    return True


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.description", "What the bundle is for"),
        ("spec.secretName", "Aws.prod_1"),
        ("spec.project", "web"),
        ("metadata.labels", {"tier": "production"}),
        ("spec.files.0.path", "/home/ci/.netrc"),
        ("spec.files.0.path", "~/.config/tool/config"),
        ("spec.files.0.mode", REMOVED),
        ("spec.env", REMOVED),
        ("spec.files", REMOVED),
        ("spec.env.0.value", "é" * 2048),
        ("spec", {"scope": "Organization"}),
        ("spec", {"scope": "Environment", "environment": "review/*"}),
    ],
)
def test_usual_objects_are_plainly_valid(path: str, value: Any):
    body = changed(plain(), path, value)

    assert is_plainly_valid(body)
    assert is_valid(body)


@pytest.mark.parametrize("name", [*sorted(RESERVED_NAMES), *(f"{prefix}X" for prefix in RESERVED_PREFIXES)])
def test_a_reserved_name_is_not_plainly_valid(name: str):
    assert not is_plainly_valid(changed(plain(), "spec.env.0.name", name))
    assert not is_valid(changed(plain(), "spec.env.0.name", name))


NAMES = st.text(st.sampled_from("aA1._-/~$* é\0\n"), max_size=6) | st.sampled_from(
    ["PATH", "LD_PRELOAD", "aws", "AWS_SECRET", "x" * 63, "x" * 64, "x" * 254, "../x", "a/", "a//b", "~", "~x/y", "."]
)
VALUES = st.text(max_size=4) | st.sampled_from(
    ["x" * 2048, "x" * 40_000, "é" * 20_000, "\0", "AA==", "AP8A", "A", "A=="]
)
PLACES = st.sampled_from(
    [
        "metadata.name",
        "spec.scope",
        "spec.secretName",
        "spec.project",
        "spec.environment",
        "spec.description",
        "spec.env.0.name",
        "spec.env.1.name",
        "spec.env.0.value",
        "spec.files.0.path",
        "spec.files.0.mode",
        "spec.files.0.contentBase64",
        "spec.files.0.env",
        "spec.override",
    ]
)
SCOPES = st.sampled_from(["Organization", "Project", "Environment", "0644", "999", "07777"])


@given(st.lists(st.tuples(PLACES, NAMES | VALUES | SCOPES), max_size=4))
@examples(10)
def test_what_is_plainly_valid_is_valid(changes: list[tuple[str, str]]):
    body = plain()
    for path, value in changes:
        body = changed(body, path, value)

    if is_plainly_valid(body):
        assert is_valid(body)


@pytest.mark.parametrize("entry", [{"name": "A"}, {"name": "A", "value": "b", "sensitive": False}, {}])
def test_other_forms_of_entries_are_left_to_the_models(entry: dict[str, Any]):
    assert not is_plainly_valid(changed(plain(), "spec.env.0", entry))


def test_a_repeated_name_is_not_plainly_valid():
    assert not is_plainly_valid(changed(plain(), "spec.env.1.name", "AWS_SECRET"))
    twice = plain()
    twice["spec"]["files"] *= 2
    assert not is_plainly_valid(twice)


def test_what_is_about_to_be_stored_becomes_the_definition_that_the_models_make():
    body = minimal_secret()
    body["spec"]["env"] = [{"name": "REGION", "value": "eu", "sensitive": False}]

    found = valid_definition(body)

    assert found == to_definition(parse_scoped_secret(body), keep_sealed=False)
