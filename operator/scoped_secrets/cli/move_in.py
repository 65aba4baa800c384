"""``scoped-secrets import``: bring secrets of other systems here, sealed on this machine."""

import re
from collections.abc import Sequence
from typing import Any, Final

import click

from scoped_secrets.cli.import_flags import HIDDEN_OPTIONS, IMPORT_OPTIONS, SOURCE_BYTES, run_import
from scoped_secrets.cli.options import add_options, examples
from scoped_secrets.cli.secret_input import STANDARD_INPUT, read_local
from scoped_secrets.cli.session import Session, connection
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.env_file import parse_env_file
from scoped_secrets.operations.export_names import parse_names
from scoped_secrets.operations.import_circleci import parse_circleci
from scoped_secrets.operations.import_native import bundle_of_secret, read_native_secret
from scoped_secrets.operations.import_sem import parse_sem
from scoped_secrets.operations.imports import ImportedBundle, ImportedEntry
from scoped_secrets.process_hardening import harden_process

__all__ = ["command"]

_NAME_OPTION = click.option("--name", metavar="NAME", required=True, help="Name of the bundle.")
_PROJECT_ID: Final = re.compile(r"([^=\s]+)=([^=\s]+)")


@click.group(
    "import",
    epilog=examples(
        "scoped-secrets import sem secrets.yaml",
        "scoped-secrets import dotenv .env --name app -p web",
    ),
)
def command() -> None:
    """Import secrets of another CI system, a file of variables or a native Secret.

    Values are sealed on this machine before they are sent. Admission checks every object before the first is stored, so
    that nothing is stored when one of them is refused.
    """


@command.command(
    "sem",
    epilog=examples(
        "scoped-secrets import sem secrets.yaml",
        "scoped-secrets import sem target.yaml -p web --dry-run=client -o yaml",
    ),
)
@click.argument("file")
@click.option(
    "--project-id",
    "project_ids",
    multiple=True,
    metavar="ID=NAME",
    help="Name of the project that has this id in Semaphore; may be repeated.",
)
@add_options(HIDDEN_OPTIONS)
@add_options(IMPORT_OPTIONS)
def sem(**flags: Any) -> None:
    """Import secrets, project secrets and deployment targets of Semaphore.

    FILE has the YAML that `sem get secret NAME` and `sem get dt NAME` print, one document or several; '-' is standard
    input. Values that it does not show are asked for. A deployment target becomes the secret of an
    environment, which every job of the environment gets. Restrictions become a SecretPolicy; what cannot be carried
    over is listed with the reason.
    """
    harden_process(for_good=False)
    _require_one_standard_input(flags)
    content = read_local(flags["file"], "FILE", SOURCE_BYTES)
    bundles = parse_sem(content, _projects(flags["project_ids"]), is_project_stated=flags["project"] is not None)
    _run(bundles, flags)


@command.command(
    "dotenv",
    epilog=examples(
        "scoped-secrets import dotenv .env --name app -p web",
        "scoped-secrets import dotenv - --name app -p web --environment production",
    ),
)
@click.argument("file")
@_NAME_OPTION
@add_options(IMPORT_OPTIONS)
def dotenv(**flags: Any) -> None:
    """Import a file of variables, such as '.env', into one bundle.

    FILE has lines NAME=VALUE; '-' is standard input.
    """
    harden_process(for_good=False)
    values = parse_env_file(read_local(flags["file"], "FILE", SOURCE_BYTES), "FILE")
    if not values:
        raise ConfigurationError("FILE has no variables; there is nothing to import")
    entries = tuple(ImportedEntry(EntryKey(EntryKind.ENV, name), value) for name, value in values.items())
    _run([ImportedBundle(f"'{flags['name']}'", flags["name"], entries)], flags)


@command.command(
    "secret",
    epilog=examples(
        "scoped-secrets import secret web/aws -p web",
        "scoped-secrets import secret web/ssh --files --path .ssh -p web",
    ),
)
@click.argument("location", metavar="NAMESPACE/NAME")
@click.option("--name", metavar="NAME", help="Name of the bundle; by default the Secret's.")
@click.option("--files", is_flag=True, help="Import keys that cannot be variables as files.")
@click.option(
    "--path", "folder", metavar="PREFIX", default="", help="Folder of these files in the job; its home by default."
)
@add_options(IMPORT_OPTIONS)
def secret(**flags: Any) -> None:
    """Import a native Secret, read with your own rights.

    Keys that are names of variables become variables; others, and those whose values are no text, become files. The
    Secret stays as it is.
    """
    harden_process(for_good=False)
    namespace, _, name = flags["location"].partition("/")
    if not namespace or not name:
        raise ConfigurationError("the Secret must be given as NAMESPACE/NAME")
    if flags["folder"] and not flags["files"]:
        raise ConfigurationError("--path is the folder of files; give --files too")
    with Session(connection(flags)) as session:
        body = session.run(lambda cluster: read_native_secret(cluster, namespace, name))
        bundle = bundle_of_secret(body, flags["name"], files=flags["files"], folder=flags["folder"])
        run_import(session, [bundle], flags)


@command.command(
    "circleci",
    epilog=examples(
        "scoped-secrets import circleci context.json --name aws",
        "scoped-secrets import circleci context.json --name aws -p web --values values.yaml",
    ),
)
@click.argument("file")
@_NAME_OPTION
@add_options(HIDDEN_OPTIONS)
@add_options(IMPORT_OPTIONS)
def circleci(**flags: Any) -> None:
    """Import the names of a context of CircleCI; values are asked for.

    FILE has the JSON of `GET /api/v2/context/ID/environment-variable`, which never has values; '-' is standard input.
    """
    harden_process(for_good=False)
    _require_one_standard_input(flags)
    _run([parse_circleci(read_local(flags["file"], "FILE", SOURCE_BYTES), flags["name"])], flags)


@command.command(
    "names",
    epilog=examples(
        "scoped-secrets import names names.yaml",
        "scoped-secrets import names names.yaml -p web --values values.yaml",
    ),
)
@click.argument("file")
@add_options(HIDDEN_OPTIONS)
@add_options(IMPORT_OPTIONS)
def names(**flags: Any) -> None:
    """Import what `export --names` printed elsewhere; values are asked for.

    FILE is in YAML or JSON; '-' is standard input.
    """
    harden_process(for_good=False)
    _require_one_standard_input(flags)
    bundles = parse_names(read_local(flags["file"], "FILE", SOURCE_BYTES))
    if not bundles:
        raise ConfigurationError("FILE has no secrets; there is nothing to import")
    _run(bundles, flags)


def _run(bundles: Sequence[ImportedBundle], flags: dict[str, Any]) -> None:
    with Session(connection(flags)) as session:
        run_import(session, bundles, flags)


def _projects(texts: Sequence[str]) -> dict[str, str]:
    found = [_PROJECT_ID.fullmatch(text) for text in texts]
    if not all(found):
        raise ConfigurationError("--project-id must be ID=NAME")
    return {match[1]: match[2] for match in found if match is not None}


def _require_one_standard_input(flags: dict[str, Any]) -> None:
    if flags["file"] == STANDARD_INPUT == flags["values_file"]:
        raise ConfigurationError("standard input can be either FILE or --values; give the other as a file")
