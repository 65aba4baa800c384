"""Each verb that a person uses every day shows two examples at the end of its help."""

import shlex

import click
import pytest
from click.testing import CliRunner

from scoped_secrets.cli.main import GROUPS, cli

OLDER = ("seal",)
VERBS = [
    verb
    for group in ("Manage secrets", "Ask about secrets", "Work offline")
    for verb in GROUPS[group]
    if verb not in OLDER
]


@pytest.mark.parametrize("verb", VERBS)
def test_verb_has_two_examples_that_parse(verb):
    output = CliRunner().invoke(cli, [verb, "--help"], terminal_width=120).output
    examples = output.partition("Examples:")[2].split("scoped-secrets ")[1:]
    command = cli.get_command(click.Context(cli), verb)

    assert len(examples) == 2
    assert command is not None
    for example in examples:
        name, *arguments = shlex.split(example)
        assert name == verb
        command.make_context(verb, arguments)
