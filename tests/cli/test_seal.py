"""Sealing offline: a person gives values, a file for Git comes out, and no value is seen anywhere on the way."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime

import click.testing
import pytest
import yaml
from tests.cli.terminal import Terminal
from tests.support.builders import entry_key
from tests.support.texts import open_text

from scoped_secrets.api.crds import crd_documents
from scoped_secrets.api.parsing import check_scoped_secret, parse_scoped_secret
from scoped_secrets.cli.seal import command
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.data_keys import EntryHeader
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.crypto.sealing import SealedHeader
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import ConfigurationError, ScopedSecretsError, SealingError

CANARY = "canary-5d3f90"
OLD = PrivateSealingKey(bytes(range(32)), datetime(2026, 1, 2, tzinfo=UTC))
NEW = PrivateSealingKey(bytes(range(1, 33)), datetime(2026, 2, 2, tzinfo=UTC))
KEYS = KeyRing((OLD, NEW))
CLUSTER = "cluster-one"
PLACE = ("--namespace", "web-production", "--name", "aws", "--organization", "acme", "--project", "web")
PRODUCTION = (*PLACE, "--scope", "Environment", "--environment", "production")
SLOT = Slot("acme", Scope.ENVIRONMENT, "web", "production", "aws")
TRACEBACK = "Traceback"


@pytest.fixture
def certificate(tmp_path):
    path = tmp_path / "sealing.crt"
    path.write_bytes(SealingCertificate(CLUSTER, KEYS.public()).serialize())
    return str(path)


@pytest.fixture
def run(certificate, monkeypatch):
    """Run the verb in this process, without any cluster; return its result."""
    monkeypatch.delenv("KUBECONFIG", raising=False)

    def run_it(*arguments, stdin=b""):
        return click.testing.CliRunner().invoke(command, [*arguments, "--cert", certificate], input=stdin)

    return run_it


def unsealed(spec, entry, slot=SLOT, name="aws", namespace="web-production", cluster=CLUSTER):
    kind, key = ("env", entry["name"]) if "name" in entry else ("file", entry.get("path") or f"${entry['env']}")
    context = sealing_context(cluster, namespace, name, slot, entry_key(kind, key))
    return open_text(spec, entry["sealed"], context, KEYS)


def test_seal_prints_an_object_whose_values_unseal_only_in_its_place(run, tmp_path):
    key = tmp_path / "id"
    key.write_bytes(b"\x00\xff" + CANARY.encode() + b"\n")

    result = run(
        *PRODUCTION, "--env-from-file", "TOKEN=-", "--file", f".ssh/id={key}", "--mode", "0400",
        "--override", "Merge", "--attach", "Always", "--final", "--description", "Deploy keys",
        stdin=f"{CANARY}\n".encode(),
    )  # fmt: skip

    assert result.exit_code == 0
    assert CANARY not in result.output
    body = yaml.safe_load(result.stdout)
    spec = body["spec"]
    variable, file = spec["env"][0], spec["files"][0]
    assert len(spec["dataKeys"]) == 1
    assert {**body, "spec": {key: value for key, value in spec.items() if key not in {"env", "files", "dataKeys"}}} == {
        "apiVersion": "scopedsecrets.dev/v1alpha1",
        "kind": "ScopedSecret",
        "metadata": {"name": "aws", "namespace": "web-production"},
        "spec": {
            "scope": "Environment",
            "project": "web",
            "environment": "production",
            "description": "Deploy keys",
            "override": "Merge",
            "attach": "Always",
            "final": True,
        },
    }
    assert (set(variable), variable["name"]) == ({"name", "sealed"}, "TOKEN")
    assert (set(file), file["path"], file["mode"]) == ({"path", "mode", "sealed"}, ".ssh/id", "0400")
    assert unsealed(spec, variable) == CANARY.encode()
    assert unsealed(spec, file) == b"\x00\xff" + CANARY.encode() + b"\n"
    for elsewhere in ({"cluster": "cluster-two"}, {"name": "other"}, {"namespace": "api"}):
        with pytest.raises(SealingError):
            unsealed(spec, variable, **elsewhere)


def test_printed_object_is_valid_for_models_and_crd(run):
    body = yaml.safe_load(run(*PRODUCTION, "--env-from-file", "A=-", stdin=b"x").stdout)

    check_scoped_secret(parse_scoped_secret(body))
    crd = crd_documents()["scopedsecrets.yaml"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert body["spec"].keys() <= crd["properties"]["spec"]["properties"].keys()


def test_seal_uses_the_newest_key_and_writes_no_fingerprint(run):
    body = yaml.safe_load(run(*PRODUCTION, "--env-from-file", "A=-", stdin=b"x").stdout)
    value, data_key = (parse_header(body["spec"][each][0]["sealed"]) for each in ("env", "dataKeys"))

    assert isinstance(data_key, SealedHeader)
    assert isinstance(value, EntryHeader)
    assert (data_key.key_id, data_key.fingerprint, value.fingerprint) == (NEW.key_id, None, None)
    assert value.data_key_id == body["spec"]["dataKeys"][0]["id"]


@pytest.mark.parametrize(
    ("flags", "slot"),
    [
        pytest.param(("--scope", "Project"), Slot("acme", Scope.PROJECT, "web", None, "aws"), id="project"),
        pytest.param(
            ("--scope", "Environment", "--environment", "review/*"),
            Slot("acme", Scope.ENVIRONMENT, "web", "review/*", "aws"),
            id="pattern",
        ),
        pytest.param(
            ("--scope", "Project", "--secret-name", "registry"),
            Slot("acme", Scope.PROJECT, "web", None, "registry"),
            id="other name",
        ),
    ],
)
def test_flags_decide_the_place_of_the_object(flags, slot, run):
    body = json.loads(run(*PLACE, *flags, "--env-from-file", "A=-", "-o", "json", stdin=b"x").stdout)

    assert unsealed(body["spec"], body["spec"]["env"][0], slot) == b"x"
    assert parse_scoped_secret(body).secret_name == slot.secret_name


def test_organization_bundle_has_no_project(run):
    flags = ("-n", "acme", "--name", "aws", "--organization", "acme", "--scope", "Organization")
    body = yaml.safe_load(run(*flags, "--env-from-file", "A=-", stdin=b"x").stdout)

    assert "project" not in body["spec"]
    slot = Slot("acme", Scope.ORGANIZATION, None, None, "aws")
    assert unsealed(body["spec"], body["spec"]["env"][0], slot, namespace="acme") == b"x"


def test_entry_flag_prints_a_single_list_item(run):
    flags = (*PRODUCTION, "--env-from-file", "A=-", "--entry")

    (entry,) = yaml.safe_load(run(*flags, stdin=b"x").stdout)
    same = json.loads(run(*flags, "-o", "json", stdin=b"x").stdout)

    assert unsealed({}, entry) == unsealed({}, same) == b"x"
    assert entry.keys() == same.keys() == {"name", "sealed"}


@pytest.mark.parametrize(
    ("given", "sealed"),
    [(b"x\n", b"x"), (b"x\r\n", b"x"), (b"x\n\n", b"x\n"), (b"x", b"x"), (b"", b""), ("é".encode(), "é".encode())],
)
def test_trailing_newline_is_not_part_of_a_variable(given, sealed, run):
    (entry,) = yaml.safe_load(run(*PRODUCTION, "--env-from-file", "A=-", "--entry", stdin=given).stdout)

    assert unsealed({}, entry) == sealed


def test_a_mode_can_be_given_for_one_file_and_for_all_others(run, tmp_path):
    content = tmp_path / "x"
    content.write_bytes(b"x")
    flags = ("--file", f"a={content}", "--file", f"b={content}", "--mode", "b=0444", "--mode", "0400")

    body = yaml.safe_load(run(*PRODUCTION, *flags).stdout)

    assert {file["path"]: file["mode"] for file in body["spec"]["files"]} == {"a": "0400", "b": "0444"}


@pytest.mark.parametrize("mode", ["0o400", "0O400", "0400", "400"])
def test_a_mode_may_be_written_as_in_other_languages(mode, run):
    flags = ("--file", "a=-", "--mode", f"a={mode}")

    (file,) = yaml.safe_load(run(*PRODUCTION, *flags, stdin=b"x").stdout)["spec"]["files"]

    assert file["mode"] == ("400" if mode == "400" else "0400")


def test_a_file_can_have_a_variable_with_or_without_a_path(run, tmp_path):
    content = tmp_path / "x"
    content.write_bytes(CANARY.encode())
    flags = (
        "--file-env", f"KUBECONFIG={content}", "--file", f"~/.npmrc={content}", "--path-env",
        "NPM_CONFIG_USERCONFIG=~/.npmrc", "--mode", "$KUBECONFIG=0400",
    )  # fmt: skip

    body = yaml.safe_load(run(*PRODUCTION, *flags).stdout)

    check_scoped_secret(parse_scoped_secret(body))
    described = [{key: text for key, text in file.items() if key != "sealed"} for file in body["spec"]["files"]]
    assert described == [
        {"path": "~/.npmrc", "env": "NPM_CONFIG_USERCONFIG"},
        {"env": "KUBECONFIG", "mode": "0400"},
    ]
    assert {unsealed(body["spec"], file) for file in body["spec"]["files"]} == {CANARY.encode()}


@pytest.mark.parametrize(
    ("flag", "path"),
    [
        (r"a\=b={}", "a=b"),
        (r"a\=\=b={}", "a==b"),
        (r"a\b={}", r"a\b"),
        (r"a\\={}", "a\\"),
        ("a={}", "a"),
    ],
)
def test_a_path_can_contain_an_equals_sign(flag, path, run, tmp_path):
    # Such a sign in the name of the local file needs no escape.
    content = tmp_path / "x=y"
    content.write_bytes(b"x")
    flags = ("--file", flag.format(content), "--mode", f"{flag.format('0400')}")

    spec = yaml.safe_load(run(*PRODUCTION, *flags).stdout)["spec"]

    (file,) = spec["files"]
    assert (file["path"], file["mode"]) == (path, "0400")
    assert unsealed(spec, file) == b"x"


def without(flags, *removed):
    """Return flags without some of them and their values."""
    pairs = zip(flags[::2], flags[1::2], strict=True)
    return tuple(part for pair in pairs if pair[0] not in removed for part in pair)


A = ("--env-from-file", "A=-")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param((*without(PRODUCTION, "--organization"), *A), "--organization must be given", id="organization"),
        pytest.param((*without(PRODUCTION, "--project"), *A), "--project must name the project", id="project"),
        pytest.param((*PLACE, "--scope", "Environment", *A), "--environment must be given", id="environment"),
        pytest.param((*PLACE, "--scope", "Project", "--environment", "x", *A), "--environment needs", id="too narrow"),
        pytest.param((*PLACE, "--scope", "Organization", *A), "--project must be left out", id="too much"),
        pytest.param((*PRODUCTION, "-n", "Web", *A), "--namespace must be", id="namespace"),
        pytest.param((*PRODUCTION, "--name", "a_b", *A), "--name must consist", id="name"),
        pytest.param(PRODUCTION, "nothing to seal", id="nothing"),
        pytest.param((*PRODUCTION, "--env", f"A={CANARY}"), "replace it", id="a value as an argument"),
        pytest.param((*PRODUCTION, "--env-from-file", CANARY), "must be NAME=FILE", id="no file"),
        pytest.param((*PRODUCTION, *A, "--file", "b=-"), "only one of the values", id="standard input twice"),
        pytest.param((*PRODUCTION, *A, "--env-from-file", "B=-", "--entry"), "only one", id="two entries"),
        pytest.param((*PRODUCTION, *A, "--mode", "0400"), "--mode must be the mode of a --file", id="mode of nothing"),
        pytest.param((*PRODUCTION, "--file", "$HOME/a=-"), "must be a path that does not begin", id="a variable"),
        pytest.param((*PRODUCTION, "--file-env", "A="), "--file-env must be NAME=FILE", id="no file for a variable"),
        pytest.param((*PRODUCTION, *A, "--path-env", "B=a"), "with the path of a --file", id="variable of nothing"),
        pytest.param(
            (*PRODUCTION, "--file", "a=-", "--path-env", "B=a", "--path-env", "C=a"), "once for each", id="two names"
        ),
    ],
)  # fmt: skip
def test_usage_error_is_one_line_that_names_the_flag(flags, words, run):
    result = run(*flags, stdin=CANARY.encode())

    assert isinstance(result.exception, ConfigurationError)
    assert words in str(result.exception)
    assert CANARY not in str(result.exception)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("flags", "value", "words"),
    [
        pytest.param(A, CANARY.encode() + b"\xff", "must be UTF-8 text", id="bytes"),
        pytest.param(A, CANARY.encode() + b"\0", "`spec.env[0].value` must have no NUL", id="NUL"),
        pytest.param(A, CANARY.encode() * 3000, "has more than 32 KiB", id="a long value"),
        pytest.param(("--env-from-file", "LD_PRELOAD=-"), CANARY.encode(), "`spec.env[0].name`", id="a refused name"),
        pytest.param(("--env-from-file", "A B=-"), CANARY.encode(), "`spec.env[0].name`", id="no name"),
        pytest.param(("--file-env", "LD_PRELOAD=-"), CANARY.encode(), "`spec.files[0].env`", id="a refused variable"),
        pytest.param(("--file-env", "A B=-"), CANARY.encode(), "`spec.files[0].env`", id="no name of a variable"),
        pytest.param(("--file", "a=-"), CANARY.encode() * 50000, "has more than 512 KiB", id="a large file"),
        pytest.param(("--file", "~other/a=-"), CANARY.encode(), "`spec.files[0].path`", id="a foreign home"),
        pytest.param(("--file", "a=-", "--mode", "9"), CANARY.encode(), "`spec.files[0].mode`", id="no mode"),
        pytest.param(("--file", f"a=/{CANARY}"), b"", "cannot be read", id="a file that is not there"),
        pytest.param((*A, "--secret-name", "a b"), CANARY.encode(), "`spec.secretName`", id="no name of a bundle"),
    ],
)
def test_seal_rejects_what_admission_would_reject(flags, value, words, run):
    result = run(*PRODUCTION, *flags, stdin=value)

    assert isinstance(result.exception, ScopedSecretsError)
    assert words in str(result.exception)
    assert CANARY not in str(result.exception)
    assert CANARY not in repr(result.exception.__context__)
    assert result.stdout == ""


def test_invalid_certificate_file_is_rejected(tmp_path):
    other = tmp_path / "other"
    other.write_text(CANARY)
    flags = [*PRODUCTION, *A, "--cert", str(other)]

    result = click.testing.CliRunner().invoke(command, flags, input=b"x")

    assert "the sealing certificate cannot be used: it is not a JSON document" in str(result.exception)


def test_help_states_what_unsealing_depends_on(run):
    printed = " ".join(run("--help").stdout.split())

    assert "the organization and project that the labels of the namespace really have" in printed


def seal_at_a_terminal(certificate, *flags):
    return Terminal("seal", *PRODUCTION, "--cert", certificate, *flags)


def test_prompted_value_is_typed_twice_without_echo_and_is_not_an_argument(certificate):
    with seal_at_a_terminal(certificate, "--env", "TOKEN") as terminal:
        terminal.answer("Value for variable 'TOKEN': ", CANARY)
        terminal.wait_for("Value for variable 'TOKEN', again: ")
        visible = terminal.arguments()
        terminal.answer("", CANARY)
        code, printed = terminal.end()

    assert code == 0
    assert CANARY.encode() not in visible
    assert CANARY.encode() not in terminal.shown
    assert CANARY not in printed
    spec = yaml.safe_load(printed)["spec"]
    assert unsealed(spec, spec["env"][0]) == CANARY.encode()


def test_files_can_be_prompted_for(certificate):
    with seal_at_a_terminal(certificate, "--file", "~/.token") as terminal:
        terminal.answer("Value for file '~/.token': ", CANARY)
        terminal.answer("Value for file '~/.token', again: ", CANARY)
        code, printed = terminal.end()

    assert code == 0
    spec = yaml.safe_load(printed)["spec"]
    assert unsealed(spec, spec["files"][0]) == CANARY.encode()


def test_differing_values_are_not_sealed(certificate):
    with seal_at_a_terminal(certificate, "--env", "TOKEN") as terminal:
        terminal.answer("Value for variable 'TOKEN': ", CANARY)
        terminal.answer("again: ", f"{CANARY}x")
        code, printed = terminal.end()

    assert (code, printed) == (1, "")
    assert b"differ" in terminal.shown
    assert CANARY.encode() not in terminal.shown


def test_value_longer_than_a_terminal_line_is_rejected(certificate):
    with seal_at_a_terminal(certificate, "--env", "TOKEN") as terminal:
        terminal.answer("Value for variable 'TOKEN': ", CANARY * 400)
        code, printed = terminal.end()

    assert (code, printed) == (1, "")
    assert b"longer than a terminal can take" in terminal.shown
    assert CANARY.encode() not in terminal.shown


def test_ctrl_c_at_the_prompt_ends_without_a_traceback(certificate):
    with seal_at_a_terminal(certificate, "--env", "TOKEN") as terminal:
        terminal.answer("Value for variable 'TOKEN': ", CANARY)
        terminal.wait_for("again: ")
        terminal.interrupt()
        code, printed = terminal.end()

    assert (code, printed) == (128 + signal.SIGINT, "")
    assert TRACEBACK.encode() not in terminal.shown
    assert CANARY.encode() not in terminal.shown


def seal_in_a_pipe(certificate, *flags, **given):
    program = [sys.executable, "-m", "scoped_secrets", "seal", *PRODUCTION, "--cert", certificate, *flags]
    # A session of its own has no terminal to ask at.
    return subprocess.run(program, capture_output=True, check=False, start_new_session=True, timeout=60, **given)


def test_no_prompt_without_a_terminal(certificate):
    result = seal_in_a_pipe(certificate, "--env", "TOKEN", input=f"{CANARY}\n{CANARY}\n".encode())

    assert (result.returncode, result.stdout) == (2, b"")
    assert re.fullmatch(rb"Error: there is no terminal to ask for variable 'TOKEN'; .*\n", result.stderr)


def test_error_is_one_line_and_the_exit_code_distinguishes_usage_from_failure(certificate):
    usage = seal_in_a_pipe(certificate, input=b"")
    failure = seal_in_a_pipe(certificate, *A, input=CANARY.encode() + b"\0")

    assert (usage.returncode, failure.returncode) == (2, 1)
    for result in (usage, failure):
        assert result.stdout == b""
        assert re.fullmatch(rb"Error: [^\n]+\n", result.stderr)
        assert CANARY.encode() not in result.stderr


def test_closed_pipe_causes_no_traceback(certificate):
    program = [sys.executable, "-m", "scoped_secrets", "seal", *PRODUCTION, "--cert", certificate, *A]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(CANARY.encode())
        process.stdin.close()
        said = process.stderr.read()
        code = process.wait(timeout=60)

    assert code == 1
    assert TRACEBACK.encode() not in said
    assert CANARY.encode() not in said
