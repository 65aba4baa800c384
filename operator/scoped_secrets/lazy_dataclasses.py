"""Frozen dataclasses whose methods are generated when they are used, for the start of commands.

The standard library compiles six methods for each frozen dataclass, one after the other, when its module is imported:
0.3 ms for a class with Python 3.11. A command imports more than a hundred of them and creates objects of few. Here, an
import only collects the fields, with the decorator of the standard library. A method is compiled at its first call, and
is the one that the standard library compiles.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

__all__ = ["dataclass"]

if TYPE_CHECKING:
    # Type checkers know this decorator, and only this one with all that `replace` and `fields` need.
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool = False, slots: bool = False) -> Callable[[type], type]:
        """Return a decorator like that of the standard library, with the arguments that this project needs."""

        def decorate(cls: type) -> type:
            # Python itself adds `__hash__ = None` to a class that defines `__eq__`.
            own = {name for name, value in vars(cls).items() if value is not None}
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
            for name, method in _methods(made, frozen=frozen):
                if name not in own:
                    setattr(made, name, method)
            return made

        return decorate


_Fields: TypeAlias = tuple[dataclasses.Field[Any], ...]
_Writer: TypeAlias = Callable[[_Fields, type, dict[str, Any]], Iterator[str]]
"""Yields the lines of a method, and adds the objects that they name to a dictionary."""

_set_field: Final = object.__setattr__


def _methods(cls: type, *, frozen: bool) -> Iterator[tuple[str, Callable[..., Any] | None]]:
    """Yield the methods of a dataclass by name."""
    yield "__init__", _deferred(cls, "__init__", _init_lines)
    yield "__eq__", _deferred(cls, "__eq__", _eq_lines)
    yield "__repr__", _repr
    if not frozen:
        yield "__hash__", None
        return
    yield "__hash__", _deferred(cls, "__hash__", _hash_lines)
    yield "__setattr__", _deny_assignment
    yield "__delattr__", _deny_deletion
    # For copies of objects with slots, whose state is otherwise set by assignment.
    yield "__getstate__", _getstate
    yield "__setstate__", _setstate


def _deferred(cls: type, name: str, write: _Writer) -> Callable[..., Any]:
    """Return a method that compiles itself at its first call."""

    def method(self: Any, /, *arguments: Any, **named: Any) -> Any:
        values: dict[str, Any] = {}
        exec("\n ".join(write(dataclasses.fields(cls), cls, values)), values)  # noqa: S102 - as the standard library does.
        compiled = values[name]
        compiled.__qualname__ = f"{cls.__qualname__}.{name}"
        setattr(cls, name, compiled)
        return compiled(self, *arguments, **named)

    return method


def _init_lines(fields: _Fields, cls: type, values: dict[str, Any]) -> Iterator[str]:
    values |= {"_set_field": _set_field, "_ABSENT": object()}
    parameters, lines = ["self"], []
    for each in fields:
        name, default = each.name, f"_default_{each.name}"
        if not each.init:
            # `__post_init__` sets it.
            continue
        if each.default is not dataclasses.MISSING:
            values[default] = each.default
            parameters.append(f"{name}={default}")
            lines.append(f"_set_field(self, {name!r}, {name})")
        elif each.default_factory is not dataclasses.MISSING:
            values[default] = each.default_factory
            parameters.append(f"{name}=_ABSENT")
            lines.append(f"_set_field(self, {name!r}, {default}() if {name} is _ABSENT else {name})")
        else:
            parameters.append(name)
            lines.append(f"_set_field(self, {name!r}, {name})")
    yield f"def __init__({', '.join(parameters)}):"
    yield from lines
    yield "self.__post_init__()" if hasattr(cls, "__post_init__") else "pass"


def _eq_lines(fields: _Fields, _cls: type, _values: dict[str, Any]) -> Iterator[str]:
    yield "def __eq__(self, other):"
    yield "if other.__class__ is not self.__class__: return NotImplemented"
    yield f"return {_compared(fields, 'self')} == {_compared(fields, 'other')}"


def _hash_lines(fields: _Fields, _cls: type, _values: dict[str, Any]) -> Iterator[str]:
    yield "def __hash__(self):"
    yield f"return hash({_compared(fields, 'self')})"


def _compared(fields: _Fields, owner: str) -> str:
    """Return the tuple of an object that stands for it in comparisons."""
    return f"({''.join(f'{owner}.{each.name}, ' for each in fields if each.compare)})"


def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _deny_assignment(_object: object, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _deny_deletion(_object: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _setstate(self: Any, state: Sequence[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        _set_field(self, each.name, value)
