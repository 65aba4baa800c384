"""One secret by its name or many by their labels, for verbs that stop and release the use of secrets."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from scoped_secrets.cli.output import note, print_notes, print_objects
from scoped_secrets.cli.session import place_request
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.operations.locate import Located, locate, locate_all
from scoped_secrets.operations.place import PlaceRequest

__all__ = ["SELECTION_OPTIONS", "Outcome", "Selection", "print_outcomes", "selected", "selection"]

_FAILED = 1

SELECTION_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option("--selector", "-l", metavar="LABELS", help="Every secret with these labels, instead of NAME."),
    click.option("--all-namespaces", "-A", is_flag=True, help="With -l: secrets of all namespaces that you may read."),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person chooses.

    Attributes:
        request: What is stated about the place.
        name: The name of the object or of its bundle; ``None`` with a selector.
        selector: The labels; ``None`` with a name.
    """

    request: PlaceRequest
    name: str | None
    selector: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one secret.

    Attributes:
        lines: What people read.
        body: The object that was written or deleted.
        warnings: What admission warns of.
        failure: Why nothing happened; empty otherwise.
    """

    lines: tuple[str, ...]
    body: Body | None = None
    warnings: tuple[str, ...] = ()
    failure: str = ""

    def with_line(self, line: str) -> "Outcome":
        """Return the outcome with one more line, unless it failed."""
        return self if self.failure else replace(self, lines=(*self.lines, line))


def selection(flags: Mapping[str, Any]) -> Selection:
    """Return what NAME and the flags of `SELECTION_OPTIONS` and `PLACE_OPTIONS` say.

    Raises:
        ConfigurationError: Neither a name nor labels are given, or both.
    """
    if (flags["name"] is None) == (flags["selector"] is None):
        raise ConfigurationError("give the name of one secret, or labels with --selector, and not both")
    if flags["all_namespaces"] and flags["selector"] is None:
        raise ConfigurationError("--all-namespaces needs labels; give --selector")
    request = place_request(flags)
    is_stated = request.project or request.environment or request.organization or request.namespace
    if flags["selector"] is not None and not is_stated and not flags["all_namespaces"]:
        request = replace(request, namespace=request.current)
    return Selection(request, flags["name"], flags["selector"])


async def selected(cluster: Cluster, chosen: Selection) -> tuple[list[Located], tuple[str, ...]]:
    """Return the secrets, and what could not be read.

    Raises:
        ConfigurationError: Several objects fit a name.
        ClusterError: No object fits, or a request failed.
    """
    if chosen.name is not None:
        return [await locate(cluster, chosen.name, chosen.request, policies=False)], ()
    return await locate_all(cluster, chosen.selector or "", chosen.request)


def print_outcomes(outcomes: Sequence[Outcome], unread: Sequence[str], output: str) -> None:
    """Print what happened to each secret; end with 1 when one of them failed."""
    for outcome in outcomes:
        for text in outcome.warnings:
            note(text)
    if output != "table":
        print_objects([outcome.body for outcome in outcomes if outcome.body is not None], output)
    for outcome in outcomes:
        print_notes(outcome.lines, output)
    for outcome in outcomes:
        if outcome.failure:
            click.echo(f"Error: {outcome.failure}", err=True)
    if unread:
        note(f"these may not be all: your role does not allow to read {', '.join(unread)}")
    if any(outcome.failure for outcome in outcomes):
        sys.exit(_FAILED)
