"""Every verb that writes has the same flags for dry runs and output."""

import click
import pytest

from scoped_secrets.cli.main import GROUPS, cli

READING = {"get", "describe"}
WRITING = [verb for verb in GROUPS["Manage secrets"] if verb not in READING]


def choices(verb: str, flag: str) -> set[str]:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    found = [
        set(map(str, option.type.choices))
        for each in commands
        for option in each.params
        if flag in option.opts and isinstance(option.type, click.Choice)
    ]
    assert len(found) == len(commands), f"`{verb}` has no {flag}"
    return set.intersection(*found)


@pytest.mark.parametrize("verb", [*WRITING, "import"])
def test_verb_that_writes_has_dry_runs_and_every_output(verb):
    assert choices(verb, "--dry-run") == {"client", "server"}
    assert choices(verb, "--output") == {"table", "yaml", "json", "name"}
