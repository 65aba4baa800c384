"""The options of the commands that read definitions from files, and what they become."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import click

from scoped_secrets import names
from scoped_secrets.clock import utc_now
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.operations.given_scope import GivenScope, parse_given_scope
from scoped_secrets.operations.jobs import Question

__all__ = [
    "CLAIM_OPTIONS",
    "FILES_OPTION",
    "MOMENT_OPTION",
    "PLACE_OPTIONS",
    "SETTINGS_OPTIONS",
    "Place",
    "question_of",
    "take_moment",
    "take_place",
]

FILES_OPTION: Callable[[Any], Any] = click.option(
    "-f",
    "--filename",
    "files",
    metavar="PATH",
    multiple=True,
    required=True,
    help="Files of definitions, policies and namespaces, directories with them, or '-' for standard input; several "
    "times.",
)

PLACE_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option("-n", "--namespace", help="Namespace of the objects that name none."),
    click.option(
        "--namespace-scope",
        "scopes",
        metavar="NAMESPACE=ORGANIZATION[/PROJECT[/ENVIRONMENT]]",
        multiple=True,
        help="Scope path of a namespace that is not in the files; several times.",
    ),
    click.option(
        "--organization",
        default=names.DEFAULT_ORGANIZATION,
        show_default=True,
        help="The organization of namespaces that have only a project.",
    ),
)
"""The options about namespaces."""

MOMENT_OPTION: Callable[[Any], Any] = click.option(
    "--now", "moment", metavar="TIME", help="Decide as at this time, RFC 3339 with a zone; by default at present."
)

SETTINGS_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--default-access",
        type=click.Choice([access.value for access in Access]),
        default=Access.ALLOW_IN_SCOPE.value,
        show_default=True,
        help="Access to a bundle that no policy selects, as the operator is configured.",
    ),
    click.option(
        "--default-home",
        default=names.DEFAULT_HOME,
        show_default=True,
        help="Home directory of containers that declare none, as the operator is configured.",
    ),
    MOMENT_OPTION,
)
"""The settings of the operator, and the time."""

CLAIM_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option("--creator", default="", help="User who creates the pod or writes its template."),
    click.option("--ref", default="", help="Full Git ref that a trusted issuer states, such as refs/heads/main."),
    click.option("--event", default="", help="Event that a trusted issuer states, such as push."),
)
"""What admission would vouch for."""


@dataclass(frozen=True, slots=True)
class Place:
    """The flags about namespaces."""

    namespace: str | None
    scopes: tuple[GivenScope, ...]
    organization: str


def take_place(flags: dict[str, Any]) -> Place:
    """Remove the flags about namespaces from a command's flags and return them.

    Raises:
        ConfigurationError: A flag is not valid.
    """
    scopes = tuple(map(parse_given_scope, flags.pop("scopes")))
    return Place(flags.pop("namespace"), scopes, flags.pop("organization"))


def question_of(flags: dict[str, Any]) -> Question:
    """Remove the time, the settings and the claims from a command's flags and return them.

    Raises:
        ConfigurationError: The time is none.
    """
    settings = DecisionSettings(Access(flags.pop("default_access")), flags.pop("default_home"))
    claims = {name: flags.pop(name, "") for name in ("creator", "ref", "event")}
    return Question(take_moment(flags), settings, AdmissionRecord(**claims))


def take_moment(flags: dict[str, Any]) -> datetime:
    """Remove the time from a command's flags and return it, by default the present one.

    Raises:
        ConfigurationError: It is no time.
    """
    text = flags.pop("moment")
    if text is None:
        return utc_now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError("--now must be a time as RFC 3339 with a zone, such as 2027-01-01T00:00:00Z")
    return moment
