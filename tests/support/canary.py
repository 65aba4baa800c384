"""Values that may be in bundle Secrets and in containers only, and the search for them everywhere else.

Every value carries one mark of the run, so that a search for the mark finds all of them, whole, cut short or wrapped
into something. The mark consists of lower-case letters and digits, which JSON, YAML, Go's `%q` and URLs leave as they
are; the disguises that do change it are looked for as well.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from scoped_secrets import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.cluster.cluster import Cluster

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_MARK_LENGTH = 18
_ALIGNMENTS = (0, 1, 2)
# What JSON, URLs, shells and Go's HTML-safe JSON write in another way.
_AWKWARD = "\"'\\/<&>+ %é\t$(X) ${Y}"
_LIST_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One place in which a value stands."""

    place: str
    form: str

    def __str__(self) -> str:
        """Return what a person needs to go and look."""
        return f"{self.place} ({self.form})"


class Canary:
    """Makes values for one run and finds them again."""

    def __init__(self) -> None:
        """Choose the mark."""
        self.mark = "".join(secrets.choice(_ALPHABET) for _ in range(_MARK_LENGTH))
        self._values: dict[str, str] = {}
        self._forms = dict(_forms(self.mark))

    def value(self, label: str) -> str:
        """Return a text that is told apart by the label: the same one whenever the label is the same."""
        # The mark stands at both ends: a text that lost its begin or its end is still found.
        return self._values.setdefault(label, f"{self.mark}-{label}-{secrets.token_hex(8)}-{self.mark}")

    def awkward(self, label: str) -> str:
        """Return a text like `value` with the characters that formats escape, in several lines."""
        return self._values.setdefault(
            f"awkward {label}", f"{self.mark}{_AWKWARD}{label}\n{secrets.token_hex(8)}{_AWKWARD}\n{self.mark}\n"
        )

    def data(self, size: int) -> bytes:
        """Return so many random bytes, with the mark at both ends."""
        mark = self.mark.encode()
        return mark + secrets.token_bytes(size - 2 * len(mark)) + mark

    def forms_in(self, text: bytes) -> list[str]:
        """Return the names of the forms in which values stand in a text."""
        return [form for form, needle in self._forms.items() if needle in text]

    def find(self, place: str, text: bytes | str) -> list[Finding]:
        """Return what stands in a text of any origin."""
        data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
        return [Finding(place, form) for form in self.forms_in(data)]

    def find_in_log(self, path: Path) -> list[Finding]:
        """Return what stands in a file, line by line; a value over several lines has the mark in two of them."""
        data = path.read_bytes()
        # One look at the whole file first: almost always there is nothing.
        if not self.forms_in(data):
            return []
        found = [
            finding
            for number, line in enumerate(data.splitlines(), start=1)
            for finding in self.find(f"{path}:{number}", line)
        ]
        return found or self.find(str(path), data)

    def find_in_objects(self, bodies: Iterable[Mapping[str, Any]]) -> list[Finding]:
        """Return what stands in Kubernetes objects, except in the data of bundle Secrets."""
        found: list[Finding] = []
        for body in bodies:
            searched = {**body, "data": None} if is_bundle(body) else body
            if self.forms_in(_dump(searched)):
                found += self._find_in_object(searched)
        return found

    def bundles_with_values(self, bodies: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return the bundle Secrets in whose data values stand, which proves that they can be found."""
        return [_name(body) for body in bodies if is_bundle(body) and self.forms_in(_dump(body.get("data")))]

    def sweep(
        self, cluster: Cluster, logs: Iterable[Path] = (), answers: Mapping[str, bytes] | None = None
    ) -> list[Finding]:
        """Look for values wherever they must not be.

        Args:
            cluster: Every object of every kind that can be listed is searched, with its managed fields.
            logs: Files that are searched: logs of the operator and of the cluster, and the audit log.
            answers: What was captured elsewhere, by place: admission responses, probes, metrics.

        Returns:
            One finding for each place and form.
        """
        found = self.find_in_objects(list_everything(cluster))
        for path in logs:
            found += self.find_in_log(path)
        for place, text in (answers or {}).items():
            found += self.find(place, text)
        return found

    def _find_in_object(self, body: Mapping[str, Any]) -> list[Finding]:
        name = _name(body)
        return [finding for path, text in _texts(body) for finding in self.find(f"{name} {path}", text)]


def is_bundle(body: Mapping[str, Any]) -> bool:
    """Tell whether an object is the bundle Secret of a pod: by its name, and by its owner."""
    metadata = body.get("metadata", {})
    owners = [owner.get("kind") for owner in metadata.get("ownerReferences") or ()]
    return (
        body.get("kind") == "Secret"
        and str(metadata.get("name", "")).startswith(names.BUNDLE_PREFIX)
        and owners == ["Pod"]
    )


def list_everything(cluster: Cluster) -> list[dict[str, Any]]:
    """Return every object of every kind that can be listed, with its managed fields."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()
    flags = ("-A", "-o", "json", "--show-managed-fields")
    listed = json.loads(cluster.kubectl("get", ",".join(kinds), *flags, timeout=_LIST_SECONDS).stdout)
    items: list[dict[str, Any]] = listed["items"]
    return items


def _forms(mark: str) -> Iterator[tuple[str, bytes]]:
    yield "raw", mark.encode()
    yield "hex", mark.encode().hex().encode()
    yield "HEX", mark.encode().hex().upper().encode()
    yield "JSON escapes", "".join(f"\\u{ord(character):04x}" for character in mark).encode()
    yield "URL-encoded", "".join(f"%{ord(character):02X}" for character in mark).encode()
    yield "backwards", mark[::-1].encode()
    for first in _ALIGNMENTS:
        once = _base64_inside(mark.encode(), first)
        yield f"base64 at {first}", once
        yield f"base64 at {first}, URL-encoded", quote(once).encode()
    for first, second in product(_ALIGNMENTS, _ALIGNMENTS):
        yield f"base64 of base64 at {first}, {second}", _base64_inside(_base64_inside(mark.encode(), first), second)


def _base64_inside(text: bytes, alignment: int) -> bytes:
    """Return the part of the base64 of anything that holds the text which depends on the text alone."""
    encoded = base64.b64encode(b"\0" * alignment + text + b"\0\0")
    # Four characters are three bytes: those that share bits with a neighbour of the text depend on it too.
    first = (alignment * 8 + 5) // 6
    last = (alignment + len(text)) * 8 // 6
    return encoded[first:last]


def _texts(part: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key and every text of a document with its place."""
    if isinstance(part, dict):
        for key, member in part.items():
            yield f"{path}.(key)", str(key)
            yield from _texts(member, f"{path}.{key}")
    elif isinstance(part, list):
        for index, member in enumerate(part):
            yield from _texts(member, f"{path}[{index}]")
    elif part is not None:
        yield path, str(part)


def _dump(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")


def _name(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata", {})
    return "/".join(filter(None, (body.get("kind"), metadata.get("namespace"), metadata.get("name"))))
