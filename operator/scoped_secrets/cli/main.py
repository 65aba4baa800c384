"""The root command: runs a verb, and turns errors into one line and an exit code."""

import atexit
import gc
import importlib
import os
import sys
import threading
from contextlib import suppress
from typing import Final, NoReturn

import click
from click.shell_completion import CompletionItem

from scoped_secrets import names
from scoped_secrets.errors import ConfigurationError, ScopedSecretsError
from scoped_secrets.excepthooks import install_excepthooks

__all__ = ["GROUPS", "cli", "main"]

GROUPS: Final = {
    "Manage secrets": {
        "create": "Create a secret of an organization, a project or an environment.",
        "set": "Set single entries of a secret; nothing else is touched.",
        "unset": "Remove single entries of a secret; nothing else is touched.",
        "edit": "Change a secret in your editor; sealed values are not shown, and stay as they are.",
        "get": "List secrets, the entries of one, or everything that a job can use.",
        "describe": "Show a secret with its entries, its policies, its users and what it hides.",
        "share": "Say which jobs may use a secret; its values are not needed.",
        "cordon": "Deny every new use of a secret at once; running jobs keep what they have.",
        "uncordon": "Allow the use of a cordoned secret again, where other policies allow it.",
        "rotate": "Replace values of a secret by new ones; entries that do not exist are refused.",
        "clone": "Copy a secret with its values, which no one sees; the copy is independent.",
        "rename": "Give a secret another name: copy it, and delete it under the old name.",
        "delete": "Delete a secret, after a look at who has it and what wins afterwards.",
    },
    "Move in": {
        "import": "Import secrets of another CI system, a file of variables or a native Secret.",
        "export": "Print the names of secrets, for `import names` elsewhere; never a value.",
    },
    "Ask about secrets": {
        "explain": "Explain which definition of a bundle a job gets, why, and what policies say.",
        "can-use": "Tell whether a job may use a bundle, and by which policy and rule.",
        "what-gets": "Show the bundles, variables and files that a stored pod got, names only.",
        "who-uses": "List the pods that hold a bundle, and the definition that each got.",
        "report": "List secrets that a person should look at: old, unused, expiring, or with entries of others.",
        "audit": "List changes and uses of secrets, as far as the cluster still tells them.",
        "verify": "Compare a value with the one that is stored under variable KEY of ScopedSecret NAME.",
    },
    "Work offline": {
        "lint": "Find mistakes in files of definitions and policies, without a cluster.",
        "render": "Print a pod as admission would inject it, from definitions in files and without a cluster.",
        "test": "Run cases: what a job gets, or why it is denied, from definitions in files and without a cluster.",
        "seal": "Seal values on this machine and print a ScopedSecret, ready for Git.",
    },
    "Operate the installation": {
        "admission": "Serve the admission webhooks for pods, ScopedSecrets and SecretPolicies.",
        "controller": "Render the Secrets of job pods, and maintain statuses, keys and certificates.",
        "completion": "Print the script with which a shell completes verbs and flags.",
        "crds": "Print the CustomResourceDefinitions, ready for kubectl apply -f -.",
        "doctor": "Find what is wrong with the installation, and print a remedy for each finding.",
        "keys": "List the sealing keys with their age and the number of ScopedSecrets that need them.",
        "public-key": "Fetch the cluster's sealing certificate, for `scoped-secrets seal --cert`.",
        "reseal": "Seal the values of ScopedSecrets again with the newest sealing key.",
        "run": "Run the controller and the admission server on this machine, for development.",
    },
}
"""Each group of verbs, and each verb with its line of help, so that ``--help`` imports no verb."""

# `import` is a keyword, and no name for a module.
_MODULES: Final = {"import": "move_in"}

_VERBS: Final = {verb: line for verbs in GROUPS.values() for verb, line in verbs.items()}

_FAILED = 1
_USAGE = 2


class _Verbs(click.Group):
    """Imports a verb's module only when the verb is called: ``--help`` waits for no framework."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs, group by group."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return the command of a verb; each module names it ``command``."""
        if cmd_name not in _VERBS:
            return None
        name = _MODULES.get(cmd_name, cmd_name.replace("-", "_"))
        # The collector would search what the import makes several times, and once more at the end of the process, and
        # find no garbage: a fifth of a command's time.
        gc.disable()
        try:
            module = importlib.import_module(f"scoped_secrets.cli.{name}")
        finally:
            gc.freeze()
            gc.enable()
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the verbs that begin with a text, from their lines of help: click would import every verb."""
        verbs = [CompletionItem(verb, help=line) for verb, line in _VERBS.items() if verb.startswith(incomplete)]
        # The flags of the root command.
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write every verb with its whole line, where click would cut it."""
        # One column for all groups.
        width = max(map(len, _VERBS))
        for group, verbs in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(verb.ljust(width), line) for verb, line in verbs.items()])


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name=names.DISTRIBUTION, prog_name=names.DISTRIBUTION)
def cli() -> None:
    """Organization, project and environment secrets for Kubernetes job pods."""


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 failed or denied, 2 wrong usage; see `cli.question` for questions."""
    install_excepthooks()
    # A plugin of another package would see every value, and the search for plugins reads the metadata of all packages.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        code: int | str = cli(standalone_mode=False) or 0
    except SystemExit as end:
        code = end.code or 0
    except click.ClickException as error:
        error.show()
        code = _USAGE
    except ConfigurationError as error:
        click.echo(f"Error: {error}", err=True)
        code = _USAGE
    except ScopedSecretsError as error:
        click.echo(f"Error: {error}", err=True)
        code = _FAILED
    except (click.Abort, KeyboardInterrupt):
        code = 128 + 2
    _leave(code)


def _leave(code: int | str) -> NoReturn:
    """End the process at once, where nothing is left to do.

    The interpreter would free each object before the kernel frees all memory: a fifteenth of a command's time. What is
    registered for the end runs as ever: the client library removes the files of credentials then.
    """
    if isinstance(code, int) and threading.active_count() == 1:
        # A reader that has gone is reported as Python does it.
        with suppress(OSError):
            atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to run them.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)
