"""``scoped-secrets verify``: test a value against the stored one, without seeing it."""

import asyncio
import base64
import copy
import sys
from dataclasses import dataclass

import click

from scoped_secrets.admission.scopedsecret_validation import Entry, entries_of
from scoped_secrets.api.entries import ENV_VALUE_BYTES, FILE_BYTES
from scoped_secrets.api.parsing import check_scoped_secret, parse_scoped_secret
from scoped_secrets.cli.options import KUBECONFIG_OPTION
from scoped_secrets.cli.sealing_plan import without_line_break
from scoped_secrets.cli.secret_input import InputError, prompt_for, read_local
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.crypto.sealing import parse_header
from scoped_secrets.errors import (
    ConfigurationError,
    ConflictError,
    DeniedError,
    ForbiddenError,
    SealingError,
)
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.credentials import current_namespace
from scoped_secrets.names import Reason
from scoped_secrets.process_hardening import harden_process

__all__ = ["command"]

_DIFFERENT = 1


@click.command("verify")
@click.argument("name")
@click.argument("key", required=False)
@click.option("--file", "path", metavar="PATH", help="Test the content of this file of the bundle instead of KEY.")
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

    Values sealed offline cannot be verified. A rotation of the fingerprint key does not change the result; after eight
    rotations, a value counts as different unless it was applied or resealed since.
    """
    if (key is None) == (path is None):
        raise ConfigurationError("give either KEY, the name of a variable, or --file, the path of a file")
    group, wanted = ("env", key or "") if path is None else ("files", path)
    if "=" in wanted and group == "env":
        raise ConfigurationError("KEY is the name of a variable only; the value is asked for")
    harden_process(for_good=False)
    target = _Target(namespace or current_namespace(kubeconfig), name, group, wanted)
    stored = asyncio.run(_fetch(kubeconfig, target))
    # Between two event loops, not in one: there Ctrl-C would not end the prompt.
    content = _read(target, source)
    is_equal = asyncio.run(_is_stored(kubeconfig, target, stored, content))
    click.echo("equal" if is_equal else "different")
    sys.exit(0 if is_equal else _DIFFERENT)


@dataclass(frozen=True, slots=True)
class _Target:
    """The entry that is tested."""

    namespace: str
    name: str
    group: str
    entry: str

    @property
    def title(self) -> str:
        """Return how messages call the entry."""
        return f"{'variable' if self.group == 'env' else 'file'} '{self.entry}'"

    @property
    def location(self) -> str:
        """Return how messages call the object."""
        return f"ScopedSecret '{self.namespace}/{self.name}'"

    @property
    def path(self) -> str:
        """Return the object's path in the API."""
        return paths.scoped_secrets(self.namespace, self.name)

    def find(self, body: Body) -> tuple[int, Entry]:
        """Return the entry and its index in an object.

        Raises:
            DeniedError: The object has no such entry.
        """
        for group, index, _, name, entry in entries_of(parse_scoped_secret(body)):
            if (group, name) == (self.group, self.entry):
                return index, entry
        raise DeniedError(Reason.KEY_NOT_FOUND, f"{self.location} has no {self.title}; check its name")


async def _fetch(kubeconfig: str | None, target: _Target) -> Body:
    """Return the stored object, if there is something in it that this person may compare a value with."""
    async with await Cluster.connect(kubeconfig) as cluster:
        stored = await cluster.get(target.path)
        if stored is None:
            raise DeniedError(Reason.NOT_FOUND, f"{target.location} does not exist; check --namespace")
        _fingerprint(target.find(stored)[1].sealed, target)
        # An update that changes nothing tells whether one would be allowed, before anybody types a value.
        await _would_store(cluster, stored, target)
        return stored


async def _is_stored(kubeconfig: str | None, target: _Target, stored: Body, content: bytes) -> bool:
    """Tell whether an update with a value would store what is stored."""
    index, entry = target.find(stored)
    async with await Cluster.connect(kubeconfig) as cluster:
        after = await _would_store(cluster, _with_value(stored, target, index, content), target)
    sealed = target.find(after)[1].sealed
    # Equal values have one text, unless the key or the place of the stored one is none of the present ones any more.
    return sealed == entry.sealed or _fingerprint(sealed, target) == _fingerprint(entry.sealed, target)


async def _would_store(cluster: Cluster, body: Body, target: _Target) -> Body:
    """Return what an update would store; nothing is stored.

    Raises:
        ForbiddenError: The person may not update the object.
    """
    try:
        return await cluster.replace(target.path, body, dry_run=True)
    except ForbiddenError as error:
        raise ForbiddenError(
            f"you may not update {target.location}, and only who may can test its values; ask for the verb 'update'",
            status=error.status,
        ) from None
    except ConflictError as error:
        raise ConflictError(f"{target.location} was changed just now; try again", status=error.status) from None


def _fingerprint(sealed: str | None, target: _Target) -> Fingerprint:
    """Return the fingerprint in a sealed text.

    Raises:
        DeniedError: There is nothing that a value could be compared with.
    """
    if sealed is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"the value of {target.title} is not sealed here: it is plain configuration or comes from another Secret; "
            "look there",
        )
    try:
        found = parse_header(sealed).fingerprint
    except SealingError:
        found = None
    if found is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"whether {target.title} has this value cannot be told: it was sealed offline, without a fingerprint; "
            "look at what a job gets, or apply the value anew",
        )
    return found


def _read(target: _Target, source: str | None) -> bytes:
    if source is None:
        return prompt_for(target.title)
    if target.group == "files":
        return read_local(source, target.title, FILE_BYTES)
    return without_line_break(read_local(source, target.title, ENV_VALUE_BYTES + len("\r\n")))


def _with_value(stored: Body, target: _Target, index: int, content: bytes) -> Body:
    """Return the object with the value in place of the sealed text, as a person would apply it.

    Raises:
        UserError: The value breaks a limit, so that it cannot be the stored one.
    """
    body = copy.deepcopy(stored)
    entry = body["spec"][target.group][index]
    del entry["sealed"]
    if target.group == "files":
        entry["contentBase64"] = base64.b64encode(content).decode("ascii")
    else:
        text = _text(content)
        if text is None:
            raise InputError(f"the value for {target.title} is no UTF-8 text, and so not the one of a variable")
        entry["value"] = text
    check_scoped_secret(parse_scoped_secret(body))
    return body


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
