"""``scoped-secrets reseal``: moves the data keys of definitions to the newest sealing key.

This machine never holds a value or a private key. It sets an annotation on each definition; the controller unseals the
values, seals them for the newest key and removes the annotation. The controller continues when this command is
interrupted, and a second run requests only what is left.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import click

from scoped_secrets import names
from scoped_secrets.cli.key_inventory import Use, list_definitions
from scoped_secrets.cli.options import OPERATOR_OPTIONS, add_options
from scoped_secrets.cli.output import print_table
from scoped_secrets.cli.session import connection
from scoped_secrets.errors import ClusterError, ConfigurationError, ScopedSecretsError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection
from scoped_secrets.kube.public_key import fetch_certificate

__all__ = ["command"]

_POLL_SECONDS: Final = 0.5
_AT_ONCE: Final = 16


class Result(StrEnum):
    """The result of one definition."""

    RESEALED = "Resealed"
    WOULD_RESEAL = "WouldReseal"
    PENDING = "Pending"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report."""

    location: str
    result: Result
    message: str = ""


@click.command("reseal")
@click.option("--namespace", "-n", help="Only the definitions of this namespace.")
@click.option("--all-namespaces", "-A", is_flag=True, help="The definitions of all namespaces.")
@click.option(
    "--fingerprints",
    is_flag=True,
    help="Reseal also values on the newest key, for new fingerprints, after `keys rotate-fingerprint`.",
)
@click.option("--dry-run", is_flag=True, help="List what would be resealed, and request nothing.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--timeout", default=300.0, show_default=True, help="Seconds without progress before the command stops.")
@add_options(OPERATOR_OPTIONS)
def command(
    namespace: str | None,
    all_namespaces: bool,
    fingerprints: bool,
    dry_run: bool,
    output: str,
    timeout: float,
    operator_namespace: str,
    **flags: Any,
) -> None:
    """Seal the values of ScopedSecrets again with the newest sealing key.

    Where a new key is all that changed, only the data keys are sealed again. Values that are sealed one by one, as
    former versions did, come under a data key. It takes the right to update the ScopedSecrets. Sealed texts in Git are
    not changed: reseal them as well before their key is retired. Fingerprints without a salt, which former versions
    stored, are replaced as well. With --fingerprints, those of a former fingerprint key are too; the value and its age
    stay the same.
    """
    if (namespace is None) == (not all_namespaces):
        raise ConfigurationError("give either --namespace, one namespace, or --all-namespaces")
    person = connection(flags)
    asked = _reseal(person, operator_namespace, namespace, timeout, fingerprints=fingerprints, dry_run=dry_run)
    rows = asyncio.run(asked)
    _print(rows, output)
    failed = sum(row.result in {Result.FAILED, Result.PENDING} for row in rows)
    if failed:
        raise ClusterError(
            f"{failed} of {len(rows)} definitions are not resealed; resolve the errors above, then run it again"
        )


async def _reseal(
    person: Connection,
    operator_namespace: str,
    namespace: str | None,
    timeout_seconds: float,
    *,
    fingerprints: bool,
    dry_run: bool,
) -> list[Row]:
    async with await Cluster.connect_as(person) as cluster:
        target = (await fetch_certificate(cluster, operator_namespace)).recipients.active.key_id
        listed = await list_definitions(cluster, namespace)
        old = [use for use in listed if _is_old(use, target) or (fingerprints and use.has_fingerprints)]
        if dry_run:
            return [Row(use.location, Result.WOULD_RESEAL, _intention(use, target)) for use in old]
        refused = await _ask(cluster, old, target)
        await _wait(cluster, namespace, {use.uid for use in old if use.location not in refused}, timeout_seconds)
        now = {use.uid: use for use in await list_definitions(cluster, namespace)}
        return [_row(now.get(use.uid), use.location, target, refused.get(use.location)) for use in old]


def _is_old(use: Use, target: str) -> bool:
    """Tell whether a definition has a value on an old key, in an old form, or under no data key."""
    return bool(use.key_ids - {target}) or use.has_unsalted or use.has_self_contained


def _intention(use: Use, target: str) -> str:
    """Return what a run without --dry-run does with a definition."""
    former = ", ".join(sorted(use.key_ids - {target}))
    if former:
        return f"from {former} to {target}"
    if use.has_self_contained:
        return f"{target} stays; values that are sealed one by one come under a data key"
    which = "without a salt" if use.has_unsalted else "of a former key"
    return f"{target} stays; fingerprints {which} are replaced"


async def _ask(cluster: Cluster, uses: Sequence[Use], target: str) -> dict[str, str]:
    """Set the annotation on each definition, and return the errors by location."""
    refused: dict[str, str] = {}
    limit = asyncio.Semaphore(_AT_ONCE)

    async def ask(use: Use) -> None:
        async with limit:
            try:
                await cluster.patch(paths.scoped_secrets(use.namespace, use.name), _request(use, target))
            except ScopedSecretsError as error:
                refused[use.location] = str(error)

    await asyncio.gather(*(ask(use) for use in uses))
    return refused


def _request(use: Use, target: str) -> dict[str, Any]:
    """Return a merge patch, which does not depend on the annotations that there are meanwhile."""
    return {"metadata": {"uid": use.uid, "annotations": {names.RESEAL_ANNOTATION: target}}}


async def _wait(cluster: Cluster, namespace: str | None, asked: set[str], timeout_seconds: float) -> None:
    """Wait until the controller has removed all annotations, and report the progress."""
    left, since = len(asked) + 1, time.monotonic()
    while True:
        uses = await list_definitions(cluster, namespace)
        waiting = sum(use.uid in asked and names.RESEAL_ANNOTATION in use.annotations for use in uses)
        if waiting < left:
            left, since = waiting, time.monotonic()
            click.echo(f"{len(asked) - left} of {len(asked)} definitions are done", err=True)
        if not left or time.monotonic() - since > timeout_seconds:
            return
        await asyncio.sleep(_POLL_SECONDS)


def _row(use: Use | None, location: str, target: str, refused: str | None) -> Row:
    """Return the result of a definition."""
    if refused is not None:
        return Row(location, Result.FAILED, refused)
    # First, because a value on the newest key waits too, for a new fingerprint.
    if use is not None and names.RESEAL_ANNOTATION in use.annotations:
        return Row(location, Result.PENDING, "the controller has not resealed it yet; check that it runs")
    if use is None or not _is_old(use, target):
        return Row(location, Result.RESEALED)
    if use.ready is not None:
        return Row(location, Result.FAILED, f"{use.ready[0]}: {use.ready[1]}")
    return Row(location, Result.FAILED, "a value cannot be unsealed; see its events, then store the value again")


def _print(rows: Sequence[Row], output: str) -> None:
    if output == "json":
        listed = [{"name": row.location, "result": row.result.value, "message": row.message} for row in rows]
        click.echo(json.dumps({"definitions": listed}, indent=2))
    elif rows:
        print_table(("DEFINITION", "RESULT", "MESSAGE"), [(row.location, row.result, row.message) for row in rows])
    else:
        click.echo(
            "every data key is sealed for the newest key, every value is under one, and every fingerprint has a salt"
        )
