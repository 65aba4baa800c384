"""``scoped-secrets public-key``: fetches the certificate that values are sealed for."""

import asyncio
from pathlib import Path
from typing import Any

import click

from scoped_secrets.cli.options import OPERATOR_OPTIONS, add_options
from scoped_secrets.cli.session import connection
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection
from scoped_secrets.kube.public_key import fetch_certificate

__all__ = ["command"]


@click.command("public-key")
@click.option("-o", "--output", metavar="FILE", help="Write it into this file instead of printing it.")
@add_options(OPERATOR_OPTIONS)
def command(output: str | None, operator_namespace: str, **flags: Any) -> None:
    """Fetch the cluster's sealing certificate, for `scoped-secrets seal --cert`.

    The certificate is a JSON document with the public keys and holds nothing secret. Fetch it again when the operator
    has a new key: values sealed for an old key can be unsealed until that key is retired.
    """
    text = asyncio.run(_fetch(connection(flags), operator_namespace)).serialize()
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_bytes(text)
    except OSError as error:
        raise ConfigurationError(f"--output names a file that cannot be written ({error.strerror})") from None


async def _fetch(person: Connection, namespace: str) -> SealingCertificate:
    async with await Cluster.connect_as(person) as cluster:
        return await fetch_certificate(cluster, namespace)
