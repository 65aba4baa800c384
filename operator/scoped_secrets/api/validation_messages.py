"""Converts pydantic's errors to messages: the field's path and the requirement, never the input."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scoped_secrets.api.base import RULE_ERROR
from scoped_secrets.api.patterns import SENTENCES
from scoped_secrets.errors import InvalidObjectError

__all__ = ["known_fields", "to_user_error", "to_user_errors"]

_TIME: Final = "must be a time as RFC 3339 with a zone, such as 2027-01-01T00:00:00Z"
_OBJECT: Final = "must be an object with fields"
_LIST: Final = "must be a list"
_BOOLEAN: Final = "must be true or false, without quotes"
_INTEGER: Final = "must be a whole number, without quotes"

_BY_TYPE: Final[Mapping[str, str]] = {
    "missing": "must be given",
    "extra_forbidden": "must have only known fields; one is unknown",
    "string_type": "must be text; put it in quotes",
    "string_unicode": "must be UTF-8 text",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_from_float": _INTEGER,
}
_BY_CONTEXT: Final[Mapping[str, str]] = {
    "string_too_long": "must be at most {max_length} characters",
    "string_too_short": "must be at least {min_length} characters",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} item, or be left out",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
}
_OTHERWISE: Final = "must be as `kubectl explain` says"


def to_user_error(error: ValidationError, fields: frozenset[str]) -> InvalidObjectError:
    """Return the first problem as one sentence.

    Args:
        error: What pydantic found; it never reaches a message itself, for it holds its input.
        fields: Names that may be shown in a path; whatever else stands in one was taken from the input.
    """
    return next(to_user_errors(error, fields))


def to_user_errors(error: ValidationError, fields: frozenset[str]) -> Iterator[InvalidObjectError]:
    """Yield every problem as one sentence; the arguments are those of `to_user_error`."""
    for problem in error.errors(include_url=False, include_input=False):
        yield _user_error(problem, fields)


def _user_error(problem: ErrorDetails, fields: frozenset[str]) -> InvalidObjectError:
    path = _path(problem["loc"], fields)
    field = problem.get("ctx", {}).get("field", "") if problem["type"] == RULE_ERROR else ""
    path = ".".join(part for part in (path, field) if part)
    subject = f"`{path}`" if path else "the object"
    return InvalidObjectError(f"{subject} {_demand(problem)}")


@cache
def known_fields(model: type[BaseModel]) -> frozenset[str]:
    """Return the wire names of all fields of a model and of the models in it: once, at the first mistake."""
    return frozenset(_names(model.model_json_schema()))


def _names(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for part in schema.values():
            yield from _names(part)


def _path(location: tuple[int | str, ...], fields: frozenset[str]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in fields:
            path += f".{part}" if path else part
        else:
            # A key of a map: the path ends at the map, because the key was written by the person.
            break
    return path


def _demand(problem: ErrorDetails) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == RULE_ERROR:
        # The message of a `Rule`: a constant.
        return problem["msg"]
    if kind == "string_pattern_mismatch":
        return SENTENCES[context["pattern"]]
    if kind in _BY_CONTEXT:
        return _BY_CONTEXT[kind].format_map(_shown(context))
    if kind.startswith(("datetime", "timezone", "date_")):
        return _TIME
    return _BY_TYPE.get(kind, _OTHERWISE)


def _shown(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the limits and choices of an error's context, all of them from our schema."""
    return {key: context[key] for key in ("max_length", "min_length", "ge", "le", "expected") if key in context}
