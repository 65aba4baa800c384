"""The parts that the models of both kinds share: base class, CEL rules, metadata, conditions, selectors."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Never, Self, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from scoped_secrets.api.patterns import LABEL_KEY
from scoped_secrets.core.policy.label_selector import Operator

__all__ = [
    "ATOMIC",
    "MAP_BY_NAME",
    "RULE_ERROR",
    "SET",
    "CamelModel",
    "Condition",
    "LabelSelector",
    "ObjectMeta",
    "Rule",
    "SelectorRequirement",
    "Time",
    "list_map",
    "validations",
]

RULE_ERROR: Final = "scoped_secrets_rule"
"""The type of pydantic's error when a `Rule` is broken."""

Time: TypeAlias = AwareDatetime
"""A time with its zone: without a zone it would depend on the machine."""

MAX_LABEL_KEY: Final = 317
"""253 characters of prefix, a slash and 63 of name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule between fields, in CEL for the API server and by its message for our own parser.

    Attributes:
        expression: CEL, true when the rule holds.
        message: Half a sentence that follows the field's path and begins with "must".
        field: The member that the message is about; empty for the object itself.
    """

    expression: str
    message: str
    field: str = ""

    def require(self, holds: bool) -> None:
        """Raise pydantic's error, with nothing of the input, unless the rule holds."""
        if not holds:
            raise PydanticCustomError(RULE_ERROR, self.message, {"field": self.field})

    def as_schema(self) -> dict[str, str]:
        """Return the rule as an item of ``x-kubernetes-validations``."""
        schema = {"rule": self.expression, "message": self.message}
        if self.field:
            schema["fieldPath"] = f".{self.field}"
        return schema


def validations(*rules: Rule) -> dict[str, Any]:
    """Return the schema extension that has the API server enforce the rules."""
    return {"x-kubernetes-validations": [rule.as_schema() for rule in rules]}


def list_map(*keys: str) -> dict[str, Any]:
    """Return the schema extension of a list whose items are told apart by keys, as server-side apply needs it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


MAP_BY_NAME: Final = list_map("name")
ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}
SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}


class CamelModel(BaseModel):
    """The base of all wire models: camelCase outside, immutable inside, silent about its input.

    Unknown fields are passed over: a newer CRD must not break an older operator. The API server prunes them anyway.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        # Most models are parts of another one, whose validator holds theirs.
        defer_build=True,
        hide_input_in_errors=True,
    )

    def __getstate__(self) -> Never:
        """Refuse to be pickled: the model may hold a value."""
        raise TypeError(f"a {type(self).__name__} is not pickled")


class ObjectMeta(CamelModel):
    """The part of an object's metadata that the operator reads; most of it is missing before creation."""

    name: str = ""
    """Name of the object; empty while a `generateName` has not been used yet."""
    namespace: str = ""
    """Namespace of the object."""
    uid: str = ""
    """Identity of the object over time; empty before it is stored."""
    generation: int = 0
    """Count of changes to the spec; 0 before it is stored."""
    creation_timestamp: str | None = None
    """Time of creation as the API server writes it: RFC 3339 in UTC."""
    deletion_timestamp: str | None = None
    """Time after which the object is being deleted; absent while it lives."""
    resource_version: str = ""
    """Opaque version of the stored object."""
    labels: dict[str, str] | None = None
    """Labels: on a ScopedSecret, the tags that policies select."""
    annotations: dict[str, str] | None = Field(default=None, repr=False)
    """Annotations of the object. They are not shown: before admission, kubectl's copy of the manifest holds values."""


class Condition(CamelModel):
    """One observation of the controller about the object, in the form that all of Kubernetes uses."""

    type: Annotated[str, StringConstraints(max_length=64)]
    """What is observed, such as `Ready`; one condition per type."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds: `True`, `False` or `Unknown`."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The `metadata.generation` that the condition describes; a lower one than the object's is out of date."""
    last_transition_time: Time | None = None
    """When `status` last changed, as RFC 3339."""
    reason: Annotated[str, StringConstraints(max_length=64)] = ""
    """CamelCase word for programs: why the condition has this status."""
    message: Annotated[str, StringConstraints(max_length=1024)] = ""
    """Sentence for people that states the remedy; it never contains a value."""


_OPERATOR_TAKES_VALUES: Final = Rule(
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
    "must have `values` with the operators In and NotIn, and none with Exists and DoesNotExist",
)
_SELECTOR_SELECTS: Final = Rule(
    "has(self.matchLabels) || has(self.matchExpressions)",
    "must have `matchLabels` or `matchExpressions`; leave the selector out to select without labels",
)


class SelectorRequirement(CamelModel):
    """One expression of a label selector."""

    model_config = ConfigDict(json_schema_extra=validations(_OPERATOR_TAKES_VALUES))

    key: Annotated[str, StringConstraints(min_length=1, max_length=MAX_LABEL_KEY, pattern=LABEL_KEY)]
    """Key of the label to compare."""
    operator: Operator
    """How the label is compared: `In`, `NotIn`, `Exists` or `DoesNotExist`; `NotIn` also holds without the label."""
    values: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=63)], ...],
        Field(max_length=32, json_schema_extra=SET),
    ] = ()
    """Values to compare with, at most 32; at least one with `In` and `NotIn`, none with `Exists` and `DoesNotExist`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _OPERATOR_TAKES_VALUES.require((self.operator in (Operator.IN, Operator.NOT_IN)) == bool(self.values))
        return self


class LabelSelector(CamelModel):
    """A label selector that says something: an empty one would select everything by accident."""

    model_config = ConfigDict(json_schema_extra=validations(_SELECTOR_SELECTS))

    match_labels: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(min_length=1, max_length=32)
    ] = Field(default_factory=dict)
    """Labels and values that the object must have, at most 32; all of them must match."""
    match_expressions: Annotated[
        tuple[SelectorRequirement, ...],
        Field(min_length=1, max_length=32, json_schema_extra=ATOMIC),
    ] = ()
    """Expressions over labels, at most 32; all of them must hold, together with `matchLabels`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _SELECTOR_SELECTS.require(bool(self.match_labels or self.match_expressions))
        return self
