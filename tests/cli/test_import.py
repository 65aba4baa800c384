"""Importing, exporting and reporting: examples, and what goes wrong before a cluster is asked."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from scoped_secrets.cli.main import cli
from scoped_secrets.cli.move_in import command as import_command

CANARY = "canary-90e21b"
KINDS = sorted(import_command.commands)


def run(*arguments, stdin=""):
    program = [sys.executable, "-m", "scoped_secrets", *arguments, "--kubeconfig", "/dev/null"]
    return subprocess.run(
        program, input=stdin, capture_output=True, text=True, check=False, start_new_session=True, timeout=60
    )


@pytest.mark.parametrize(
    "words", [("import",), ("export",), ("completion",), ("report",), *(("import", kind) for kind in KINDS)]
)
def test_each_verb_has_two_examples_that_parse(words):
    output = CliRunner().invoke(cli, [*words, "--help"], terminal_width=120).output
    examples = output.partition("Examples:")[2].split("scoped-secrets ")[1:]
    assert len(examples) == 2
    for example in examples:
        command: click.Command = cli
        context = click.Context(cli)
        name, *arguments = example.split()
        while isinstance(command, click.Group):
            found = command.get_command(context, name)
            assert found is not None, name
            command = found
            if isinstance(command, click.Group):
                name, *arguments = arguments
        command.make_context(name, arguments)


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("import", "sem", "-"), f"{CANARY}: [", "the file must be YAML, but line 1 is not"),
        (("import", "sem", "-", "--project-id", CANARY), "kind: Secret", "--project-id must be ID=NAME"),
        (("import", "sem", "-", "--values", "-"), CANARY, "standard input can be either FILE or --values"),
        (("import", "dotenv", "-", "--name", "a"), "# nothing\n", "FILE has no variables"),
        (("import", "circleci", "-", "--name", "a"), CANARY, "the file must be the JSON of"),
        (("import", "names", "-"), CANARY, "document 1 must be a mapping"),
        (("import", "secret", "aws"), "", "the Secret must be given as NAMESPACE/NAME"),
        (("import", "secret", "web/aws", "--path", ".ssh"), "", "give --files too"),
        (("export",), "", "--names must be given"),
        (("report", "--stale", "soon"), "", "--stale must be a number of days"),
    ],
)
def test_usage_error_is_one_line_with_exit_code_2_and_no_value(arguments, stdin, words):
    result = run(*arguments, stdin=stdin)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert CANARY not in result.stderr


def test_mistake_in_a_file_of_variables_names_the_line_and_quotes_nothing():
    result = run("import", "dotenv", "-", "--name", "a", stdin=f"A=1\n{CANARY}\n")
    assert result.returncode == 1
    assert "FILE must have NAME=VALUE in line 2" in result.stderr
    assert CANARY not in result.stderr
