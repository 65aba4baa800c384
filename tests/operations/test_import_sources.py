"""Sources without prompts of their own: contexts of CircleCI, native Secrets, exported names, files of values."""

import base64
import json

import pytest
import yaml

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.cluster_view import ClusterView
from scoped_secrets.operations.export_names import exported_names, parse_names
from scoped_secrets.operations.import_circleci import parse_circleci
from scoped_secrets.operations.import_documents import read_documents
from scoped_secrets.operations.import_native import bundle_of_secret
from scoped_secrets.operations.listing import listed
from scoped_secrets.operations.place import PlaceRequest

CANARY = "canary-c4410f"


def context():
    item = {"variable": "AWS_KEY", "created_at": "2026-01-01T00:00:00Z", "context_id": "1", "truncated_value": CANARY}
    return json.dumps({"items": [item], "next_page_token": None}).encode()


def test_context_has_names_and_no_values():
    bundle = parse_circleci(context(), "aws")
    assert [(entry.key, entry.value) for entry in bundle.entries] == [(EntryKey(EntryKind.ENV, "AWS_KEY"), None)]


def test_variables_of_a_project_of_circleci_are_read_too():
    bundle = parse_circleci(b'[{"name": "A", "value": "xxxx1234"}]', "aws")
    assert [(entry.key.name, entry.value) for entry in bundle.entries] == [("A", None)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CANARY.encode(), "must be the JSON of"),
        (b'{"items": 1}', "must be the JSON of"),
        (b"\xff", "must be the JSON of"),
        (json.dumps({"items": [{"variable": "A"}], "next_page_token": "x"}).encode(), "one page of several"),
        (b'{"items": []}', "has no variables"),
        (b'{"items": [{"variable": 1}]}', "must be the name of a variable"),
        (b'{"items": [{"variable": "A"}, {"variable": "A"}]}', "repeats 'A'"),
    ],
)
def test_file_that_is_no_context_is_refused(content, words):
    with pytest.raises(ConfigurationError, match=words) as raised:
        parse_circleci(content, "aws")
    assert CANARY not in str(raised.value)


def native(data, type_="Opaque"):
    return {
        "metadata": {"namespace": "web", "name": "old"},
        "type": type_,
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def test_keys_become_variables_and_files_become_files_in_their_folder():
    body = native({"TOKEN": b"t", "id.rsa": b"key\n", "BYTES": b"\xff", "NUL": b"a\0b"})
    bundle = bundle_of_secret(body, None, files=True, folder=".ssh/")
    assert (bundle.secret_name, bundle.restriction) == ("old", None)
    assert {str(entry.key): entry.value and entry.value.reveal() for entry in bundle.entries} == {
        "variable 'TOKEN'": b"t",
        "file '.ssh/id.rsa'": b"key\n",
        "file '.ssh/BYTES'": b"\xff",
        "file '.ssh/NUL'": b"a\0b",
    }
    assert "kubectl delete secret old -n web" in bundle.notes[0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (native({"tls.crt": b"x", "A": b"x"}), "'tls.crt'; import them as files with --files"),
        (native({}), "has no keys"),
        (native({"token": b"x"}, "kubernetes.io/service-account-token"), "the token of a ServiceAccount"),
    ],
)
def test_native_secret_that_cannot_be_imported_is_refused_with_the_remedy(body, words):
    with pytest.raises(ConfigurationError, match=words):
        bundle_of_secret(body, None, files=False, folder="")


def stored():
    return {
        "apiVersion": "x",
        "kind": "x",
        "metadata": {"namespace": "acme", "name": "aws-web", "labels": {"tier": "one"}},
        "spec": {
            "secretName": "aws",
            "scope": "Environment",
            "project": "web",
            "environment": "review/*",
            "description": "for AWS",
            "override": "Merge",
            "attach": "OnReference",
            "final": True,
            "env": [{"name": "KEY", "sealed": CANARY}, {"name": "PLAIN", "value": CANARY, "sensitive": False}],
            "files": [
                {"path": ".ssh/id", "mode": "0400", "env": "ID", "content": CANARY},
                {"env": "CONFIG", "contentBase64": CANARY},
                {"path": "token", "valueFrom": {"secretKeyRef": {"name": CANARY, "key": CANARY}}},
            ],
        },
    }


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_exported_names_are_the_definition_without_any_value(write):
    body = stored()
    view = ClusterView({"acme/aws-web": body})
    text = write(exported_names(listed(view, PlaceRequest()), view.bodies))

    assert CANARY not in text
    [bundle] = parse_names(text.encode())
    assert (bundle.secret_name, bundle.project, bundle.environment) == ("aws", "web", "review/*")
    assert bundle.spec == {"description": "for AWS", "override": "Merge", "final": True}
    assert bundle.labels == {"tier": "one"}
    assert [(str(entry.key), entry.mode, entry.env, entry.value) for entry in bundle.entries] == [
        ("variable 'KEY'", None, None, None),
        ("variable 'PLAIN'", None, None, None),
        ("file '.ssh/id'", "0400", "ID", None),
        ("file '$CONFIG'", None, None, None),
        ("file 'token'", None, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("kind: Secret", "`kind` must be SecretNames"),
        ("secrets: [{name: a, scope: Project}]", r"`secrets\[0\].project` must be given with scope Project"),
        ("secrets: [{name: a, scope: Wide}]", r"`secrets\[0\].scope` must be Organization, Project, Environment"),
        ("secrets: [{name: a, scope: Organization, files: [{mode: '0600'}]}]", r"files\[0\].path` must be given, or"),
    ],
)
def test_names_that_break_a_rule_are_refused_with_their_path(text, words):
    head = "" if not text or "kind" in text else "apiVersion: cli.scopedsecrets.dev/v1alpha1\nkind: SecretNames\n"
    with pytest.raises(ConfigurationError, match=words):
        parse_names(f"{head}{text}".encode())


def test_texts_stay_texts_and_binary_scalars_are_bytes():
    [document] = read_documents(b"a: {n: 010, d: 2027-01-31, b: !!binary /wA=, '': x}", "FILE")
    child = document.child("a")
    assert [child.content(name) for name in "ndb"] == [b"010", b"2027-01-31", b"\xff\x00"]
