"""Finds expressions in the fields of a pod in which they are not expanded: they would reach the job as text."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from scoped_secrets import names

__all__ = ["unexpanded_texts"]

_EXPANDED_FIELDS: Final = frozenset({"env", "command", "args"})
"""The fields of a container in which expressions are expanded."""


def unexpanded_texts(
    spec: Mapping[str, Any], containers: Iterable[tuple[str, int, Mapping[str, Any]]]
) -> tuple[str, ...]:
    """Return the JSON pointers of the texts that hold an expression in such a field.

    Args:
        spec: The pod's spec.
        containers: Its containers, each with its list and its place there.
    """
    return tuple(
        pointer
        for field, index, container in containers
        for name, value in container.items()
        if name not in _EXPANDED_FIELDS and _holds_expression(value)
        for pointer in _texts_with_expression(value, f"/spec/{field}/{index}/{name}")
    ) + tuple(
        pointer
        for name, value in spec.items()
        if name not in ("containers", "initContainers") and _holds_expression(value)
        for pointer in _texts_with_expression(value, f"/spec/{name}")
    )


def _holds_expression(value: Any) -> bool:
    """Tell whether a text at any depth holds an expression; most pods have none, and no pointer is made for them."""
    if isinstance(value, str):
        return names.EXPRESSION_MARK in value
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return False
    for member in value:  # noqa: SIM110 - a generator takes three times as long.
        if _holds_expression(member):
            return True
    return False


def _texts_with_expression(value: Any, pointer: str) -> Iterator[str]:
    """Yield the pointers of the texts, at any depth, that hold an expression."""
    if isinstance(value, str):
        if names.EXPRESSION_MARK in value:
            yield pointer
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _texts_with_expression(member, f"{pointer}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts_with_expression(item, f"{pointer}/{index}")
