"""``scoped-secrets seal``: seal values on this machine, for Git."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import yaml

from scoped_secrets.cli.options import OPERATOR_OPTIONS, add_options
from scoped_secrets.cli.secret_input import STANDARD_INPUT, prompt_twice, read_local
from scoped_secrets.core.entry import ENV_VALUE_BYTES, FILE_BYTES, EntryKey, EntryKind, file_entry_name
from scoped_secrets.core.resolution.definitions import Attach, Override
from scoped_secrets.core.scope.binding import Binding, bind
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.sealing_certificate import MAX_CERTIFICATE_BYTES, SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError, ForbiddenError
from scoped_secrets.operations.sealing_plan import PlainEntry, SealingTarget, sealed_object, without_line_break
from scoped_secrets.process_hardening import harden_process

__all__ = ["command"]

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH_AND_REST: Final = re.compile(r"(?P<path>(?:\\[\\=]|\\(?![\\=])|[^\\=])*)=(?P<rest>.*)", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([\\=])")


@click.command("seal")
@click.option("--namespace", "-n", required=True, help="Namespace of the object.")
@click.option("--name", required=True, help="Name of the object.")
@click.option("--scope", required=True, type=click.Choice([scope.value for scope in Scope]), help="Where it applies.")
@click.option("--organization", help="Organization of the namespace; by default as its labels say.")
@click.option("--project", help="Project; by default as the labels of the namespace say.")
@click.option("--environment", help="Environment or pattern such as 'review/*', with --scope Environment.")
@click.option("--secret-name", help="Name by which jobs reference the bundle; the object's name by default.")
@click.option(
    "--override", type=click.Choice([override.value for override in Override]), help="What happens to wider ones."
)
@click.option("--attach", type=click.Choice([attach.value for attach in Attach]), help="Which jobs get it.")
@click.option("--final", is_flag=True, help="Ignore narrower definitions of the name.")
@click.option("--description", help="What the bundle is for; everyone may read it.")
@click.option("--env", "prompted", multiple=True, metavar="NAME", help="Prompt for the value of this variable.")
@click.option(
    "--env-from-file",
    "env_files",
    multiple=True,
    metavar="NAME=FILE",
    help="Take the value of this variable from a file, without one line break at its end; '-' is standard input.",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="PATH[=FILE]",
    help="Take what the job finds at PATH from a file, byte for byte; '-' is standard input. Without FILE, prompts. "
    "Write '\\=' for '=' in PATH.",
)
@click.option(
    "--file-env",
    "env_of_files",
    multiple=True,
    metavar="NAME[=FILE]",
    help="As --file, for a file without a path of its own: this variable holds the path where the job finds it.",
)
@click.option(
    "--path-env",
    "env_of_paths",
    multiple=True,
    metavar="NAME=PATH",
    help="Set this variable to the path of the --file at PATH.",
)
@click.option(
    "--mode",
    "modes",
    multiple=True,
    metavar="[PATH=]MODE",
    help="Octal mode of all files, or of the one at PATH; '$NAME' as PATH is the one of --file-env NAME.",
)
@click.option("--entry", "only_entry", is_flag=True, help="Print the one entry only, for an object that exists.")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.option("--cert", metavar="FILE", help="Seal for this certificate, without any cluster.")
@add_options(OPERATOR_OPTIONS)
def command(**flags: Any) -> None:
    """Seal values on this machine and print a ScopedSecret, ready for Git.

    Values are read from a prompt, from files or from standard input; no flag takes one. With --cert no cluster is
    needed; `scoped-secrets public-key` fetches the certificate.

    A sealed text can be unsealed only in the cluster of the certificate and only in the object of the flags: its
    namespace, name, scope, project and environment, the variable or path, and the organization and project that the
    labels of the namespace really have when the object is applied. Everywhere else it is denied.
    """
    _refuse_values(flags["prompted"])
    inputs = _value_inputs(flags["prompted"], flags["env_files"], flags["files"], flags["env_of_files"])
    variables = _variables_of_paths(flags["env_of_paths"], inputs)
    harden_process(for_good=False)
    if not inputs:
        raise ConfigurationError("there is nothing to seal; give --env, --env-from-file, --file or --file-env")
    if flags["only_entry"] and len(inputs) != 1:
        raise ConfigurationError("--entry prints one entry; give one --env, --env-from-file, --file or --file-env")
    sealing = _offline(flags) if flags["cert"] is not None else asyncio.run(_online(flags))
    entries = _read_all(inputs, flags["modes"], variables)
    body = sealed_object(
        sealing.target,
        dict(_further(flags)),
        entries,
        sealing.certificate,
        is_self_contained=flags["only_entry"],
    )
    click.echo(_written(body, flags["output"], only_entry=flags["only_entry"]), nl=False)


@dataclass(frozen=True, slots=True)
class _Sealing:
    """The certificate to seal for, and the object that the values are for."""

    certificate: SealingCertificate
    target: SealingTarget


def _refuse_values(prompted: Sequence[str]) -> None:
    for name in prompted:
        if "=" in name:
            # The message omits the name too: it is unknown where in the text the value begins.
            raise ConfigurationError(
                "--env takes the name of a variable and prompts for the value; a value that was written on the command "
                "line is in the shell's history now, so replace it"
            )
        if _VARIABLE.fullmatch(name) is None:
            raise ConfigurationError("--env must consist of letters, digits and '_', and not begin with a digit")


def _offline(flags: dict[str, Any]) -> _Sealing:
    """Return the certificate and the target from the flags alone."""
    if flags["organization"] is None:
        raise ConfigurationError(
            "--organization must be given with --cert: the label of the namespace, or the operator's default one"
        )
    try:
        with Path(flags["cert"]).open("rb") as file:
            data = file.read(MAX_CERTIFICATE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"--cert names a file that cannot be read ({error.strerror})") from None
    return _Sealing(SealingCertificate.parse(data), _target(flags, flags["organization"], flags["project"]))


async def _online(flags: dict[str, Any]) -> _Sealing:
    """Return the certificate of the cluster, and the target with what the labels of the namespace say."""
    # Imported here, because offline sealing does not need the client, which is slow to import.
    from scoped_secrets.cli.session import connection  # noqa: PLC0415
    from scoped_secrets.kube import paths  # noqa: PLC0415
    from scoped_secrets.kube.client import Cluster  # noqa: PLC0415
    from scoped_secrets.kube.public_key import fetch_certificate  # noqa: PLC0415

    async with await Cluster.connect_as(connection(flags)) as cluster:
        certificate = await fetch_certificate(cluster, flags["operator_namespace"])
        try:
            body = await cluster.get(paths.namespaces(flags["namespace"]))
        except ForbiddenError:
            body = None
    binding = None
    if body is not None:
        metadata = body["metadata"]
        # The operator's default organization is not known here: an empty one stands for it.
        binding = bind(flags["namespace"], metadata.get("labels") or {}, metadata.get("annotations") or {}, "")
    organization, project = _bound(flags, binding)
    return _Sealing(certificate, _target(flags, organization, project))


def _bound(flags: dict[str, Any], binding: Binding | None) -> tuple[str, str | None]:
    """Return the organization and project, from the flags and the namespace, which must not contradict each other."""
    found = binding.organization if binding is not None else ""
    organization = flags["organization"] or found
    if not organization:
        raise ConfigurationError(
            "--organization must be given: the namespace has no label for it, or you may not read the namespace"
        )
    if found and organization != found:
        raise ConfigurationError(f"--organization must be '{found}', as the label of the namespace says; leave it out")
    project = flags["project"]
    if binding is not None and binding.project is not None and flags["scope"] != Scope.ORGANIZATION:
        if project not in (None, binding.project):
            raise ConfigurationError(
                f"--project must be '{binding.project}', as the label of the namespace says; leave it out"
            )
        project = binding.project
    return organization, project


def _target(flags: dict[str, Any], organization: str, project: str | None) -> SealingTarget:
    return SealingTarget(
        namespace=flags["namespace"],
        name=flags["name"],
        organization=organization,
        project=project,
        scope=Scope(flags["scope"]),
        environment=flags["environment"],
    )


def _further(flags: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the spec that are not part of the target."""
    fields = {"secret_name": "secretName", "description": "description", "override": "override", "attach": "attach"}
    yield from ((field, flags[flag]) for flag, field in fields.items() if flags[flag] is not None)
    if flags["final"]:
        yield "final", True


@dataclass(frozen=True, slots=True)
class _ValueInput:
    """One value to read: from a file or standard input, or, without a source, from a prompt."""

    key: EntryKey
    source: str | None

    def read(self) -> bytes:
        """Return the value."""
        title = str(self.key)
        if self.source is None:
            return prompt_twice(title)
        if self.key.kind is EntryKind.FILE:
            return read_local(self.source, title, FILE_BYTES)
        # The limit is that of the value, which does not include the line break at its end.
        return without_line_break(read_local(self.source, title, ENV_VALUE_BYTES + len("\r\n")))


def _value_inputs(
    prompted: Sequence[str], env_files: Sequence[str], files: Sequence[str], env_of_files: Sequence[str]
) -> list[_ValueInput]:
    """Return the values to read, in the order of the flags."""
    inputs = [_ValueInput(EntryKey(EntryKind.ENV, name), None) for name in prompted]
    for text in env_files:
        name, equals, source = text.partition("=")
        if not equals or not source:
            raise ConfigurationError("--env-from-file must be NAME=FILE, where '-' as FILE is standard input")
        inputs.append(_ValueInput(EntryKey(EntryKind.ENV, name), source))
    for text in files:
        path, file = _split_path(text)
        if file == "":
            raise ConfigurationError("--file must be PATH=FILE, where '-' as FILE is standard input, or PATH alone")
        if path.startswith("$"):
            # As a path; the name of an entry would begin like that for a file without one.
            raise ConfigurationError(
                "--file must be a path that does not begin with '$', because variables are not expanded there; write "
                "'~/' for the job's home, or give --file-env NAME=FILE"
            )
        inputs.append(_ValueInput(EntryKey(EntryKind.FILE, path), file))
    for text in env_of_files:
        name, equals, source = text.partition("=")
        if equals and not source:
            raise ConfigurationError("--file-env must be NAME=FILE, where '-' as FILE is standard input, or NAME alone")
        inputs.append(_ValueInput(EntryKey(EntryKind.FILE, file_entry_name(None, name)), source or None))
    if sum(each.source == STANDARD_INPUT for each in inputs) > 1:
        raise ConfigurationError("standard input can be only one of the values; give the others as files")
    return inputs


def _split_path(text: str) -> tuple[str, str | None]:
    r"""Return the path before the first `=` and the text behind it; ``\=`` and ``\\`` stand for single characters."""
    match = _PATH_AND_REST.fullmatch(text)
    if match is None:
        return _unescaped(text), None
    return _unescaped(match["path"]), match["rest"]


def _unescaped(path: str) -> str:
    return _ESCAPED.sub(r"\1", path)


def _variables_of_paths(texts: Sequence[str], inputs: Sequence[_ValueInput]) -> dict[str, str]:
    """Return the variables of files by path."""
    paths = {each.key.name for each in inputs if each.key.kind is EntryKind.FILE}
    by_path: dict[str, str] = {}
    for text in texts:
        name, _, path = text.partition("=")
        path = _unescaped(path)
        if path not in paths or path.startswith("$") or path in by_path:
            raise ConfigurationError("--path-env must be NAME=PATH with the path of a --file, once for each path")
        by_path[path] = name
    return by_path


def _read_all(inputs: Sequence[_ValueInput], modes: Sequence[str], variables: Mapping[str, str]) -> list[PlainEntry]:
    """Read all values; files come first, so that a missing file is reported before a person types a value."""
    mode_of = _modes(modes, [each.key.name for each in inputs if each.key.kind is EntryKind.FILE])
    values = {each: SecretValue(each.read()) for each in sorted(inputs, key=lambda each: each.source is None)}
    return [
        PlainEntry(
            each.key,
            mode_of(each.key),
            values[each],
            variables.get(each.key.name) if each.key.kind is EntryKind.FILE else None,
        )
        for each in inputs
    ]


def _modes(modes: Sequence[str], paths: Sequence[str]) -> Callable[[EntryKey], str | None]:
    """Return a function from an entry to its mode; ``None`` where no flag gives one."""
    by_path: dict[str, str] = {}
    for text in modes:
        path, _, mode = text.rpartition("=")
        path = _unescaped(path)
        if not paths or (path and path not in paths):
            raise ConfigurationError("--mode must be the mode of a --file: MODE for all of them, or PATH=MODE for one")
        # Python and JavaScript write octal numbers with 0o.
        by_path[path] = f"0{mode[2:]}" if mode.startswith(("0o", "0O")) else mode
    common = by_path.get("")

    def mode_of(entry: EntryKey) -> str | None:
        return by_path.get(entry.name, common) if entry.kind is EntryKind.FILE else None

    return mode_of


def _written(body: dict[str, Any], output: str, *, only_entry: bool) -> str:
    """Return the text of the object, or of its one entry in the form of the spec."""
    document: Any = body
    if only_entry:
        entries = [entry for kind in EntryKind for entry in body["spec"].get(kind.spec_list, ())]
        document = entries if output == "yaml" else entries[0]
    if output == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text
