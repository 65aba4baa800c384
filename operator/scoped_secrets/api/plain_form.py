"""Recognizes objects of a plain form, which are valid for certain, without the models.

The models take longer to load than a command to seal a few values. They alone say what is wrong with an object, and
whether one of another form is valid: the answer here is "certainly" or "ask the models". Each condition is at least as
strict as the models' own (`tests/api/test_plain_form.py` compares them).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from scoped_secrets.api.patterns import LABEL_VALUE, OBJECT_NAME
from scoped_secrets.api.reserved_variables import RESERVED_NAMES, RESERVED_PREFIXES

__all__ = ["is_plainly_valid"]

_METADATA: Final = frozenset({"name", "namespace", "labels"})
_SPEC: Final = frozenset({"scope", "secretName", "project", "environment", "description", "env", "files"})
_MAX_NAME: Final = 63
_MAX_DESCRIPTION: Final = 1024
_MAX_ENTRIES: Final = 50
# Far below the limits of one value (32 KiB) and, fifty times, of a bundle (900 KiB).
_MAX_VALUE_BYTES: Final = 8 * 1024
_ENVIRONMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/*-]{0,99}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_PATH: Final = re.compile(r"(~?/)?[A-Za-z0-9._][A-Za-z0-9._/-]{0,199}(?<!/)")
_MODE: Final = re.compile(r"0?[0-7]{3}")
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def is_plainly_valid(body: Mapping[str, Any]) -> bool:
    """Tell whether a ScopedSecret before sealing is valid for certain; False says nothing."""
    metadata, spec = body["metadata"], body["spec"]
    env, files = spec.get("env", []), spec.get("files", [])
    variables = [each.get("name") for each in env]
    paths = [each.get("path") for each in files]
    return (
        metadata.keys() <= _METADATA
        and spec.keys() <= _SPEC
        and _is_name(metadata["name"], OBJECT_NAME)
        and _is_name(spec.get("secretName", "name"), LABEL_VALUE)
        and _is_name(spec.get("project", "name"), LABEL_VALUE)
        and len(spec.get("description", "")) <= _MAX_DESCRIPTION
        and _has_scope(spec)
        and len(env) + len(files) <= _MAX_ENTRIES
        and len({*variables}) == len(variables)
        and len({*paths}) == len(paths)
        and all(map(_is_variable, env))
        and all(map(_is_file, files))
    )


def _is_name(text: str, pattern: str) -> bool:
    return len(text) <= _MAX_NAME and re.fullmatch(pattern, text) is not None


def _has_scope(spec: Mapping[str, Any]) -> bool:
    match spec["scope"]:
        case "Organization":
            return not spec.keys() & {"project", "environment"}
        case "Project":
            return "environment" not in spec
        case "Environment":
            return _ENVIRONMENT.fullmatch(spec.get("environment", "")) is not None
        case _:
            return False


def _is_variable(entry: Mapping[str, str]) -> bool:
    name, value = entry.get("name", ""), entry.get("value", "")
    return (
        entry.keys() == {"name", "value"}
        and _VARIABLE.fullmatch(name) is not None
        and name not in RESERVED_NAMES
        and not name.startswith(RESERVED_PREFIXES)
        and "\0" not in value
        # Of UTF-8, at most so many bytes.
        and len(value) <= _MAX_VALUE_BYTES // 4
    )


def _is_file(entry: Mapping[str, str]) -> bool:
    content = entry.get("contentBase64", "")
    return (
        entry.keys() - {"mode"} == {"path", "contentBase64"}
        and _PATH.fullmatch(entry["path"]) is not None
        and _MODE.fullmatch(entry.get("mode", "0600")) is not None
        and len(content) <= _MAX_VALUE_BYTES
        and _BASE64.fullmatch(content) is not None
    )
