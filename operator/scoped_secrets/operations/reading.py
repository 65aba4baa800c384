"""What is stored in a definition, by name. No value is ever read."""

from dataclasses import dataclass
from typing import Any, Final

from scoped_secrets.core.entry import EntryKind, file_entry_name
from scoped_secrets.crypto.envelope_header import SealedHeader
from scoped_secrets.crypto.sealed_texts import parse_header, plaintext_bound
from scoped_secrets.errors import SealingError
from scoped_secrets.kube.client import Body

__all__ = ["EntryDetails", "entries_of"]

_KIB: Final = 1024
_BUCKETS: Final = (64, 256, _KIB, 4 * _KIB, 32 * _KIB, 128 * _KIB, 512 * _KIB)


@dataclass(frozen=True, slots=True)
class EntryDetails:
    """One entry, without its value.

    Attributes:
        kind: Variable or file.
        name: Its name: of a variable, the path of a file, or `$NAME` of a file without a path.
        source: Where the value comes from: `sealed`, `plain`, `secret NAME/KEY`, or `sealed until TIME` for a former
            value.
        mode: The mode of a file; empty for a variable.
        size: The size in a bucket, such as `<=64 B`: sealed texts are padded.
        fingerprint: What tells that the value changed; empty when there is nothing to tell.
        changed: Since when it has this value, as the API server writes it; empty when it is not known.
        key_id: The sealing key that opens it; empty for others.
    """

    kind: EntryKind
    name: str
    source: str
    mode: str
    size: str
    fingerprint: str
    changed: str
    key_id: str


def entries_of(body: Body) -> list[EntryDetails]:
    """Return the entries of an object, the variables first."""
    marks = {(each["kind"], each["name"]): each for each in (body.get("status") or {}).get("entries") or ()}
    data_keys = {each["id"]: each["sealed"] for each in body["spec"].get("dataKeys") or ()}
    return [
        _details(kind, entry, marks.get((kind.value, kind.name_in(entry)), {}), data_keys)
        for kind in EntryKind
        for entry in body["spec"].get(kind.spec_list) or ()
    ]


def _details(kind: EntryKind, entry: dict[str, Any], mark: dict[str, Any], data_keys: dict[str, str]) -> EntryDetails:
    is_file = kind is EntryKind.FILE
    name = file_entry_name(entry.get("path"), entry.get("env")) if is_file else entry["name"]
    source, size, key_id = _source(entry, data_keys)
    return EntryDetails(
        kind=kind,
        name=name,
        source=source,
        mode=entry.get("mode", "0600") if is_file else "",
        size=size,
        fingerprint=mark.get("fingerprint") or mark.get("sealedDigest") or "",
        changed=mark.get("changedTime", ""),
        key_id=key_id,
    )


def _source(entry: dict[str, Any], data_keys: dict[str, str]) -> tuple[str, str, str]:
    """Return the words for the source, the size in a bucket and the id of the sealing key.

    Args:
        entry: The entry.
        data_keys: The sealed texts of the data keys by id.
    """
    if "valueFrom" in entry:
        reference = entry["valueFrom"].get("secretKeyRef") or {}
        return f"secret {reference.get('name', '')}/{reference.get('key', '')}", "", ""
    text = entry.get("sealed")
    if text is None:
        plain = entry.get("value") or entry.get("content") or entry.get("contentBase64") or ""
        return "plain", _bucket(len(plain.encode())), ""
    try:
        header = parse_header(text)
        if not isinstance(header, SealedHeader):
            header = parse_header(data_keys.get(header.data_key_id, ""))
        key_id = header.key_id if isinstance(header, SealedHeader) else ""
        words = f"sealed until {entry['expireTime']}" if "previousOf" in entry else "sealed"
        return words, _bucket(plaintext_bound(text)), key_id
    except SealingError:
        return "unreadable", "", ""


def _bucket(size: int) -> str:
    """Return the smallest bucket that holds a size: exact sizes of values are not shown."""
    limit = next((each for each in _BUCKETS if size <= each), _BUCKETS[-1])
    return f"<={limit} B" if limit < _KIB else f"<={limit // _KIB} KiB"
