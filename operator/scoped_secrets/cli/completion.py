"""``scoped-secrets completion``: the script that has a shell complete verbs and flags."""

import sys
from typing import Final

import click
from click.shell_completion import ShellComplete, get_completion_class

from scoped_secrets import names
from scoped_secrets.cli.options import examples
from scoped_secrets.errors import ConfigurationError

__all__ = ["command", "complete_for_kubectl"]

_VARIABLE: Final = f"_{names.DISTRIBUTION.upper().replace('-', '_')}_COMPLETE"
# The directive ShellCompDirectiveNoFileComp of Cobra, whose protocol kubectl speaks with `kubectl_complete-PLUGIN`.
_NO_FILES: Final = ":4"
_FILES: Final = ":0"


@click.command(
    "completion",
    epilog=examples("scoped-secrets completion bash", "scoped-secrets completion fish"),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script with which a shell completes verbs and flags.

    In ~/.bashrc: source <(scoped-secrets completion bash). In ~/.zshrc, behind compinit: source <(scoped-secrets
    completion zsh). For fish: scoped-secrets completion fish > ~/.config/fish/completions/scoped-secrets.fish.

    kubectl completes `kubectl scoped-secrets` itself, with the program kubectl_complete-scoped_secrets of this package.
    """
    # Imported here, because the root command imports this module.
    from scoped_secrets.cli.main import cli  # noqa: PLC0415

    completion = get_completion_class(shell)
    if completion is None:
        raise ConfigurationError("SHELL must be bash, zsh or fish")
    click.echo(completion(cli, {}, names.DISTRIBUTION, _VARIABLE).source())


def complete_for_kubectl() -> None:
    """Print the completions of the words behind `kubectl scoped-secrets`, as kubectl reads them."""
    from scoped_secrets.cli.main import cli  # noqa: PLC0415 - The root command imports this module.

    *words, incomplete = sys.argv[1:] or [""]
    found = ShellComplete(cli, {}, f"kubectl {names.DISTRIBUTION}", _VARIABLE).get_completions(words, incomplete)
    for item in found:
        if item.type == "plain":
            click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(_FILES if any(item.type != "plain" for item in found) else _NO_FILES)
