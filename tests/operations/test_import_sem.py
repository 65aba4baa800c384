"""Secrets, project secrets and deployment targets of Semaphore."""

import base64

import pytest

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.import_sem import parse_sem
from scoped_secrets.operations.imports import hidden_entries

CANARY = "canary-51be09"
PROJECT_ID = "a426b4db-1919-483d-926d-06ba1320b209"

ORGANIZATIONAL = """
apiVersion: v1beta
kind: Secret
metadata: {name: aws, id: 1, create_time: "1536673464", update_time: "1536674946"}
data:
  env_vars:
  - {name: PLAIN, value: b c}
  - {name: NUMBER, value: 8080}
  - {name: YES, value: yes}
  - {name: HIDDEN, value: ""}
  - {name: NULL_VALUE, value: }
  files:
  - {path: .ssh/id, content: a2V5Cg==}
  - {path: /etc/hidden, content: ""}
"""

TARGET = f"""
apiVersion: v1alpha
kind: DeploymentTarget
metadata:
  name: production
  project_id: {PROJECT_ID}
  organization_id: 7304b7f9-7482-46d4-9b95-3cd5a6ef2e6f
  description: the live one
  url: https://example.org
spec:
  state: USABLE
  subject_rules: [{{type: ROLE, subject_id: Admin}}]
  object_rules:
  - {{type: BRANCH, match_mode: EXACT, pattern: main}}
  - {{type: TAG, match_mode: ALL, pattern: ""}}
  - {{type: BRANCH, match_mode: REGEX, pattern: "release-.*"}}
  bookmark_parameter1: b1
  env_vars:
  - name: X
    value: ef836f1a81645fd778adb189377aed1d [md5]
  - name: Y
    value: plain
  files:
  - path: /app/conf
    content: 0c2606ba4ac1ee72b5cc6f91648bf28c [md5]
    source: ""
"""


def parsed(text, *, projects=None, **more):
    return parse_sem(text.encode(), projects or {}, **more)


def values(bundle):
    return {entry.key.name: entry.value.reveal() for entry in bundle.entries if entry.value is not None}


def notes(bundle, word):
    return [note for note in bundle.notes if note.startswith(word)]


def test_secret_keeps_texts_as_they_are_and_hides_empty_values():
    [bundle] = parsed(ORGANIZATIONAL)
    assert (bundle.secret_name, bundle.project, bundle.environment) == ("aws", None, None)
    assert values(bundle) == {"PLAIN": b"b c", "NUMBER": b"8080", "YES": b"yes", ".ssh/id": b"key\n"}
    assert [key.name for key in hidden_entries(bundle)] == ["HIDDEN", "NULL_VALUE", "/etc/hidden"]
    assert bundle.restriction is None


def test_project_secret_that_shows_its_contents_keeps_empty_values():
    text = """
kind: ProjectSecret
metadata: {name: db, project_id_or_name: web, content_included: true}
data: {env_vars: [{name: EMPTY, value: ""}], files: [{path: empty, content: ""}]}
"""
    [bundle] = parsed(text)
    assert (bundle.project, values(bundle)) == ("web", {"EMPTY": b"", "empty": b""})


def test_several_documents_are_several_bundles():
    assert [
        bundle.secret_name for bundle in parsed(f"{ORGANIZATIONAL}---\n{TARGET}", projects={PROJECT_ID: "web"})
    ] == [
        "aws",
        "production",
    ]


@pytest.mark.parametrize(
    ("settings", "rules", "interactive"),
    [
        ("{projects_access: NONE}", (), {}),
        (
            "{projects_access: ALLOWED, projects_ids: [web, api]}",
            [{"name": "projects", "projects": ["web", "api"]}],
            {},
        ),
        (
            f"{{projects_access: ALLOWED, project_ids: [{PROJECT_ID}]}}",
            [{"name": "projects", "projects": ["shop"]}],
            {},
        ),
        ("{debug_access: JOB_DEBUG_NO}", [{"name": "every-job"}], {"ephemeralContainers": "Deny"}),
        (
            "{projects_access: ALL, attach_access: JOB_ATTACH_NO}",
            [{"name": "every-job"}],
            {"exec": "Deny", "attach": "Deny", "portForward": "Deny"},
        ),
    ],
)
def test_access_policy_becomes_rules_and_denied_sessions(settings, rules, interactive):
    [bundle] = parsed(f"{ORGANIZATIONAL}org_config: {settings}\n", projects={PROJECT_ID: "shop"})
    assert list(bundle.restriction.rules) == list(rules)
    assert bundle.restriction.interactive == interactive


def test_project_without_a_name_is_not_allowed_and_told():
    [bundle] = parsed(f"{ORGANIZATIONAL}org_config: {{projects_access: ALLOWED, projects_ids: [{PROJECT_ID}]}}\n")
    assert bundle.restriction.rules == ()
    assert f"give --project-id {PROJECT_ID}=NAME" in notes(bundle, "project ")[0]


def test_target_is_an_environment_with_rules_about_refs_and_lists_what_is_lost():
    [bundle] = parsed(TARGET, projects={PROJECT_ID: "web"})
    [rule] = bundle.restriction.rules
    assert (bundle.secret_name, bundle.project, bundle.environment) == ("production", "web", "production")
    assert bundle.spec == {"description": "the live one", "attach": "Always"}
    assert {"refs/heads/main", "refs/tags/*", "refs/tags/*/*"} <= set(rule["refs"])
    assert "refs/heads/*" not in rule["refs"]
    assert values(bundle) == {"Y": b"plain"}
    assert hidden_entries(bundle) == [EntryKey(EntryKind.ENV, "X"), EntryKey(EntryKind.FILE, "/app/conf")]
    for word in ("subject_rules", "object_rules: the regular expression", "url", "bookmark_parameter", "files"):
        assert notes(bundle, word), word


def test_target_for_every_ref_has_no_policy():
    rules = "".join(f"  - {{type: {kind}, match_mode: ALL}}\n" for kind in ("BRANCH", "TAG", "PR"))
    head, _, _ = TARGET.partition("  object_rules")
    [bundle] = parsed(f"{head}  object_rules:\n{rules}", projects={PROJECT_ID: "web"})
    assert bundle.restriction is None


def test_cordoned_target_allows_no_job():
    [bundle] = parsed(TARGET.replace("USABLE", "CORDONED"), projects={PROJECT_ID: "web"})
    assert bundle.restriction.rules == ()
    assert notes(bundle, "the target is cordoned")


def test_id_of_a_project_needs_a_name_unless_the_person_states_the_project():
    with pytest.raises(ConfigurationError, match=f"--project-id {PROJECT_ID}=NAME, or --project"):
        parsed(TARGET)
    assert len(parsed(TARGET, is_project_stated=True)) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        (f"kind: Secret\n{CANARY}: [", "the file must be YAML, but line"),
        (f"- {CANARY}", "document 1 must be a mapping"),
        (f"kind: {CANARY}", "document 1: `kind` must be Secret, ProjectSecret or DeploymentTarget"),
        ("kind: Secret", "document 1: `metadata.name` must be given"),
        (f"kind: Secret\nmetadata: {CANARY}", "document 1: `metadata` must be a mapping"),
        (
            f"kind: Secret\nmetadata: {{name: a}}\ndata: {{env_vars: [{{name: A, value: [{CANARY}]}}]}}",
            r"document 1: `data.env_vars\[0\].value` must be a text",
        ),
        (
            f"kind: Secret\nmetadata: {{name: a}}\ndata: {{files: [{{path: p, content: {CANARY}!}}]}}",
            r"document 1: `data.files\[0\].content` must be base64",
        ),
        (
            "kind: Secret\nmetadata: {name: a}\ndata: {env_vars: [{name: A, value: x}, {name: A, value: y}]}",
            "must have each name once, but repeats 'A'",
        ),
        (
            "kind: Secret\nmetadata: {name: a}\norg_config: {projects_access: SOME}",
            "`org_config.projects_access` must be",
        ),
        (f"!!python/object:os.system {CANARY}", "the file must be YAML"),
        ("[" * 5000, "the file must be YAML"),
    ],
)
def test_mistake_is_named_by_its_place_and_quotes_no_content(text, words):
    with pytest.raises(ConfigurationError, match=words) as raised:
        parsed(text)
    assert CANARY not in str(raised.value)
    assert raised.value.__context__ is None


def test_bytes_of_a_file_are_kept():
    content = bytes(range(256))
    text = base64.b64encode(content).decode()
    [bundle] = parsed(f"kind: Secret\nmetadata: {{name: a}}\ndata: {{files: [{{path: p, content: {text}}}]}}")
    assert values(bundle) == {"p": content}
