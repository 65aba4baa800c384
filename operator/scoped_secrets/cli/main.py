"""The command line's root: finds a verb, runs it, and turns errors into one line and an exit code."""

import importlib
import sys
from typing import NoReturn

import click

from scoped_secrets import __version__, names
from scoped_secrets.errors import ConfigurationError, ScopedSecretsError
from scoped_secrets.excepthooks import install_excepthooks

__all__ = ["main"]

_VERBS = ("admission", "controller", "crds", "doctor", "keys", "public-key", "reseal", "run", "seal", "verify")

_FAILED = 1
_USAGE = 2


class _Verbs(click.Group):
    """Imports a verb's module when it is called, so that ``--help`` does not wait for frameworks."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs in the order of their names."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return the command of a verb; each module names it ``command``."""
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"scoped_secrets.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name=names.DISTRIBUTION)
def cli() -> None:
    """Organization, project and environment secrets for Kubernetes job pods."""


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 failed or denied, 2 wrong usage."""
    install_excepthooks()
    try:
        sys.exit(cli(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(_USAGE)
    except ConfigurationError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(_USAGE)
    except ScopedSecretsError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(_FAILED)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(128 + 2)
