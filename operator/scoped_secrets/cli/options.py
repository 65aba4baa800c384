"""The options that several commands share."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from scoped_secrets import names

__all__ = [
    "CONNECTION_OPTIONS",
    "KUBECONFIG_OPTION",
    "NAMESPACE_OPTION",
    "OPERATOR_NAMESPACE_OPTION",
    "OPERATOR_OPTIONS",
    "PLACE_OPTIONS",
    "add_options",
    "examples",
    "name_argument",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])

KUBECONFIG_OPTION: Callable[[Any], Any] = click.option(
    "--kubeconfig", metavar="FILE", help="Address and credentials of the cluster, instead of $KUBECONFIG."
)

OPERATOR_NAMESPACE_OPTION: Callable[[Any], Any] = click.option(
    "--operator-namespace", default=names.DEFAULT_NAMESPACE, show_default=True, help="Namespace of the operator."
)

CONNECTION_OPTIONS: Sequence[Callable[[Any], Any]] = (
    KUBECONFIG_OPTION,
    click.option("--context", metavar="NAME", help="Context of the kubeconfig, instead of its current one."),
    click.option("--as", "as_user", metavar="USER", help="User to impersonate, if your role allows it."),
    click.option(
        "--as-group", "as_groups", metavar="GROUP", multiple=True, help="Group to impersonate; several times."
    ),
    click.option("--as-uid", metavar="UID", help="UID to impersonate."),
)
"""Address, credentials and identity, as in kubectl; `cli.session.connection` reads them."""

OPERATOR_OPTIONS: Sequence[Callable[[Any], Any]] = (*CONNECTION_OPTIONS, OPERATOR_NAMESPACE_OPTION)
"""The options of commands that talk to the cluster and to the operator in it."""

NAMESPACE_OPTION: Callable[[Any], Any] = click.option(
    "--namespace", "-n", metavar="NAME", help="Namespace; decides where the labels allow several."
)

_NOUNS = ("secret", "secrets")


def _name(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> str | None:
    """Return the name behind an optional word for the kind, as other command lines of CI systems have it."""
    has_noun = len(words) > 1 or (len(words) == 1 and not parameter.required)
    name = words[1:] if has_noun and words[0] in _NOUNS else words
    if len(name) > 1:
        raise click.UsageError(f"give one name, not {len(name)}", context)
    return name[0] if name else None


def name_argument(*, required: bool = True) -> Callable[[Any], Any]:
    """Return the argument NAME, before which the word `secret` may stand: `create secret aws`, `get secrets`."""
    metavar = "[secret] NAME" if required else "[secrets] [NAME]"
    return click.argument("name", nargs=-1, required=required, metavar=metavar, callback=_name)


PLACE_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option("--project", "--project-name", "-p", metavar="NAME", help="Project of the secret."),
    click.option("--environment", metavar="NAME", help="Environment or pattern such as 'review/*'."),
    click.option("--organization", metavar="NAME", help="Organization, where namespaces of several can be read."),
    NAMESPACE_OPTION,
)
"""Where a definition is; `cli.session.place_request` reads them."""


def add_options(options: Sequence[Callable[[Any], Any]]) -> Callable[[_Command], _Command]:
    """Return a decorator that adds several options, in their order."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def examples(*commands: str) -> str:
    """Return the examples of a verb as the end of its help; each command stays on its own line."""
    return "\n  ".join(("\b\nExamples:", *commands))
