"""The name of a secret on the command line, with or without the word for its kind in front."""

import click
import pytest
from click.testing import CliRunner

from scoped_secrets.cli.options import name_argument


@pytest.mark.parametrize(
    ("words", "is_required", "name"),
    [
        (["aws"], True, "aws"),
        (["secret", "aws"], True, "aws"),
        (["secrets", "aws"], True, "aws"),
        # A secret may have this name itself.
        (["secret"], True, "secret"),
        (["secret", "secret"], True, "secret"),
        ([], False, None),
        (["secrets"], False, None),
        (["secret", "aws"], False, "aws"),
        (["aws"], False, "aws"),
    ],
)
def test_word_for_the_kind_may_stand_in_front(words, is_required, name):
    seen = []

    @click.command()
    @name_argument(required=is_required)
    def command(name):
        seen.append(name)

    assert CliRunner().invoke(command, words).exit_code == 0
    assert seen == [name]


@pytest.mark.parametrize("words", [[], ["aws", "gcp"], ["secret", "aws", "gcp"]])
def test_no_name_and_several_names_are_usage_errors(words):
    @click.command()
    @name_argument()
    def command(name):
        raise AssertionError(name)

    assert CliRunner().invoke(command, words).exit_code == 2
