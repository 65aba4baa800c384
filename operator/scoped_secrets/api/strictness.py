"""What the API server rejects in an object and our own parser passes over, for objects in files.

The parser is lenient on purpose: a newer CRD must not break an older operator, and admission sees objects in the middle
of a change. A file has no such reason. Together, `strict_errors` and the parser find what the CRDs' schemas and CEL
rules reject.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from scoped_secrets import names
from scoped_secrets.api.entries import ONE_ENV_SOURCE, ONE_FILE_SOURCE
from scoped_secrets.api.schema import Schema, structural_schema
from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.api.secretpolicy import SecretPolicy
from scoped_secrets.api.validation_messages import known_fields, to_user_errors

__all__ = ["FieldError", "find_field_errors"]

_MODELS: Final[Mapping[str, type[BaseModel]]] = {
    names.SCOPED_SECRET_KIND: ScopedSecret,
    names.SECRET_POLICY_KIND: SecretPolicy,
}
_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    "array": (list, "must be a list"),
    "boolean": (bool, "must be true or false, without quotes"),
    "integer": (int, "must be a whole number, without quotes"),
    "object": (dict, "must be an object with fields"),
    "string": (str, "must be text; put it in quotes"),
}
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_OBJECT_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_MAX_OBJECT_NAME: Final = 253
_FIELD: Final = re.compile(r"`([^`]*)` ")
_SOURCES: Final = {
    "env": (("value", "sealed", "valueFrom"), ONE_ENV_SOURCE.message),
    "files": (("content", "contentBase64", "sealed", "valueFrom"), ONE_FILE_SOURCE.message),
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that the API server would reject.

    Attributes:
        field: The path of the field; of an unknown field that of the object around it.
        message: The sentence with the path and the remedy, and nothing of the input.
        place: The path of the unknown field, whose key may be a value; it is for finding the line, and not shown.
    """

    field: str
    message: str
    place: str = dataclasses.field(default="", repr=False)


def find_field_errors(kind: str, body: Mapping[str, Any]) -> tuple[FieldError, ...]:
    """Return what the API server rejects in an object of one of our kinds, each field once."""
    found = [*_strict_errors(kind, body), *_metadata_errors(body)]
    # A field with another type has one error of each.
    fields = {error.field for error in found if not error.place}
    found += (error for error in _parser_errors(kind, body) if error.field not in fields)
    return tuple(found)


def _parser_errors(kind: str, body: Mapping[str, Any]) -> Iterator[FieldError]:
    """Yield what the models reject. Rules across fields are checked once the fields themselves are right."""
    model = _MODELS[kind]
    try:
        model.model_validate({name: member for name, member in body.items() if name != "status"})
    except ValidationError as error:
        for problem in to_user_errors(error, known_fields(_MODELS[kind])):
            field = _FIELD.match(problem.message)
            yield FieldError(field[1] if field else "", problem.message)


def _strict_errors(kind: str, body: Mapping[str, Any]) -> Iterator[FieldError]:
    if body.get("apiVersion") != names.API_VERSION:
        yield FieldError("apiVersion", f"`apiVersion` must be {names.API_VERSION}")
    yield from _unknown_fields(body, {"apiVersion", "kind", "metadata", "spec", "status"}, "")
    spec = body.get("spec")
    if isinstance(spec, dict):
        yield from _walk(spec, _schema(kind)["properties"]["spec"], "spec")
        if kind == names.SCOPED_SECRET_KIND:
            yield from _two_sources(spec)


def _metadata_errors(body: Mapping[str, Any]) -> Iterator[FieldError]:
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return
    name, generated = metadata.get("name"), metadata.get("generateName")
    if name is None and generated is None:
        yield FieldError("metadata.name", "`metadata.name` must be given")
    elif isinstance(name, str) and (len(name) > _MAX_OBJECT_NAME or _OBJECT_NAME.fullmatch(name) is None):
        yield FieldError(
            "metadata.name",
            "`metadata.name` must consist of at most 253 lower-case letters, digits, '-' and '.', and begin and end "
            "with a letter or digit",
        )


def _walk(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    """Yield what an API server checks by structure: types, null, unknown fields, items of sets."""
    expected, demand = _TYPES[schema["type"]]
    if value is None:
        yield FieldError(path, f"`{path}` must not be null; leave it out")
        return
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        yield FieldError(path, f"`{path}` {demand}")
        return
    if isinstance(value, str) and schema.get("format") == "date-time" and _RFC3339.fullmatch(value) is None:
        yield FieldError(path, f"`{path}` must be a time as RFC 3339 with a zone, such as 2027-01-01T00:00:00Z")
    if isinstance(value, dict):
        yield from _walk_object(value, schema, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, schema["items"], f"{path}[{index}]")
        yield from _repeated_items(value, schema, path)


def _walk_object(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[FieldError]:
    properties = schema.get("properties")
    if properties is None:
        members = schema["additionalProperties"]
        if any(not isinstance(member, _TYPES[members["type"]][0]) for member in value.values()):
            yield FieldError(path, f"`{path}` must have texts as values; put them in quotes")
        return
    yield from _unknown_fields(value, properties.keys(), path)
    for name, member in value.items():
        if name in properties:
            yield from _walk(member, properties[name], f"{path}.{name}")


def _unknown_fields(value: Mapping[str, Any], known: Any, path: str) -> Iterator[FieldError]:
    for name in value:
        if name not in known:
            # The key is not shown: it may be a value whose key is missing.
            near = get_close_matches(str(name), known, n=1)
            remedy = f"`{near[0]}` may be meant" if near else "remove it"
            where = f"`{path}`" if path else "the object"
            place = f"{path}.{name}" if path else str(name)
            yield FieldError(path, f"{where} has an unknown field; {remedy}", place)


def _repeated_items(value: list[Any], schema: Schema, path: str) -> Iterator[FieldError]:
    if schema.get("x-kubernetes-list-type") == "set" and len(set(map(repr, value))) != len(value):
        yield FieldError(path, f"`{path}` must have each item once")


def _two_sources(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    """Yield the entries that have a sealed text and another source, which admission lets pass until it has chosen."""
    for name, (members, message) in _SOURCES.items():
        entries = spec.get(name)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict) and sum(entry.get(member) is not None for member in members) > 1:
                path = f"spec.{name}[{index}]"
                yield FieldError(path, f"`{path}` {message}")


@cache
def _schema(kind: str) -> Schema:
    return structural_schema(_MODELS[kind])
