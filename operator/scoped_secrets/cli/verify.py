"""``scoped-secrets verify``: test a value against the stored one, without seeing it."""

import asyncio
import base64
import copy
import sys
from dataclasses import dataclass

import click

from scoped_secrets import names
from scoped_secrets.api.entries import EntryModel
from scoped_secrets.api.parsing import check_scoped_secret, parse_scoped_secret
from scoped_secrets.api.value_fingerprints import value_fingerprint
from scoped_secrets.cli.options import KUBECONFIG_OPTION
from scoped_secrets.cli.secret_input import InputError, prompt_for, read_local
from scoped_secrets.core.entry import ENV_VALUE_BYTES, FILE_BYTES, EntryKey, EntryKind, EntryPosition
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.errors import (
    ClusterError,
    ConfigurationError,
    ConflictError,
    DeniedError,
    ForbiddenError,
)
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.credentials import current_namespace
from scoped_secrets.names import Reason
from scoped_secrets.operations.sealing_plan import without_line_break
from scoped_secrets.process_hardening import harden_process

__all__ = ["command"]

_DIFFERENT = 1


@click.command("verify")
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
@KUBECONFIG_OPTION
def command(
    name: str, key: str | None, path: str | None, source: str | None, namespace: str | None, kubeconfig: str | None
) -> None:
    """Compare a value with the one that is stored under variable KEY of ScopedSecret NAME.

    Prints "equal" and exits with 0, or "different" and exits with 1.

    It takes the right to update the ScopedSecret and gives no further access: the API server returns what an update
    with this value would store, and stores nothing. Users who may update can also test a guess by applying it.

    The value travels in the body of that update: an audit log of the API server at the levels Request and
    RequestResponse holds it, unless the audit policy keeps bodies of ScopedSecrets out.

    A value that was sealed offline can be verified once the controller has opened it, a moment after it was stored.
    After ten different values within an hour the command fails instead of
    answering, because admission compares no more of them for some minutes. A rotation of the fingerprint key does not
    change the result; after eight rotations, a value counts as different unless it was applied or resealed since.
    """
    if (key is None) == (path is None):
        raise ConfigurationError("give either KEY, the name of a variable, or --file, the path of a file")
    entry = EntryKey(EntryKind.ENV, key or "") if path is None else EntryKey(EntryKind.FILE, path)
    if "=" in entry.name and entry.kind is EntryKind.ENV:
        raise ConfigurationError("KEY must be the name of a variable; the command prompts for the value")
    harden_process(for_good=False)
    target = _Target(namespace or current_namespace(kubeconfig), name, entry)
    stored = asyncio.run(_fetch(kubeconfig, target))
    # Between two event loops: within one, Ctrl-C would not end the prompt.
    content = _read(target, source)
    is_equal = asyncio.run(_is_stored(kubeconfig, target, stored, content))
    click.echo("equal" if is_equal else "different")
    sys.exit(0 if is_equal else _DIFFERENT)


@dataclass(frozen=True, slots=True)
class _Target:
    """The entry to test."""

    namespace: str
    name: str
    entry: EntryKey

    @property
    def location(self) -> str:
        """Return the words for the object in a message."""
        return f"ScopedSecret '{self.namespace}/{self.name}'"

    @property
    def path(self) -> str:
        """Return the object's path in the API."""
        return paths.scoped_secrets(self.namespace, self.name)

    def find(self, body: Body) -> "_Found":
        """Return the entry in an object.

        Raises:
            DeniedError: The object has no such entry.
        """
        for position, entry in parse_scoped_secret(body).enumerate_entries():
            if entry.key == self.entry and entry.sealing_key != entry.key:
                raise DeniedError(
                    Reason.KEY_NOT_FOUND,
                    f"{self.entry} is a former value, which cannot be verified; check what a job gets",
                )
            if entry.key == self.entry:
                return _Found(position, entry)
        raise DeniedError(Reason.KEY_NOT_FOUND, f"{self.location} has no {self.entry}; check its name")


@dataclass(frozen=True, slots=True)
class _Found:
    """The entry in one state of the object."""

    position: EntryPosition
    model: EntryModel


async def _fetch(kubeconfig: str | None, target: _Target) -> Body:
    """Return the stored object, after checking that its entry can be compared and that this person may update it."""
    async with await Cluster.connect(kubeconfig) as cluster:
        stored = await cluster.get(target.path)
        if stored is None:
            raise DeniedError(Reason.NOT_FOUND, f"{target.location} does not exist; check --namespace")
        _fingerprint(stored, target.find(stored).model.sealed, target)
        # A dry run without a change shows whether an update is allowed, before a person types a value.
        await _would_store(cluster, stored, target)
        return stored


async def _is_stored(kubeconfig: str | None, target: _Target, stored: Body, content: bytes) -> bool:
    """Tell whether an update with a value would store what is stored."""
    found = target.find(stored)
    async with await Cluster.connect(kubeconfig) as cluster:
        body = _with_value(stored, target.entry, found.position, content)
        after, warnings = await _would_store(cluster, body, target)
    if any(names.NOT_COMPARED in warning for warning in warnings):
        raise ClusterError(
            f"{target.entry} {names.NOT_COMPARED}, because admission compared too many different values with it within "
            "the last hour; try again in some minutes"
        )
    before, sealed = found.model.sealed, target.find(after).model.sealed
    # Equal values keep their text, or its fingerprint when the key or the context of the stored text is out of date.
    return sealed == before or _fingerprint(after, sealed, target) == _fingerprint(stored, before, target)


async def _would_store(cluster: Cluster, body: Body, target: _Target) -> tuple[Body, tuple[str, ...]]:
    """Return what an update would store, and the warnings about it; nothing is stored.

    Raises:
        ForbiddenError: The person may not update the object.
    """
    try:
        return await cluster.dry_run_replace(target.path, body)
    except ForbiddenError as error:
        raise ForbiddenError(
            f"you may not update {target.location}, which verifying its values requires; request the verb 'update'",
            status=error.status,
        ) from None
    except ConflictError as error:
        raise ConflictError(f"{target.location} was changed just now; try again", status=error.status) from None


def _fingerprint(body: Body, sealed: str | None, target: _Target) -> Fingerprint:
    """Return the fingerprint of a sealed text of an object.

    Raises:
        DeniedError: There is no fingerprint to compare a value with.
    """
    if sealed is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"the value of {target.entry} is not sealed here: it is plain configuration or comes from another Secret; "
            "look there",
        )
    found = value_fingerprint(body, target.entry, sealed)
    if found is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"{target.entry} cannot be verified, because it was sealed offline and the controller has recorded no "
            "fingerprint of it; wait until the ScopedSecret is Ready. With `settings.keepUnchanged: false` in the "
            "chart it never does: check what a job gets",
        )
    return found


def _read(target: _Target, source: str | None) -> bytes:
    if source is None:
        return prompt_for(str(target.entry))
    if target.entry.kind is EntryKind.FILE:
        return read_local(source, str(target.entry), FILE_BYTES)
    return without_line_break(read_local(source, str(target.entry), ENV_VALUE_BYTES + len("\r\n")))


def _with_value(stored: Body, entry: EntryKey, position: EntryPosition, content: bytes) -> Body:
    """Return the object with the value in place of the sealed text, as an author would apply it.

    Raises:
        UserError: The value breaks a limit, so it cannot be the stored one.
    """
    body = copy.deepcopy(stored)
    fields = body["spec"][position.kind.spec_list][position.index]
    del fields["sealed"]
    if position.kind is EntryKind.FILE:
        fields["contentBase64"] = base64.b64encode(content).decode("ascii")
    else:
        text = _text(content)
        if text is None:
            raise InputError(f"the value for {entry} is no UTF-8 text, and so not the one of a variable")
        fields["value"] = text
    check_scoped_secret(parse_scoped_secret(body))
    return body


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
