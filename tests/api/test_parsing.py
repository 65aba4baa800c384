"""Parsing refuses with one sentence that names the field and never shows what was written there."""

import json
import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.support import (
    CANARY,
    REMOVED,
    changed,
    full_policy,
    minimal_secret,
    sealed,
    stored_secret,
)

from scoped_secrets.api.parsing import (
    check_scoped_secret,
    parse_scoped_secret,
    parse_secret_policy,
)
from scoped_secrets.api.patterns import SENTENCES
from scoped_secrets.errors import InvalidObjectError

SECRET_SENTENCES: dict[str, tuple[str, Any, str]] = {
    # A sentence: the field, what is written there, and the whole message.
    "a spec is given": ("spec", REMOVED, "`spec` must be given"),
    "a spec is an object": ("spec", CANARY, "`spec` must be an object with fields"),
    "entries are a list": ("spec.env", {"A": CANARY}, "`spec.env` must be a list"),
    "an entry is an object": ("spec.env.0", CANARY, "`spec.env[0]` must be an object with fields"),
    "a value is text": ("spec.env.1.value", 7, "`spec.env[1].value` must be text; put it in quotes"),
    "a value is UTF-8": ("spec.env.1.value", f"{CANARY}\ud800", "`spec.env[1].value` must be UTF-8 text"),
    "a value is short": (
        "spec.env.1.value",
        CANARY * 4000,
        "`spec.env[1].value` must be at most 32768 characters",
    ),
    "a flag is no text": (
        "spec.env.1.sensitive",
        "false",
        "`spec.env[1].sensitive` must be true or false, without quotes",
    ),
    "an entry has a source": (
        "spec.env.0",
        {"name": "A"},
        "`spec.env[0]` must have exactly one of `value`, `sealed` and `valueFrom`",
    ),
    "an entry has one source": (
        "spec.env.1.valueFrom",
        {"secretKeyRef": {"name": "a", "key": "b"}},
        "`spec.env[1]` must have exactly one of `value`, `sealed` and `valueFrom`",
    ),
    "a file has one source": (
        "spec.files.1.contentBase64",
        CANARY,
        "`spec.files[1]` must have exactly one of `content`, `contentBase64`, `sealed` and `valueFrom`",
    ),
    "a sealed text is short": (
        "spec.env.0.sealed",
        sealed(32 * 1024 + 100),
        "`spec.env[0].sealed` must be at most 45374 characters",
    ),
    "sealed text begins so": (
        "spec.env.0.sealed",
        CANARY,
        (
            "`spec.env[0].sealed` must begin with 'v1:' or 'v2:', as `kubectl scoped-secrets seal` prints it; "
            "plain text belongs into another field"
        ),
    ),
    "sealed text is sensitive": (
        "spec.files.0.sensitive",
        False,
        (
            "`spec.files[0].sensitive` must be true with `sealed` and `valueFrom`; only `content` and `contentBase64` "
            "can be plain configuration"
        ),
    ),
    "a variable is a shell name": (
        "spec.env.0.name",
        f"{CANARY}!",
        "`spec.env[0].name` must consist of letters, digits and '_', and not begin with a digit",
    ),
    "a variable does not steer the loader": (
        "spec.env.0.name",
        "LD_PRELOAD",
        (
            "`spec.env[0].name` must not be a variable that the loader, the shell, Kubernetes or this operator reads; "
            "store the value under another name and set this variable in the container's own `env`, with the value "
            "`${secrets.NAME.OTHER}`"
        ),
    ),
    "a variable stands once": ("spec.env.0.name", "REGION", "`spec.env` must have each `name` once"),
    "a path stands once": ("spec.files.0.path", "/etc/motd", "`spec.files` must have each `path` once"),
    "a file has a name": (
        "spec.files.0.path",
        REMOVED,
        (
            "`spec.files[0]` must have `path`, where the job finds the file, or `env`, the variable that holds its "
            "path, or both"
        ),
    ),
    "a file's variable is a shell name": (
        "spec.files.0.env",
        f"{CANARY}!",
        "`spec.files[0].env` must consist of letters, digits and '_', and not begin with a digit",
    ),
    "a file's variable does not steer the loader": (
        "spec.files.0.env",
        "LD_PRELOAD",
        "`spec.files[0].env` must not be a variable that the loader, the shell",
    ),
    "a file's variable stands once": (
        "spec.files",
        [{"path": "a", "env": "A", "sealed": sealed()}, {"env": "A", "sealed": sealed()}],
        "`spec.files` must have each `env` once",
    ),
    "a file's variable is no other variable": (
        "spec.files.0.env",
        "REGION",
        "`spec.files` must have no `env` that is also a `name` in `spec.env`; rename one of the two",
    ),
    "a path expands no variable": (
        "spec.files.0.path",
        "$HOME/.ssh/id",
        (
            "`spec.files[0].path` must not begin with '$', because variables are not expanded in a path; "
            "write '~/' for the job's home"
        ),
    ),
    "a path is not empty": ("spec.files.0.path", "", "`spec.files[0].path` must be at least 1 characters"),
    "a path names a file": ("spec.files.0.path", f"{CANARY}/", "`spec.files[0].path` must name a file; take the '/'"),
    "a path is in the job's home": (
        "spec.files.0.path",
        f"~{CANARY}",
        (
            "`spec.files[0].path` must be absolute, relative to the job's home, or begin with '~/'; "
            "another user's home cannot be named"
        ),
    ),
    "a path is short in bytes": ("spec.files.0.path", "é" * 257, "`spec.files[0].path` must be at most 512 bytes"),
    "a path is one line": ("spec.files.0.path", "a\nb", "`spec.files[0].path` must have no line break"),
    "a mode is octal": (
        "spec.files.0.mode",
        "0888",
        (
            '`spec.files[0].mode` must be an octal mode in quotes, from "0000" to "0777", such as "0600"; '
            'write "0600" for 0o600'
        ),
    ),
    "a mode is written without a letter": (
        "spec.files.0.mode",
        "0o600",
        '`spec.files[0].mode` must be an octal mode in quotes, from "0000" to "0777", such as "0600"; write "0600" for',
    ),
    "a mode is text": ("spec.files.0.mode", 0o600, "`spec.files[0].mode` must be text; put it in quotes"),
    "a scope is one of three": (
        "spec.scope",
        CANARY,
        "`spec.scope` must be 'Organization', 'Project' or 'Environment'",
    ),
    "an environment is given": ("spec.environment", REMOVED, "`spec.environment` must be given with `scope`"),
    "an environment is left out": (
        "spec.scope",
        "Project",
        "`spec.environment` must be left out unless `scope` is Environment",
    ),
    "a project is left out": (
        "spec",
        {"scope": "Organization", "project": "web"},
        "`spec.project` must be left out with `scope` Organization, which is for every project",
    ),
    "an environment has no comma": (
        "spec.environment",
        f"{CANARY},b",
        "`spec.environment` must have no comma, no control character and no space at its ends",
    ),
    "a name by default is short": (
        "metadata.name",
        "a" * 64,
        "the object must have a `spec.secretName` of at most 63 characters, because `metadata.name` is longer",
    ),
    "an expiry has a zone": (
        "spec.expireTime",
        "2027-01-01T00:00:00",
        "`spec.expireTime` must be a time as RFC 3339 with a zone, such as 2027-01-01T00:00:00Z",
    ),
    "a number is a number": (
        "spec.rotation",
        {"intervalDays": "90"},
        "`spec.rotation.intervalDays` must be a whole number, without quotes",
    ),
    "a reminder comes before its date": (
        "spec.rotation",
        {"intervalDays": 7},
        "`spec.rotation.remindDays` must be less than `intervalDays`",
    ),
    "there are not too many variables": (
        "spec.env",
        [{"name": f"A{index}", "value": CANARY} for index in range(101)],
        "`spec.env` must have at most 100 items",
    ),
    "there are not too many files": (
        "spec.files",
        [{"path": f"a{index}", "content": CANARY} for index in range(51)],
        "`spec.files` must have at most 50 items",
    ),
    "a label is text, and its key is not shown": (
        "metadata.labels",
        {CANARY: 5},
        "`metadata.labels` must be text; put it in quotes",
    ),
}

POLICY_SENTENCES: dict[str, tuple[str, Any, str]] = {
    "a policy selects something": (
        "spec.secrets",
        {},
        (
            "`spec.secrets` must have at least one of `names`, `selector` and `scopes`; "
            'write `names: ["*"]` to select every bundle'
        ),
    ),
    "names are not empty": ("spec.secrets.names", [], "`spec.secrets.names` must have at least 1 item, or be left out"),
    "a selector is not empty": (
        "spec.secrets.selector",
        {},
        "`spec.secrets.selector` must have `matchLabels` or `matchExpressions`",
    ),
    "a claim is not empty": (
        "spec.rules.0.projects",
        [],
        "`spec.rules[0].projects` must have at least 1 item, or be left out",
    ),
    "an operator takes values": (
        "spec.secrets.selector.matchExpressions.0.values",
        [CANARY],
        (
            "`spec.secrets.selector.matchExpressions[0]` must have `values` with the operators In and NotIn, "
            "and none with Exists and DoesNotExist"
        ),
    ),
    "a rule begins before it ends": (
        "spec.rules.0.notBefore",
        "2028-01-01T00:00:00Z",
        "`spec.rules[0].notAfter` must be later than `notBefore`",
    ),
    "a rule stands once": (
        "spec.rules",
        [{"name": "a"}, {"name": "a"}],
        "`spec.rules` must have each `name` once",
    ),
    "a ref is a full one": (
        "spec.rules.0.refs.0",
        CANARY,
        "`spec.rules[0].refs[0]` must be a full ref or a pattern of one, such as 'refs/heads/main' or 'refs/tags/v*'",
    ),
    "an account is named without its namespace": (
        "spec.rules.0.serviceAccounts.0",
        f"system:serviceaccount:web:{CANARY}",
        (
            "`spec.rules[0].serviceAccounts[0]` must be the name of a ServiceAccount, or a pattern with '*' for any "
            "text, of letters, digits, '.', '_' and '-'; for 'system:serviceaccount:NAMESPACE:NAME' write NAME here "
            "and NAMESPACE into the rule's `namespaces`"
        ),
    ),
    "an effect is one of two": ("spec.effect", CANARY, "`spec.effect` must be 'Allow' or 'Deny'"),
    "interactive access is one of two": ("spec.interactive.exec", False, "`spec.interactive.exec` must be 'Allow'"),
    "an exempt account has a namespace": (
        "spec.interactive.exemptSubjects.0",
        {"kind": "ServiceAccount", "name": CANARY},
        (
            "`spec.interactive.exemptSubjects[0]` must have `namespace` with the kind ServiceAccount, and none with "
            "User and Group"
        ),
    ),
    "an exempt group has no namespace": (
        "spec.interactive.exemptSubjects.1.namespace",
        "web",
        "`spec.interactive.exemptSubjects[1]` must have `namespace` with the kind ServiceAccount, and none",
    ),
    "an exempt subject is one of three": (
        "spec.interactive.exemptSubjects.0.kind",
        CANARY,
        "`spec.interactive.exemptSubjects[0].kind` must be 'User', 'Group' or 'ServiceAccount'",
    ),
}

VALUE_SENTENCES: dict[str, tuple[str, Any, str]] = {
    "a value is short in bytes": ("spec.env.1.value", "é" * 16385, "`spec.env[1].value` must be at most 32 KiB"),
    "a value has no NUL": (
        "spec.env.1.value",
        f"{CANARY}\0",
        "`spec.env[1].value` must have no NUL character; put bytes into `spec.files`",
    ),
    "a content is short in bytes": (
        "spec.files.1.content",
        "é" * 262145,
        "`spec.files[1].content` must be at most 512 KiB",
    ),
    "base64 is base64": (
        "spec.files.2.contentBase64",
        f"{CANARY}!",
        "`spec.files[2].contentBase64` must be base64, as the program `base64` prints it",
    ),
    "sealed text is sealed text": (
        "spec.env.0.sealed",
        f"v1:{CANARY}",
        "`spec.env[0].sealed` must be a sealed text as `kubectl scoped-secrets seal` prints it; seal the value again",
    ),
    "a bundle is short": (
        "spec.files",
        [{"path": f"a{index}", "content": "a" * 460_801} for index in range(2)],
        "`spec` must hold at most 900 KiB in all values together; divide it into several ScopedSecrets",
    ),
}


def text_of(error: BaseException) -> str:
    """Return everything that a careless handler could print of an error."""
    return "".join([repr(error), str(error), *traceback.format_exception(error)])


@pytest.mark.parametrize("sentence", SECRET_SENTENCES)
def test_invalid_scoped_secret_error_names_the_field_and_not_the_value(sentence: str):
    path, value, message = SECRET_SENTENCES[sentence]
    body = changed(stored_secret(), path, value)
    if path == "metadata.name":
        del body["spec"]["secretName"]

    with pytest.raises(InvalidObjectError) as refused:
        parse_scoped_secret(body)

    assert refused.value.message.startswith(message)
    assert CANARY not in text_of(refused.value)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("sentence", POLICY_SENTENCES)
def test_invalid_policy_error_names_the_field_and_not_the_value(sentence: str):
    path, value, message = POLICY_SENTENCES[sentence]

    with pytest.raises(InvalidObjectError) as refused:
        parse_secret_policy(changed(full_policy(), path, value))

    assert refused.value.message.startswith(message)
    assert CANARY not in text_of(refused.value)


@pytest.mark.parametrize("sentence", VALUE_SENTENCES)
def test_check_rejects_what_the_schema_cannot_express(sentence: str):
    path, value, message = VALUE_SENTENCES[sentence]
    model = parse_scoped_secret(changed(stored_secret(), path, value))

    with pytest.raises(InvalidObjectError) as refused:
        check_scoped_secret(model)

    assert refused.value.message.startswith(message)
    assert CANARY not in str(refused.value) + repr(refused.value)


@pytest.mark.parametrize("body", [stored_secret(), minimal_secret()])
def test_stored_objects_parse_and_pass_the_check(body: dict[str, Any]):
    check_scoped_secret(parse_scoped_secret(body))


def test_the_largest_values_pass_the_check_plain_and_sealed():
    for source in ({"value": "a" * 32 * 1024}, {"sealed": sealed(32 * 1024)}):
        model = parse_scoped_secret(changed(stored_secret(), "spec.env", [{"name": "A", **source}]))
        check_scoped_secret(model)
    for source in ({"content": "a" * 512 * 1024}, {"sealed": sealed(512 * 1024)}):
        model = parse_scoped_secret(changed(stored_secret(), "spec.files", [{"path": "a", **source}]))
        check_scoped_secret(model)


def test_full_bundle_stays_within_the_limit_when_sealed():
    sizes = (512 * 1024, 388 * 1024 - 1)
    for source in ([{"content": "a" * size} for size in sizes], [{"sealed": sealed(size)} for size in sizes]):
        files = [{"path": f"a{index}", **entry} for index, entry in enumerate(source)]
        body = changed(changed(stored_secret(), "spec.files", files), "spec.env", [{"name": "A", "value": "a"}])
        check_scoped_secret(parse_scoped_secret(body))


def test_new_value_beside_a_sealed_text_is_parsed_until_admission_seals_it():
    model = parse_scoped_secret(changed(stored_secret(), "spec.env.0.value", CANARY))

    value = model.spec.env[0].secret_value()

    assert value is not None
    assert value.reveal() == CANARY.encode()


def test_body_before_creation_has_neither_uid_nor_creation_time():
    body = minimal_secret()
    body["metadata"] = {"generateName": "aws-", "namespace": "web", "creationTimestamp": None}

    metadata = parse_scoped_secret(body).metadata

    assert (metadata.name, metadata.uid, metadata.generation, metadata.creation_timestamp) == ("", "", 0, None)


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "LD_DEBUG_OUTPUT",
        "GLIBC_TUNABLES",
        "DYLD_INSERT_LIBRARIES",
        "BASH_ENV",
        "BASH_FUNC_ls",
        "PROMPT_COMMAND",
        "IFS",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_PORT",
        "KUBERNETES_PORT_443_TCP",
        "SCOPED_SECRETS_X",
    ],
)
def test_names_that_programs_read_before_a_job_begins_are_reserved(name: str):
    for field in ("spec.env.0.name", "spec.files.0.env"):
        with pytest.raises(InvalidObjectError, match="store the value under another name"):
            parse_scoped_secret(changed(stored_secret(), field, name))


@pytest.mark.parametrize(
    "name",
    ["ENV", "LD_ACCESS_TOKEN", "DYLD", "KUBERNETES_NAMESPACE_OVERWRITE", "KUBERNETES_TOKEN", "BASH_FUNC", "PATH"],
)
def test_names_that_only_resemble_reserved_ones_are_free(name: str):
    for field in ("spec.env.0.name", "spec.files.0.env"):
        parse_scoped_secret(changed(stored_secret(), field, name))


def test_a_file_without_a_path_is_named_by_its_variable():
    body = changed(stored_secret(), "spec.files.0", {"env": "KUBECONFIG", "sealed": sealed()})
    body = changed(body, "spec.files.1.env", "MOTD")

    model = parse_scoped_secret(body)

    assert [file.key.name for file in model.spec.files] == ["$KUBECONFIG", "/etc/motd", "~/blob"]
    assert str(model.spec.files[0].key) == "file '$KUBECONFIG'"


def test_unknown_fields_are_ignored():
    body = changed(stored_secret(), "spec.futureField", {"a": 1})

    assert parse_scoped_secret(body) == parse_scoped_secret(stored_secret())


def test_representation_of_a_model_contains_no_value():
    body = changed(stored_secret(), "spec.env.0", {"name": "A", "value": CANARY})
    body = changed(body, "spec.files.0", {"path": "a", "content": CANARY})
    body = changed(body, "spec.files.2", {"path": "b", "contentBase64": CANARY})

    model = parse_scoped_secret(body)

    assert CANARY not in repr(model) + str(model) + str(model.model_dump()) + model.model_dump_json()


def test_every_pattern_has_a_message():
    patterns: set[str] = set()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            patterns.update([part["pattern"]] if isinstance(part.get("pattern"), str) else [])
            part = list(part.values())
        if isinstance(part, list):
            for item in part:
                walk(item)

    walk(type(parse_scoped_secret(stored_secret())).model_json_schema())
    walk(type(parse_secret_policy(full_policy())).model_json_schema())

    assert len(patterns) > 8
    assert patterns <= set(SENTENCES)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.just(CANARY), st.just(f"{CANARY}/\0")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.just(CANARY), inner, max_size=1)),
    max_leaves=5,
)


def paths_of(body: Any, prefix: str = "") -> list[str]:
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [path for key, item in items for path in (f"{prefix}{key}", *paths_of(item, f"{prefix}{key}."))]


@settings(max_examples=400)
@given(path=st.sampled_from(paths_of(stored_secret())), value=JSON)
def test_any_scoped_secret_field_is_parsed_or_rejected_without_its_value(path: str, value: Any):
    try:
        check_scoped_secret(parse_scoped_secret(changed(stored_secret(), path, value)))
    except InvalidObjectError as refused:
        assert CANARY not in text_of(refused)  # noqa: PT017 - it may also be read.


@settings(max_examples=400)
@given(path=st.sampled_from(paths_of(full_policy())), value=JSON)
def test_any_policy_field_is_parsed_or_rejected_without_its_value(path: str, value: Any):
    try:
        parse_secret_policy(changed(full_policy(), path, value))
    except InvalidObjectError as refused:
        assert CANARY not in text_of(refused)  # noqa: PT017 - it may also be read.


@pytest.mark.parametrize("body", [[], CANARY, None, 5, json.loads("{}")])
def test_non_object_is_rejected(body: Any):
    with pytest.raises(InvalidObjectError):
        parse_scoped_secret(body)
    with pytest.raises(InvalidObjectError):
        parse_secret_policy(body)
