"""Definitions by their names alone: what another cluster needs to have the same bundles, apart from the values.

The document is written and read here, so that the two cannot differ.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.entry import EntryKey, EntryKind, file_entry_name
from scoped_secrets.core.resolution.definitions import Attach, Override
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Body
from scoped_secrets.operations.import_documents import Document, read_documents
from scoped_secrets.operations.imports import ImportedBundle, ImportedEntry, require_unique
from scoped_secrets.operations.listing import Row

__all__ = ["exported_names", "parse_names"]

_API_VERSION: Final = f"cli.{names.GROUP}/v1alpha1"
_KIND: Final = "SecretNames"
_DEFAULTS: Final = {"description": "", "override": Override.REPLACE.value, "attach": Attach.ON_REFERENCE.value}


def exported_names(rows: Sequence[Row], bodies: Mapping[str, Body]) -> dict[str, Any]:
    """Return the document for definitions: names, scopes, kinds, modes and labels.

    Args:
        rows: The definitions.
        bodies: Their objects by `namespace/name`.
    """
    return {
        "apiVersion": _API_VERSION,
        "kind": _KIND,
        "secrets": [_exported(row, bodies[row.location]) for row in rows],
    }


def parse_names(content: bytes) -> list[ImportedBundle]:
    """Return the bundles of a document, all without values.

    Raises:
        ConfigurationError: The file does not have this form.
    """
    documents = read_documents(content, "the file")
    if not documents:
        raise ConfigurationError(f"the file must have a document of kind {_KIND}; it is empty")
    return [bundle for document in documents for bundle in _bundles(document)]


def _exported(row: Row, body: Body) -> dict[str, Any]:
    spec = body["spec"]
    fields: dict[str, Any] = {"name": row.secret_name, "scope": row.scope}
    fields |= {name: text for name, text in (("project", row.project), ("environment", row.environment)) if text}
    fields |= {name: spec[name] for name, default in _DEFAULTS.items() if spec.get(name, default) != default}
    if spec.get("final"):
        fields["final"] = True
    labels = body["metadata"].get("labels")
    if labels:
        fields["labels"] = dict(labels)
    for kind in EntryKind:
        members = ("name",) if kind is EntryKind.ENV else ("path", "env", "mode")
        entries = [
            {member: entry[member] for member in members if entry.get(member) is not None}
            for entry in spec.get(kind.spec_list) or ()
        ]
        if entries:
            fields[kind.spec_list] = entries
    return fields


def _bundles(document: Document) -> list[ImportedBundle]:
    if (document.text("apiVersion"), document.text("kind")) != (_API_VERSION, _KIND):
        raise document.error("kind", f"must be {_KIND} with apiVersion {_API_VERSION}, as `export --names` prints it")
    return [_bundle(each) for each in document.children("secrets")]


def _bundle(document: Document) -> ImportedBundle:
    name, scope = document.required("name"), document.required("scope")
    if scope not in set(Scope):
        raise document.error("scope", f"must be {', '.join(Scope)}")
    project = document.text("project") or None
    if scope != Scope.ORGANIZATION and project is None:
        raise document.error("project", f"must be given with scope {scope}")
    environment = document.required("environment") if scope == Scope.ENVIRONMENT else None
    parts = [
        f"secret '{name}'",
        *(f"{noun} '{text}'" for noun, text in (("project", project), ("environment", environment)) if text),
    ]
    title = ", ".join(parts)
    labels = document.child("labels")
    is_final = document.text("final") == "true"
    return ImportedBundle(
        title=title,
        secret_name=name,
        entries=require_unique(title, [*_variables(document), *_files(document)]),
        project=project,
        environment=environment,
        spec={
            **{member: document.text(member) for member in _DEFAULTS if member in document},
            **({"final": True} if is_final else {}),
        },
        labels={label: labels.text(label) for label in labels.members()},
    )


def _variables(document: Document) -> list[ImportedEntry]:
    return [
        ImportedEntry(EntryKey(EntryKind.ENV, variable.required("name")))
        for variable in document.children(EntryKind.ENV.spec_list)
    ]


def _files(document: Document) -> list[ImportedEntry]:
    entries = []
    for file in document.children(EntryKind.FILE.spec_list):
        path, env = file.text("path") or None, file.text("env") or None
        if path is None and env is None:
            raise file.error("path", "must be given, or `env`")
        key = EntryKey(EntryKind.FILE, file_entry_name(path, env))
        entries.append(ImportedEntry(key, mode=file.text("mode") or None, env=None if path is None else env))
    return entries
