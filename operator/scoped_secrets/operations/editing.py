"""Edit a ScopedSecret as text: every entry is shown, and no sealed value.

`# unchanged` stands for each sealed value. What is left as it is keeps its sealed text, an entry that is removed goes,
and a value that is typed is sealed. The text is compared with the object as it was shown, so that only what a person
changed is changed: another person may change other parts at the same time.
"""

import base64
import binascii
import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from scoped_secrets.api.parsing import check_scoped_secret, parse_scoped_secret
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.scope.slot import Slot
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ScopedSecretsError
from scoped_secrets.kube.client import Body
from scoped_secrets.operations.change_entries import sealed_entries
from scoped_secrets.operations.sealing_plan import PlainEntry

__all__ = ["PLACEHOLDER", "EditError", "Edits", "conflicts", "edited_object", "edits_of", "text_of", "with_reason"]

PLACEHOLDER: Final = "# unchanged"

_FIELDS: Final = ("description", "override", "final", "attach", "rotation", "expireTime")
_MEMBERS: Final = ("labels", *_FIELDS, *(kind.spec_list for kind in EntryKind))
_PLAIN: Final = ("value", "content", "contentBase64")
_BOOLEANS: Final = {"true": True, "false": False}
_ENTRY_MEMBERS: Final = {
    EntryKind.ENV: frozenset({"name", "value", "sensitive", "valueFrom"}),
    EntryKind.FILE: frozenset({"path", "env", "mode", "content", "contentBase64", "sensitive", "valueFrom"}),
}


class EditError(ScopedSecretsError):
    """The text is no object; the message names the line or the field, and holds nothing of a value."""


@dataclass(frozen=True, slots=True)
class Edits:
    """What a person changed.

    Attributes:
        fields: The fields of the spec with another content; ``None`` for one that was removed.
        labels: The labels, when they are others.
        entries: The entries that are new or changed, with their new bodies.
        removed: The entries that were removed.
        data_keys: The data key of the new values as it stands in a spec; none without new values.
    """

    fields: Mapping[str, Any]
    labels: Mapping[str, str] | None
    entries: Mapping[EntryKey, Body]
    removed: tuple[EntryKey, ...]
    data_keys: tuple[Body, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is any change."""
        return bool(self.fields or self.entries or self.removed) or self.labels is not None


class _Loader(yaml.SafeLoader):
    """Reads every scalar as text, so that a value such as `yes` or `012` stays what it is; an empty one is null."""


_Loader.yaml_implicit_resolvers = {"": [("tag:yaml.org,2002:null", re.compile(r"^$"))]}


def text_of(body: Body) -> str:
    """Return the text that a person edits."""
    document = {
        "labels": dict(body["metadata"].get("labels") or {}),
        **{field: body["spec"][field] for field in _FIELDS if field in body["spec"]},
        **{kind.spec_list: [_shown(entry) for entry in body["spec"].get(kind.spec_list) or ()] for kind in EntryKind},
    }
    metadata, spec = body["metadata"], body["spec"]
    place = ", ".join(f"{key} {spec[key]}" for key in ("scope", "project", "environment") if key in spec)
    head = (
        f"# ScopedSecret '{metadata['namespace']}/{metadata['name']}', {place}.",
        f"# '{PLACEHOLDER}' keeps a value; write the new one in its place. An entry that you remove is deleted.",
        "# Save without a change to cancel.",
    )
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return "\n".join((*head, text))


def with_reason(text: str, reason: str) -> str:
    """Return a text with the reason why it is shown again at its top, in the place of an earlier one."""
    kept = re.sub(r"\A(?:#! [^\n]*\n)*", "", text)
    return f"#! {' '.join(reason.split())}\n{kept}" if reason else kept


def edits_of(text: str, base: Body, slot: Slot, certificate: SealingCertificate) -> Edits:
    """Return what a person changed, with every new value sealed.

    Args:
        text: The text as it was saved.
        base: The object that the text was made from.
        slot: The slot of the object.
        certificate: The certificate to seal for.

    Raises:
        EditError: The text is no object, or leaves out a value.
        UserError: A value breaks a limit.
    """
    document = _parsed(text)
    typed = dict(_typed_entries(document))
    stored = dict(_stored_entries(base))
    entries: dict[EntryKey, Body] = {}
    plain: list[PlainEntry] = []
    for key, entry in typed.items():
        content = _content(key, entry)
        if content is not None:
            plain.append(PlainEntry(key, entry.get("mode"), content, entry.get("env") if "path" in entry else None))
        elif "valueFrom" in entry:
            entries[key] = entry
        elif entry.get("sensitive") is False:
            if PLACEHOLDER in entry.values():
                raise EditError(f"{key} needs a value in the place of '{PLACEHOLDER}' to become plain configuration")
            entries[key] = entry
        elif key not in stored or "sealed" not in stored[key]:
            raise EditError(f"{key} is new, so that it needs a value in the place of '{PLACEHOLDER}'")
        else:
            entries[key] = {**_naming(entry), "sealed": stored[key]["sealed"]}
    data_keys: tuple[Body, ...] = ()
    if plain:
        sealed = sealed_entries(base, slot, plain, certificate)
        entries |= sealed.entries
        data_keys = sealed.data_keys
    labels = dict(document.get("labels") or {})
    return Edits(
        fields=_changed_fields(document, base),
        labels=None if labels == (base["metadata"].get("labels") or {}) else labels,
        entries={key: entry for key, entry in entries.items() if stored.get(key) != entry},
        removed=tuple(key for key in stored if key not in typed),
        data_keys=data_keys,
    )


def edited_object(edits: Edits, current: Body) -> Body:
    """Return the object with the changes, at the resourceVersion at which it was read.

    Raises:
        InvalidObjectError: The object would break a rule.
    """
    body = copy.deepcopy(dict(current))
    spec = body["spec"]
    for field, content in edits.fields.items():
        if content is None:
            spec.pop(field, None)
        else:
            spec[field] = content
    if edits.labels is not None:
        body["metadata"]["labels"] = dict(edits.labels)
    if edits.data_keys:
        # Admission removes the data keys that no entry needs any more.
        spec["dataKeys"] = [*(spec.get("dataKeys") or ()), *edits.data_keys]
    left = dict(edits.entries)
    for kind in EntryKind:
        kept = [
            left.pop(key, entry)
            for key, entry in _stored_entries(current)
            if key.kind is kind and key not in edits.removed
        ]
        added = [entry for key, entry in left.items() if key.kind is kind]
        if kept or added or kind.spec_list in spec:
            spec[kind.spec_list] = [*kept, *added]
    check_scoped_secret(parse_scoped_secret(body))
    return body


def conflicts(edits: Edits, base: Body, current: Body) -> list[str]:
    """Return what this person and another one changed at the same time, in words."""
    before, now = dict(_stored_entries(base)), dict(_stored_entries(current))
    touched = (*edits.entries, *edits.removed)
    found = [str(key) for key in touched if before.get(key) != now.get(key)]
    found += [f"`{field}`" for field in edits.fields if base["spec"].get(field) != current["spec"].get(field)]
    if edits.labels is not None and base["metadata"].get("labels") != current["metadata"].get("labels"):
        found.append("`labels`")
    return found


def _shown(entry: Body) -> Body:
    """Return an entry for the eye: a placeholder for what is sealed."""
    if "sealed" not in entry:
        return dict(entry)
    member = "value" if "name" in entry else "content"
    return {**_naming(entry), member: PLACEHOLDER}


def _naming(entry: Body) -> Body:
    return {member: entry[member] for member in ("name", "path", "env", "mode") if member in entry}


def _stored_entries(body: Body) -> Iterator[tuple[EntryKey, Body]]:
    for kind in EntryKind:
        for entry in body["spec"].get(kind.spec_list) or ():
            name = kind.name_in(entry)
            if name is not None:
                yield EntryKey(kind, name), dict(entry)


def _parsed(text: str) -> dict[str, Any]:
    """Return the document of a text."""
    line: int | None = None
    document: Any = None
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader.
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 0
    # Raised outside of the handler: the exception has the text.
    if line is not None:
        raise EditError(f"line {line} is no YAML; check its indentation and its quotes")
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise EditError("the text must be the fields of one object")
    unknown = [key for key in document if key not in _MEMBERS]
    if unknown:
        raise EditError(f"the text has a field that is none of {', '.join(_MEMBERS)}; take it out")
    labels = document.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(each, str) for each in labels.values()):
        raise EditError("`labels` must have a text for each name")
    return document


def _typed_entries(document: Mapping[str, Any]) -> Iterator[tuple[EntryKey, Body]]:
    """Yield the entries of a text with their fields as in a manifest."""
    seen: set[EntryKey] = set()
    for kind in EntryKind:
        entries = document.get(kind.spec_list) or []
        if not isinstance(entries, list):
            raise EditError(f"`{kind.spec_list}` must be a list of entries")
        for index, entry in enumerate(entries):
            where = f"`{kind.spec_list}[{index}]`"
            name = kind.name_in(entry) if isinstance(entry, dict) else None
            if name is None or not entry.keys() <= _ENTRY_MEMBERS[kind]:
                raise EditError(f"{where} must have a name and the fields of an entry, {_members(kind)}")
            key = EntryKey(kind, name)
            if key in seen:
                raise EditError(f"{where} repeats {key}; give each name once")
            seen.add(key)
            yield key, _as_written(where, entry)


def _members(kind: EntryKind) -> str:
    return ", ".join(sorted(_ENTRY_MEMBERS[kind]))


def _as_written(where: str, entry: Body) -> Body:
    """Return an entry with the types of a manifest."""
    written = {}
    for member, content in entry.items():
        if member == "valueFrom":
            written[member] = _with_booleans(content)
        elif member == "sensitive":
            if content not in _BOOLEANS:
                raise EditError(f"{where} must have `sensitive` true or false")
            written[member] = _BOOLEANS[content]
        elif content is None and member in _PLAIN:
            # `value: # unchanged` without quotes is a comment.
            written[member] = PLACEHOLDER
        elif isinstance(content, str):
            written[member] = content
        else:
            raise EditError(f"{where} must have text in `{member}`; put it into quotes")
    return written


def _content(key: EntryKey, entry: Body) -> SecretValue | None:
    """Return the new value of an entry to seal; ``None`` for one that keeps its value or has none to seal."""
    given = [member for member in _PLAIN if member in entry]
    if "valueFrom" in entry or entry.get("sensitive") is False:
        return None
    if len(given) != 1:
        raise EditError(f"{key} must have one value; '{PLACEHOLDER}' keeps the present one")
    text = entry[given[0]]
    if text == PLACEHOLDER:
        return None
    if given[0] != "contentBase64":
        return SecretValue(text.encode())
    return SecretValue(_decoded(key, text))


def _decoded(key: EntryKey, text: str) -> bytes:
    content: bytes | None
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        content = None
    if content is None:
        raise EditError(f"{key} must have base64 in `contentBase64`, as the program `base64` prints it")
    return content


def _changed_fields(document: Mapping[str, Any], base: Body) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for field in _FIELDS:
        content = document.get(field)
        if field == "final" and isinstance(content, str):
            content = _BOOLEANS.get(content, content)
        if field == "rotation" and isinstance(content, dict):
            content = {name: int(days) if str(days).isdecimal() else days for name, days in content.items()}
        if content != base["spec"].get(field):
            changed[field] = content
    return changed


def _with_booleans(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _with_booleans(member) for key, member in content.items()}
    return _BOOLEANS.get(content, content) if isinstance(content, str) else content
