"""Commands whose exit code is an answer: a failure never looks like a no."""

import sys

import click
import pytest
from click.testing import CliRunner

from scoped_secrets.cli.main import cli
from scoped_secrets.cli.question import Question
from scoped_secrets.errors import ClusterError, ConfigurationError, UserError
from scoped_secrets.names import Reason

FAILURES = [ClusterError("it failed"), UserError(Reason.INVALID, "it failed"), RuntimeError("it failed")]


def ask(outcome):
    """Run a command that exits with a code, or raises."""

    @click.command(cls=Question)
    def command():
        if isinstance(outcome, Exception):
            raise outcome
        sys.exit(outcome)

    return CliRunner().invoke(command)


def test_answer_keeps_its_exit_code():
    assert [ask(code).exit_code for code in (0, 1, 2)] == [0, 1, 2]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_failure_is_no_answer(failure):
    result = ask(failure)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "it failed" in result.stderr


def test_wrong_usage_is_left_to_the_root_command():
    assert isinstance(ask(ConfigurationError("a flag is wrong")).exception, ConfigurationError)


def test_verify_and_can_use_are_questions():
    context = click.Context(cli)

    assert {verb for verb in cli.list_commands(context) if isinstance(cli.get_command(context, verb), Question)} == {
        "can-use",
        "verify",
    }
