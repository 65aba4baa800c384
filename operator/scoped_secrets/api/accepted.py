"""Converts stored objects that the controller has accepted, without the models, for commands that only read.

The models take longer to load than such a command to answer. The controller has read an object with them before it
says in the status, for this generation of the spec, that the object is valid. What is left is to copy fields. Anything
that takes more than that (times, sources in other Secrets, base64, fields that are not known here) returns ``None``,
and the models read the object.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.interactive import Interaction, InteractiveAccess
from scoped_secrets.core.policy.label_selector import LabelSelector, Operator, Requirement
from scoped_secrets.core.policy.policy import Effect, KeyConflict, Policy
from scoped_secrets.core.policy.subjects import Subject, SubjectKind
from scoped_secrets.core.resolution.definitions import (
    Attach,
    Definition,
    Entry,
    Override,
    PlainSource,
    Rotation,
    SealedSource,
    Source,
)
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.sealed_texts import plaintext_bound
from scoped_secrets.errors import SealingError
from scoped_secrets.names import ConditionType

__all__ = ["accepted_definition", "accepted_policy", "valid_definition"]

_MODE: Final = "0600"
_REMIND_DAYS: Final = 7
# A field that is not here, such as one of a later version, takes the models.
_SPEC: Final = frozenset(
    {
        "secretName",
        "description",
        "scope",
        "project",
        "environment",
        "override",
        "final",
        "attach",
        "env",
        "files",
        "dataKeys",
        "rotation",
    }
)
_ENTRY: Final = frozenset({"name", "path", "env", "mode", "sensitive", "value", "content", "sealed"})
_ROTATION: Final = frozenset({"intervalDays", "remindDays"})
_POLICY: Final = frozenset({"secrets", "effect", "rules", "interactive", "keyConflict"})
_SECRETS: Final = frozenset({"names", "selector", "scopes"})
_CLAIMS: Final = {
    "projects": "projects",
    "environments": "environments",
    "namespaces": "namespaces",
    "serviceAccounts": "service_accounts",
    "creators": "creators",
    "refs": "refs",
    "events": "events",
}
_RULE: Final = frozenset({"name", "podSelector", *_CLAIMS})
_SELECTOR: Final = frozenset({"matchLabels", "matchExpressions"})
_REQUIREMENT: Final = frozenset({"key", "operator", "values"})
_SUBJECT: Final = frozenset({"kind", "name", "namespace"})
_INTERACTIONS: Final = {
    Interaction.EXEC: "exec",
    Interaction.ATTACH: "attach",
    Interaction.PORT_FORWARD: "portForward",
    Interaction.EPHEMERAL_CONTAINERS: "ephemeralContainers",
}
_INTERACTIVE: Final = frozenset({"exemptSubjects", *_INTERACTIONS.values()})
# Whatever an object of another shape raises.
_ANOTHER_SHAPE: Final = (AttributeError, KeyError, SealingError, TypeError, ValueError)


class _NeedsModelsError(ValueError):
    """A field that is more than a copy."""


def accepted_definition(body: Mapping[str, Any]) -> Definition | None:
    """Return the definition of a ScopedSecret that the controller has found ready, without ciphertext.

    ``None`` for every other object: `parsing.to_definition` converts it.
    """
    try:
        return _definition(body) if _is_accepted(body, ConditionType.READY) else None
    except _ANOTHER_SHAPE:
        return None


def valid_definition(body: Mapping[str, Any]) -> Definition | None:
    """Return the definition of a ScopedSecret that is valid and sealed, as `parsing.to_definition` converts it.

    ``None`` for one that needs the models. The caller knows that the object is valid.
    """
    try:
        return _definition(body)
    except _ANOTHER_SHAPE:
        return None


def accepted_policy(body: Mapping[str, Any]) -> Policy | None:
    """Return the rules of a SecretPolicy that the controller has accepted, without the scope path of its namespace.

    ``None`` for every other object: `parsing.to_policy` converts it.
    """
    try:
        return _policy(body) if _is_accepted(body, ConditionType.ACCEPTED) else None
    except _ANOTHER_SHAPE:
        return None


def _is_accepted(body: Mapping[str, Any], kind: ConditionType) -> bool:
    generation = body["metadata"]["generation"]
    return any(
        (each["type"], each["status"], each["observedGeneration"]) == (kind, "True", generation)
        for each in body["status"]["conditions"]
    )


def _definition(body: Mapping[str, Any]) -> Definition:
    metadata, spec = body["metadata"], _with_only(body["spec"], _SPEC)
    return Definition(
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        namespace=metadata["namespace"],
        name=metadata["name"],
        created=metadata.get("creationTimestamp", ""),
        secret_name=spec.get("secretName") or metadata["name"],
        scope=Scope(spec["scope"]),
        project=spec.get("project"),
        environment=spec.get("environment"),
        labels=metadata.get("labels") or {},
        override=Override(spec.get("override", Override.REPLACE)),
        final=spec.get("final", False),
        attach=Attach(spec.get("attach", Attach.ON_REFERENCE)),
        env=tuple(Entry.variable(entry["name"], _source(entry, "value")) for entry in spec.get("env", ())),
        files=tuple(
            Entry.file(entry.get("path"), int(entry.get("mode", _MODE), 8), _source(entry, "content"), entry.get("env"))
            for entry in spec.get("files", ())
        ),
        data_keys=(),
        rotation=_rotation(spec.get("rotation")),
        expires=None,
        not_ready=None,
    )


def _rotation(rotation: Mapping[str, Any] | None) -> Rotation | None:
    if rotation is None:
        return None
    given = _with_only(rotation, _ROTATION)
    return Rotation(given["intervalDays"], given.get("remindDays", _REMIND_DAYS))


def _source(entry: Mapping[str, Any], plain_field: str) -> Source:
    given = _with_only(entry, _ENTRY).keys() & {"value", "content", "sealed"}
    if given == {"sealed"}:
        return SealedSource("", plaintext_bound(entry["sealed"]))
    if given == {plain_field} and entry.get("sensitive") is False:
        return PlainSource(entry[plain_field].encode())
    raise _NeedsModelsError


def _policy(body: Mapping[str, Any]) -> Policy:
    metadata, spec = body["metadata"], _with_only(body["spec"], _POLICY)
    secrets = _with_only(spec["secrets"], _SECRETS)
    return Policy(
        namespace=metadata["namespace"],
        name=metadata["name"],
        organization="",
        effect=Effect(spec.get("effect", Effect.ALLOW)),
        secret_names=tuple(secrets.get("names", ())),
        selector=_selector(secrets.get("selector")),
        scopes=tuple(map(Scope, secrets.get("scopes", ()))),
        rules=tuple(map(_rule, spec.get("rules", ()))),
        key_conflict=KeyConflict(spec.get("keyConflict", KeyConflict.LAST_WINS)),
        interactive=_interactive(spec.get("interactive")),
    )


def _rule(rule: Mapping[str, Any]) -> Rule:
    _with_only(rule, _RULE)
    claims: dict[str, Any] = {field: tuple(rule[member]) for member, field in _CLAIMS.items() if member in rule}
    return Rule(name=rule["name"], pod_selector=_selector(rule.get("podSelector")), **claims)


def _selector(selector: Mapping[str, Any] | None) -> LabelSelector | None:
    if selector is None:
        return None
    _with_only(selector, _SELECTOR)
    labels = (Requirement(key, Operator.IN, (value,)) for key, value in selector.get("matchLabels", {}).items())
    expressions = (
        Requirement(each["key"], Operator(each["operator"]), tuple(_with_only(each, _REQUIREMENT).get("values", ())))
        for each in selector.get("matchExpressions", ())
    )
    return LabelSelector((*labels, *expressions))


def _interactive(access: Mapping[str, Any] | None) -> InteractiveAccess | None:
    if access is None:
        return None
    _with_only(access, _INTERACTIVE)
    return InteractiveAccess(
        denied=frozenset(
            each for each, member in _INTERACTIONS.items() if Effect(access.get(member, Effect.ALLOW)) is Effect.DENY
        ),
        exempt=tuple(
            Subject(SubjectKind(_with_only(each, _SUBJECT)["kind"]), each["name"], each.get("namespace", ""))
            for each in access.get("exemptSubjects", ())
        ),
    )


def _with_only(part: Mapping[str, Any], fields: AbstractSet[str]) -> Mapping[str, Any]:
    """Return a part of the object; raise for one with other fields."""
    if part.keys() - fields:
        raise _NeedsModelsError
    return part
