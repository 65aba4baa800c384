"""``scoped-secrets crds``: print, write or check the CustomResourceDefinitions."""

import sys
from pathlib import Path

import click

from scoped_secrets.api.crds import check_crds, render_crds, write_crds

__all__ = ["command"]

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("crds")
@click.option("--write", type=_FOLDER, help="Write the files into this folder.")
@click.option("--check", type=_FOLDER, help="Compare the files in this folder; exit 1 when one differs.")
def command(write: Path | None, check: Path | None) -> None:
    """Print the CustomResourceDefinitions, ready for kubectl apply -f -."""
    if write is not None and check is not None:
        raise click.UsageError("--write and --check exclude each other; give one of them")
    if write is not None:
        write_crds(write)
    elif check is not None:
        different = check_crds(check)
        for name in different:
            click.echo(f"{check / name} differs from the models; run: scoped-secrets crds --write {check}", err=True)
        sys.exit(1 if different else 0)
    else:
        click.echo("---\n".join(render_crds().values()), nl=False)
