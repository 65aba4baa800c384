"""``scoped-secrets verify``: test a value against the stored one, without seeing it."""

import sys
from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, OPERATOR_NAMESPACE_OPTION, add_options, examples
from scoped_secrets.cli.question import Question
from scoped_secrets.cli.secret_input import prompt_for, read_local
from scoped_secrets.cli.session import Session, connection
from scoped_secrets.core.entry import ENV_VALUE_BYTES, FILE_BYTES, EntryKey, EntryKind
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.credentials import current_namespace
from scoped_secrets.operations.sealing_plan import without_line_break
from scoped_secrets.operations.verify import plan_verification, verify_value
from scoped_secrets.process_hardening import harden_process

__all__ = ["command"]

_DIFFERENT = 1


@click.command(
    "verify",
    cls=Question,
    epilog=examples(
        "scoped-secrets verify aws AWS_SECRET_ACCESS_KEY -n web-production",
        "scoped-secrets verify deploy --file .ssh/id_ed25519 --from-file ./id_ed25519",
    ),
)
@click.argument("name")
@click.argument("key", required=False)
@click.option(
    "--file",
    "path",
    metavar="PATH",
    help="Test the content of this file of the bundle instead of KEY; '$NAME' is the file of variable NAME.",
)
@click.option(
    "--from-file",
    "source",
    metavar="FILE",
    help="Take the value from a file, '-' for standard input, instead of asking for it. As `seal` does, one line break "
    "at its end is left off for a variable, and nothing for a file.",
)
@click.option("--namespace", "-n", help="Namespace of the ScopedSecret; by default the kubeconfig's.")
@OPERATOR_NAMESPACE_OPTION
@add_options(CONNECTION_OPTIONS)
def command(name: str, key: str | None, path: str | None, source: str | None, **flags: Any) -> None:
    """Compare a value with the one that is stored under variable KEY of ScopedSecret NAME.

    Prints "equal" and exits with 0, or "different" and exits with 1. Exits with 2 when the value was not compared,
    whatever the reason.

    It takes the right to update the ScopedSecret and gives no further access: users who may update can also test a
    guess by applying it. Nothing is stored.

    The value is sealed on this machine for a key that only the operator can open, and admission compares it. No proxy
    and no audit log of the API server sees it.

    A value that was sealed offline can be verified once the controller has opened it, a moment after it was stored.
    After ten different values within an hour the command fails instead of answering, because admission compares no more
    of them for some minutes. A rotation of the fingerprint key does not change the result; after eight rotations, a
    value counts as different unless it was applied or resealed since.
    """
    if (key is None) == (path is None):
        raise ConfigurationError("give either KEY, the name of a variable, or --file, the path of a file")
    entry = EntryKey(EntryKind.ENV, key or "") if path is None else EntryKey(EntryKind.FILE, path)
    if "=" in entry.name and entry.kind is EntryKind.ENV:
        raise ConfigurationError("KEY must be the name of a variable; the command prompts for the value")
    harden_process(for_good=False)
    namespace = flags["namespace"] or current_namespace(flags["kubeconfig"], flags["context"])
    with Session(connection(flags)) as session:
        verification = session.run(
            lambda cluster: plan_verification(cluster, namespace, name, entry, flags["operator_namespace"])
        )
        value = SecretValue(_read(entry, source))
        is_equal = session.run(lambda cluster: verify_value(cluster, verification, value))
    click.echo("equal" if is_equal else "different")
    sys.exit(0 if is_equal else _DIFFERENT)


def _read(entry: EntryKey, source: str | None) -> bytes:
    if source is None:
        return prompt_for(str(entry))
    if entry.kind is EntryKind.FILE:
        return read_local(source, str(entry), FILE_BYTES)
    return without_line_break(read_local(source, str(entry), ENV_VALUE_BYTES + len("\r\n")))
