"""Values for hidden entries, from a file: a mapping from each bundle to its names and values."""

from collections.abc import Sequence

from scoped_secrets.core.entry import EntryKey
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.import_documents import Document, read_documents
from scoped_secrets.operations.imports import PlannedBundle, hidden_entries

__all__ = ["values_of_bundles"]

_WHAT = "--values"


def values_of_bundles(content: bytes, planned: Sequence[PlannedBundle]) -> list[dict[EntryKey, SecretValue]]:
    """Return the values for each bundle, in the order of the bundles.

    The file has, in YAML or JSON, `BUNDLE: {NAME: VALUE}`. BUNDLE is the name of a bundle, or `namespace/name` of the
    new object where several bundles have one name; NAME is a variable or the path of a file. A text is stored as UTF-8,
    a scalar with the tag `!!binary` as its bytes.

    Raises:
        ConfigurationError: The file does not have this form, or names what is not hidden.
    """
    documents = read_documents(content, _WHAT)
    if len(documents) != 1:
        raise ConfigurationError(f"{_WHAT} must have one document, a mapping from bundles to their names and values")
    document = documents[0].titled(_WHAT)
    chosen = [_bundle_key(document, each, planned) for each in planned]
    unknown = [name for name in document.members() if name not in chosen]
    if unknown:
        raise document.error(
            unknown[0], "must be the name of a bundle of the source, or `namespace/name` of its object"
        )
    return [
        {} if key is None else _values(document.child(key), each) for key, each in zip(chosen, planned, strict=True)
    ]


def _bundle_key(document: Document, bundle: PlannedBundle, planned: Sequence[PlannedBundle]) -> str | None:
    if bundle.location in document:
        return bundle.location
    name = bundle.bundle.secret_name
    if name not in document:
        return None
    if sum(each.bundle.secret_name == name for each in planned) > 1:
        raise document.error(
            name, f"must be `namespace/name`, such as '{bundle.location}': several bundles have the name"
        )
    return name


def _values(given: Document, planned: PlannedBundle) -> dict[EntryKey, SecretValue]:
    hidden = {key.name: key for key in hidden_entries(planned.bundle)}
    for name in given.members():
        if name not in hidden:
            raise given.error(name, "must be an entry whose value the source does not show")
    return {hidden[name]: SecretValue(given.content(name)) for name in given.members()}
