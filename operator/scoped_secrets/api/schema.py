"""Converts pydantic's JSON Schema to a structural OpenAPI v3 schema, the only form that an API server accepts.

The API server does not accept ``$ref``, ``const``, ``title`` or null: they are inlined, rewritten or dropped. So is
``default``. The generation fails for any other unknown keyword: to drop it silently would drop a rule.
"""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

__all__ = ["Schema", "SchemaError", "describe_fields", "structural_schema"]

Schema: TypeAlias = dict[str, Any]

# A default of the API server would stand in stored objects and not in the manifests in Git, so that every comparison of
# the two would find a difference. The models have the defaults, and the descriptions name them.
_DROPPED: Final = frozenset({"title", "$defs", "writeOnly", "default"})
_KEPT: Final = frozenset(
    {
        "type",
        "format",
        "description",
        "enum",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "required",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
    }
)
# The order in which a person reads a field.
_ORDER: Final = ("description", "type", "format", "enum")


class SchemaError(Exception):
    """A model uses what a CRD cannot say; found when CRDs are generated, never by a user."""


def structural_schema(model: type[BaseModel]) -> Schema:
    """Return the structural schema of a model, with everything inlined.

    Raises:
        SchemaError: The model says something that an API server would not enforce.
    """
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    models = {each.__name__: each for each in _subclasses(BaseModel)}
    for name, described in ((model.__name__, schema), *definitions.items()):
        if name in models:
            _describe(described, models[name])
    return _convert(schema, definitions, model.__name__)


def describe_fields(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the text below each field in the source of a model.

    pydantic can do this too (`use_attribute_docstrings`), but at each start of every program, and it takes as long as a
    request.
    """
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is not BaseModel and issubclass(base, BaseModel):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            found |= dict(_documented(tree))
    return found


def _documented(tree: ast.AST) -> Iterator[tuple[str, str]]:
    if not isinstance(tree, ast.ClassDef):
        return
    for field, text in itertools.pairwise(tree.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(sentence))):
                yield name, inspect.cleandoc(sentence)
            case _:
                pass


def _describe(schema: Schema, model: type[BaseModel]) -> None:
    """Add the descriptions of a model's fields to its JSON Schema, where a field has none of its own."""
    described = describe_fields(model)
    for name, field in model.model_fields.items():
        property_schema = schema["properties"].get(field.alias or name)
        if property_schema is not None and name in described:
            property_schema.setdefault("description", described[name])


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in model.__subclasses__():
        yield each
        yield from _subclasses(each)


def _convert(schema: Mapping[str, Any], definitions: Mapping[str, Schema], path: str) -> Schema:
    merged = _without_null(_resolved(schema, definitions), definitions, path)
    converted: Schema = {}
    for key, value in merged.items():
        if key in _DROPPED:
            continue
        if key == "properties":
            converted[key] = {name: _convert(item, definitions, f"{path}.{name}") for name, item in value.items()}
        elif key == "items":
            converted[key] = _anonymous(_convert(value, definitions, f"{path}[]"))
        elif key == "additionalProperties":
            converted[key] = _anonymous(_convert(value, definitions, f"{path}{{}}"))
        elif key == "const":
            converted["enum"] = [value]
        elif key in _KEPT:
            converted[key] = value
        else:
            raise SchemaError(f"{path}: a CRD cannot say '{key}'; model it in another way")
    return _in_order(converted)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """Return the schema with its reference replaced by what it refers to; what stands beside it has precedence."""
    resolved = dict(schema)
    reference = resolved.pop("$ref", None)
    if reference is None:
        return resolved
    return {**definitions[reference.removeprefix("#/$defs/")], **resolved}


def _without_null(schema: Schema, definitions: Mapping[str, Schema], path: str) -> Schema:
    """Return the one type of "that type or null": an optional field of an API is absent and never null."""
    if "anyOf" not in schema:
        return schema
    choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
    if len(choices) != 1:
        raise SchemaError(f"{path}: a CRD has one type per field; use optional fields and a rule")
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**_resolved(choices[0], definitions), **rest}


def _anonymous(schema: Schema) -> Schema:
    """Return the schema of an item without its description: `kubectl explain` shows that of the list."""
    return {key: value for key, value in schema.items() if key != "description"}


def _in_order(schema: Schema) -> Schema:
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if schema.get("type") == "integer":
        schema["format"] = "int64"
    first: Schema = {key: schema[key] for key in _ORDER if key in schema}
    return {**first, **schema}
