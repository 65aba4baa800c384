"""Commands whose exit code answers a question for scripts."""

import sys
from typing import Any, Final

import click

from scoped_secrets.errors import ConfigurationError, ScopedSecretsError

__all__ = ["NO_ANSWER", "Question"]

NO_ANSWER: Final = 2


class Question(click.Command):
    """A command that exits with 0 for yes and with 1 for no; no failure may look like a no, so each exits with 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; wrong usage exits with 2 by itself, and Ctrl-C as everywhere."""
        try:
            return super().invoke(ctx)
        except (ConfigurationError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except ScopedSecretsError as error:
            click.echo(f"Error: {error}", err=True)
        except Exception:  # noqa: BLE001 - Python would exit with 1.
            sys.excepthook(*sys.exc_info())
        sys.exit(NO_ANSWER)
