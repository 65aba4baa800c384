"""The lazy decorator makes the same classes as that of the standard library: each case runs with both."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest

from scoped_secrets import lazy_dataclasses

if TYPE_CHECKING:
    from collections.abc import Callable

DECORATORS = {"standard": dataclasses.dataclass, "lazy": lazy_dataclasses.dataclass}


def _point(decorator: Callable[..., Any], **options: bool) -> Any:
    @decorator(**options)
    class Point:
        """One with every kind of field that the project uses."""

        x: int
        label: str = "none"
        tags: list[str] = dataclasses.field(default_factory=list)
        hidden: str = dataclasses.field(default="hidden", repr=False)
        ignored: str = dataclasses.field(default="", compare=False)
        twice: int = dataclasses.field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.x)

    return Point


@pytest.fixture(params=DECORATORS)
def decorator(request: pytest.FixtureRequest) -> Callable[..., Any]:
    decorator: Callable[..., Any] = DECORATORS[request.param]
    return decorator


@pytest.fixture
def point(decorator: Callable[..., Any]) -> Any:
    return _point(decorator, frozen=True, slots=True)


def test_fields_are_set_by_position_by_name_and_by_default(point: Any):
    first, second = point(1, "one", tags=["a"]), point(x=2)

    assert dataclasses.astuple(first) == (1, "one", ["a"], "hidden", "", 2)
    assert dataclasses.astuple(second) == (2, "none", [], "hidden", "", 4)
    assert second.tags is not point(x=2).tags


@pytest.mark.parametrize(
    ("arguments", "named"), [((), {}), ((1, "one", [], "", "", 2), {}), ((1,), {"y": 1}), ((1,), {"x": 1})]
)
def test_wrong_arguments_fail_with_the_words_of_the_standard_library(arguments: Any, named: Any):
    messages = set()
    for decorator in DECORATORS.values():
        with pytest.raises(TypeError) as caught:
            _point(decorator, frozen=True, slots=True)(*arguments, **named)
        messages.add(str(caught.value))

    assert len(messages) == 1


def test_equality_compares_the_compared_fields_of_one_class(point: Any, decorator: Callable[..., Any]):
    assert point(1) == point(1, ignored="other")
    assert point(1) != point(2)
    assert point(1) != _point(decorator, frozen=True, slots=True)(1)
    assert point(1) != 1


def test_hash_is_that_of_the_standard_library():
    hashes = set()
    for decorator in DECORATORS.values():
        found = _point(decorator, frozen=True, slots=True)(1, tags=())
        hashes |= {hash(found), hash(dataclasses.replace(found, ignored="other"))}

    assert len(hashes) == 1


def test_representation_names_the_shown_fields(point: Any):
    assert repr(point(1)).endswith("Point(x=1, label='none', tags=[], ignored='', twice=2)")


@pytest.mark.parametrize("name", ["x", "twice", "unknown"])
def test_frozen_objects_cannot_change(point: Any, name: str):
    found = point(1)

    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(found, name, 2)
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        delattr(found, name)
    assert found == point(1)


def test_class_has_slots_match_patterns_and_a_signature(point: Any):
    assert not hasattr(point(1), "__dict__")
    assert point.__match_args__ == ("x", "label", "tags", "hidden", "ignored")
    match point(3, "three"):
        case point(x, label):
            assert (x, label) == (3, "three")
        case _:
            pytest.fail("the pattern does not match")
    point(1)
    assert list(inspect.signature(point).parameters) == ["x", "label", "tags", "hidden", "ignored"]


@lazy_dataclasses.dataclass(frozen=True, slots=True)
class Pickled:
    """At module level, where pickle finds it."""

    x: int
    y: str = "y"


def test_copies_are_equal(point: Any):
    assert copy.copy(point(1, tags=["a"])) == copy.deepcopy(point(1, tags=["a"])) == point(1, tags=["a"])
    assert pickle.loads(pickle.dumps(Pickled(1))) == Pickled(1)  # noqa: S301 - its own.


def test_methods_of_the_class_are_kept(decorator: Callable[..., Any]):
    @decorator(frozen=True, slots=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and self.name.lower() == other.name.lower()

        def __hash__(self) -> int:
            return 1

    named = cast("Any", Named)
    assert (repr(named("a")), named("a") == named("A"), hash(named("a"))) == ("own", True, 1)


def test_subclasses_have_the_fields_of_both(decorator: Callable[..., Any]):
    @decorator(frozen=True, slots=True)
    class Base:
        x: int

    @decorator(frozen=True, slots=True)
    class Derived(Base):
        y: int

    # The derived class first: the methods of the base are not those of the derived class.
    derived, base = cast("Any", Derived), cast("Any", Base)
    assert dataclasses.astuple(derived(1, 2)) == (1, 2)
    assert dataclasses.astuple(base(1)) == (1,)
    assert derived(1, 2) != base(1)
    assert derived(1, 2) == derived(1, 2)


def test_objects_that_are_not_frozen_change_and_have_no_hash(decorator: Callable[..., Any]):
    found = _point(decorator, slots=True)(1)
    found.label = "changed"

    assert found.label == "changed"
    with pytest.raises(TypeError):
        hash(found)


def test_import_compiles_no_method():
    program = (
        "import builtins; run = builtins.exec; texts = []\n"
        "builtins.exec = lambda text, *rest: (texts.append(text), run(text, *rest))[1]\n"
        "from scoped_secrets.core.scope.slot import Slot\n"
        "print(sum('def __' in text for text in texts if isinstance(text, str)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "0"
