"""Creating a secret: what goes wrong before a cluster is asked; the rest needs one and is tested there."""

import subprocess
import sys

import pytest

from scoped_secrets.cli.entry_flags import entry_inputs, read_entries
from scoped_secrets.core.entry import EntryKind
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.create import lacks_final_newline

CANARY = "canary-7d30ce"


def create(*arguments, stdin=CANARY, verb="create"):
    program = [sys.executable, "-m", "scoped_secrets", verb, "aws", *arguments, "--kubeconfig", "/dev/null"]
    return subprocess.run(
        program, input=stdin, capture_output=True, text=True, check=False, start_new_session=True, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "there is nothing to store; give -e, --env-file or -f"),
        (("-e", f"{CANARY}={CANARY}"), "-e must be K, K=V or K=@FILE"),
        (("-e", "A=@"), "-e A=@FILE must name a file"),
        (("-f", "file"), "-f must be LOCAL:DEST or LOCAL:DEST:MODE"),
        (("-f", "a:b:rw"), "-f must be LOCAL:DEST or LOCAL:DEST:MODE"),
        (("-f", "a:b:0600:c"), "-f must be LOCAL:DEST or LOCAL:DEST:MODE"),
        (("-f", ":b"), "-f must be LOCAL:DEST or LOCAL:DEST:MODE"),
        (("-e", "A=@-", "-f", "-:b"), "standard input can be only one of the values"),
        (("-e", "A=@-", "--env-file", "-"), "standard input can be only one of the values"),
        (("-e", "A", "-e", "A=@x"), "variable 'A' is given more than once"),
        (("-e", "A=@x", "-l", "tier"), "--label must be K=V"),
        (("-e", "A=@x", "--rotate-every", "soon"), "--rotate-every must be a number of days"),
        (("-e", "A=@x", "--expires", "soon"), "--expires must be a time"),
    ],
)
def test_usage_error_is_one_line_with_exit_code_2_and_no_value(arguments, words):
    result = create(*arguments)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert CANARY not in result.stderr


def test_mistake_in_a_file_of_variables_quotes_nothing():
    result = create("--env-file", "-", stdin=f"A=1\n{CANARY}\n")
    assert result.returncode == 1
    assert "line 2" in result.stderr
    assert CANARY not in result.stderr


def test_set_without_an_entry_is_a_usage_error():
    result = create(verb="set")
    assert result.returncode == 2
    assert "there is nothing to set" in result.stderr


def test_values_come_from_flags_files_and_files_of_variables(tmp_path, capsys):
    plain, lines = tmp_path / "plain", tmp_path / "lines"
    plain.write_bytes(b"\x00bytes\r\n")
    lines.write_text("C='3'\n")
    (tmp_path / "value").write_text("2\n")
    files = [f"{plain}:/data/plain:0440", f"{plain}:$CONFIG"]

    entries = read_entries(entry_inputs(["A=1=1", "AT=@@x", f"B=@{tmp_path}/value"], files, [str(lines)]))

    assert {entry.key.name: entry.value.reveal() for entry in entries} == {
        "A": b"1=1",
        "AT": b"@x",
        "B": b"2",
        "C": b"3",
        "/data/plain": b"\x00bytes\r\n",
        "$CONFIG": b"\x00bytes\r\n",
    }
    assert {entry.key.name: entry.mode for entry in entries if entry.key.kind is EntryKind.FILE} == {
        "/data/plain": "0440",
        "$CONFIG": None,
    }
    assert capsys.readouterr().err.count("shell's history") == 1


def test_entry_that_is_repeated_in_a_file_of_variables_is_refused(tmp_path):
    (tmp_path / "lines").write_text("A=1\n")
    with pytest.raises(ConfigurationError, match="variable 'A' is given more than once"):
        entry_inputs(["A"], [], [str(tmp_path / "lines")])


@pytest.mark.parametrize(
    ("content", "is_told"),
    [
        (b"-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----", True),
        (b"first\n-----BEGIN CERTIFICATE-----\r\nx\r\n-----END CERTIFICATE-----", True),
        (b"-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----\n", False),
        (b"no key", False),
        (b"", False),
    ],
)
def test_pem_block_without_a_final_line_break_is_told(content, is_told):
    """Complaint 12: ssh refuses a key without its last line break."""
    [entry] = entry_inputs([], ["local:.ssh/id"])
    assert (lacks_final_newline(entry.key, content) is not None) is is_told
