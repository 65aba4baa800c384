"""``scoped-secrets keys``: lists the sealing keys, requests their rotation and retires them."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import click
from click.core import ParameterSource

from scoped_secrets import names
from scoped_secrets.cli.key_inventory import StoredKey, Use, list_definitions, list_keys
from scoped_secrets.cli.options import OPERATOR_OPTIONS, add_options
from scoped_secrets.cli.output import print_table
from scoped_secrets.cli.session import connection
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.errors import ClusterError, ConfigurationError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection
from scoped_secrets.messages import quoted_names

__all__ = ["command"]

_Place: TypeAlias = tuple[Connection, str]
"""How a person reaches the cluster, and the namespace of the operator."""

_MOST_NAMED: Final = 10
"""How many definitions a message names."""


@click.group("keys", invoke_without_command=True)
@add_options(OPERATOR_OPTIONS)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def command(ctx: click.Context, /, output: str, **_: Any) -> None:
    """List the sealing keys with their age and the number of ScopedSecrets that need them.

    Only the metadata of the keys' Secrets is read, no private key.
    """
    if ctx.invoked_subcommand is None:
        _print(*asyncio.run(_list(*_place(ctx))), output)


@command.command("rotate")
@add_options(OPERATOR_OPTIONS)
@click.pass_context
def rotate(ctx: click.Context, /, **_: Any) -> None:
    """Request a new sealing key from the controller."""
    asyncio.run(_rotate(*_place(ctx)))
    click.echo("requested a new sealing key; the controller creates it within seconds")


@command.command("rotate-fingerprint")
@add_options(OPERATOR_OPTIONS)
@click.pass_context
def rotate_fingerprint(ctx: click.Context, /, **_: Any) -> None:
    """Request a new fingerprint key from the controller.

    Each value is resealed once: the next time that its manifest is applied, or by `reseal --fingerprints`. Until then
    `verify` recognizes it by the former key, up to the seventh. Running and waiting pods are not affected: the names
    of their bundles stay valid with the former keys.
    """
    asyncio.run(_rotate_fingerprint(*_place(ctx)))
    click.echo("requested a new fingerprint key; the controller creates it within seconds")


@command.command("retire")
@click.argument("key_id")
@add_options(OPERATOR_OPTIONS)
@click.pass_context
def retire(ctx: click.Context, /, key_id: str, **_: Any) -> None:
    """Delete a sealing key that no value needs. Only a backup can restore it."""
    asyncio.run(_retire(*_place(ctx), key_id))
    click.echo(f"retired {key_id}")


def _place(context: click.Context) -> _Place:
    """Return what the flags say, which stand behind `keys` or behind its verb; the verb's come first."""
    flags = {} if context.parent is None else dict(context.parent.params)
    for name, value in context.params.items():
        if name not in flags or context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            flags[name] = value
    return connection(flags), flags["operator_namespace"]


async def _list(person: Connection, namespace: str) -> tuple[Sequence[StoredKey], Sequence[Use]]:
    async with await Cluster.connect_as(person) as cluster:
        return await list_keys(cluster, namespace), await list_definitions(cluster)


async def _rotate(person: Connection, namespace: str) -> None:
    async with await Cluster.connect_as(person) as cluster:
        keys = await list_keys(cluster, namespace)
        if not keys:
            raise ClusterError(f"there is no sealing key in namespace '{namespace}'; check that the controller runs")
        await _annotate(cluster, paths.secrets(namespace, keys[0].secret), keys[0].key_id)


async def _rotate_fingerprint(person: Connection, namespace: str) -> None:
    async with await Cluster.connect_as(person) as cluster:
        await _annotate(cluster, paths.secrets(namespace, names.FINGERPRINT_KEY_SECRET), "requested")


async def _annotate(cluster: Cluster, path: str, text: str) -> None:
    """Set the annotation that requests a new key; the response has metadata only, and no key."""
    stored = await cluster.get(path, metadata_only=True)
    if stored is None:
        raise ClusterError(f"{path} does not exist; check --operator-namespace and that the controller runs")
    operations: list[dict[str, Any]] = []
    if not stored["metadata"].get("annotations"):
        operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    pointer = json_pointer("metadata", "annotations", names.ROTATE_ANNOTATION)
    operations.append({"op": "add", "path": pointer, "value": text})
    await cluster.patch(path, operations, metadata_only=True)


async def _retire(person: Connection, namespace: str, key_id: str) -> None:
    async with await Cluster.connect_as(person) as cluster:
        keys = await list_keys(cluster, namespace)
        key = next((key for key in keys if key.key_id == key_id), None)
        if key is None:
            known = ", ".join(key.key_id for key in keys)
            raise ConfigurationError(f"KEY_ID must be one of {known or 'the keys, and there is none'}")
        if key.is_active:
            raise ClusterError(f"{key_id} is the active key; `scoped-secrets keys rotate` makes its successor")
        _refuse_used(key_id, await list_definitions(cluster))
        await cluster.delete(paths.secrets(namespace, key.secret), uid=key.uid)
        # A text that was sealed offline for this key may have been applied just before admission knew of the deletion.
        late = [use.location for use in await list_definitions(cluster) if key_id in use.key_ids]
        if late:
            raise ClusterError(
                f"{key_id} is deleted, but was used at the same time by {quoted_names(late, _MOST_NAMED)}; "
                "restore its Secret from the backup, or store the values again"
            )


def _refuse_used(key_id: str, uses: Sequence[Use]) -> None:
    users = [use.location for use in uses if key_id in use.key_ids]
    if users:
        raise ClusterError(
            f"{key_id} is needed by {quoted_names(users, _MOST_NAMED)}; run `scoped-secrets reseal -A` first"
        )


def _print(keys: Sequence[StoredKey], uses: Sequence[Use], output: str) -> None:
    counts = Counter(key_id for use in uses for key_id in use.key_ids)
    # A key that is needed and missing matters most to a person.
    lost = sorted(counts.keys() - {key.key_id for key in keys})
    if output == "json":
        listed = [
            {"keyId": key.key_id, "created": key.created, "active": key.is_active, "secret": key.secret}
            | {"definitions": counts[key.key_id], "lost": False}
            for key in keys
        ]
        gone = [{"keyId": key_id, "definitions": counts[key_id], "active": False, "lost": True} for key_id in lost]
        click.echo(json.dumps({"keys": listed + gone}, indent=2))
        return
    present = [
        (key.key_id, key.created, "active" if key.is_active else "opens only", str(counts[key.key_id])) for key in keys
    ]
    absent = [(key_id, "-", "LOST", str(counts[key_id])) for key_id in lost]
    print_table(("KEY ID", "CREATED", "STATE", "DEFINITIONS"), [*present, *absent])
    unsalted = sum(use.has_unsalted for use in uses)
    if unsalted:
        click.echo(
            f"{unsalted} definitions have fingerprints without a salt, which show when a value is used again; "
            "`scoped-secrets reseal -A` replaces them",
            err=True,
        )
