"""Files are read as `kubectl apply -f` reads them, and every field has its line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.support import CANARY, changed, full_policy, stored_secret
from tests.api.test_parsing import JSON, paths_of
from tests.operations.files import definition, write

from scoped_secrets.operations.lint import LintSettings, lint
from scoped_secrets.operations.manifests import read_manifests
from scoped_secrets.operations.patching import apply_operations

if TYPE_CHECKING:
    from pathlib import Path

# Names are what messages are made of, so that a value in place of a name is shown.
NAMES = ("name", "namespace", "secretName", "path", "env", "environment", "project", "key")
SETTINGS = LintSettings(datetime(2026, 6, 1, tzinfo=UTC), namespace="web")


def test_directories_are_read_recursively_without_hidden_and_other_files(tmp_path: Path):
    for name in ("b/secret.yml", "a.yaml", "c.json", ".git/x.yaml", "b/.hidden.yaml", "notes.txt"):
        write(tmp_path, name, json.dumps(definition(f"acme/{name.replace('/', '-').replace('.', '-').strip('-')}")))

    documents = read_manifests([str(tmp_path), str(tmp_path / "a.yaml")]).documents

    assert [each.path.removeprefix(f"{tmp_path}/") for each in documents] == ["a.yaml", "b/secret.yml", "c.json"]


def test_documents_that_are_no_kubernetes_objects_are_left_out(tmp_path: Path):
    file = write(tmp_path, "values.yaml", "image: {tag: x}\n", "# nothing\n", "- a\n", definition("acme/aws"))

    (document,) = read_manifests([file]).documents

    assert (document.number, document.name) == (4, "aws")


def test_values_are_read_as_the_api_servers_clients_read_them(tmp_path: Path):
    file = write(
        tmp_path,
        "object.yaml",
        "apiVersion: v1\nkind: X\nspec: {time: 2027-01-01T00:00:00Z, yes: yes, mode: 0600, text: '0600'}\n",
    )

    (document,) = read_manifests([file]).documents

    assert document.body["spec"] == {"time": "2027-01-01T00:00:00Z", True: True, "mode": 0o600, "text": "0600"}


@pytest.mark.parametrize(
    ("field", "line"),
    [("", 2), ("spec", 4), ("spec.env[1].value", 8), ("spec.env[1].missing", 7), ("spec.env[7]", 5), ("status", 2)],
)
def test_line_is_that_of_the_field_or_of_the_nearest_one_around_it(field: str, line: int, tmp_path: Path):
    text = "---\napiVersion: v1\nkind: X\nspec:\n  env:\n  - {name: A, value: x}\n  - name: B\n    value: y\n"

    (document,) = read_manifests([write(tmp_path, "file.yaml", text)]).documents

    assert document.line_of(field) == line


def test_anchors_and_merge_keys_are_expanded(tmp_path: Path):
    text = "apiVersion: v1\nkind: X\nbase: &b {a: 1}\nspec: {<<: *b, c: 2}\n"

    (document,) = read_manifests([write(tmp_path, "file.yaml", text)]).documents

    assert document.body["spec"] == {"a": 1, "c": 2}


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(["secret", "policy"]), data=st.data(), value=JSON)
def test_lint_says_something_about_any_field_and_shows_no_value(
    kind: str, data: st.DataObject, value: Any, tmp_path_factory: pytest.TempPathFactory
):
    body = stored_secret() if kind == "secret" else full_policy()
    path = data.draw(st.sampled_from(paths_of(body)))
    file = tmp_path_factory.mktemp("any") / "object.yaml"
    file.write_text(yaml.safe_dump(changed(body, path, value)))

    findings = lint(read_manifests([str(file)]), SETTINGS)

    if path.rpartition(".")[2] not in NAMES:
        assert CANARY not in repr(findings)


MEMBERS = st.recursive(
    st.one_of(st.integers(), st.text(alphabet="ab~/-", max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(alphabet="ab~/-", min_size=1, max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text(alphabet="ab~/-", min_size=1, max_size=3), MEMBERS, min_size=1, max_size=3)


@given(before=BODIES, after=BODIES)
def test_operations_are_applied_as_the_api_server_applies_them(before: dict[str, Any], after: dict[str, Any]):
    operations = [each for each in jsonpatch.make_patch(before, after) if each["op"] in ("add", "remove", "replace")]
    try:
        expected = jsonpatch.apply_patch(before, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        # Without its moves, a patch may not fit.
        return

    assert apply_operations(before, operations) == expected


def test_an_item_is_added_at_the_end_of_a_list():
    operations: list[dict[str, object]] = [
        {"op": "add", "path": "/a/-", "value": {"b": 1}},
        {"op": "add", "path": "/a/0", "value": 2},
    ]

    assert apply_operations({"a": [0]}, operations) == {"a": [2, 0, {"b": 1}]}
