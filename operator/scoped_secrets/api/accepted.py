"""Converts stored objects that the controller has accepted, without the models, for commands that only read.

The models take longer to load than such a command to answer. The controller has read an object with them before it
says in the status, for this generation of the spec, that the object is valid. What is left is to copy fields. Anything
that takes more than that (times, sources in other Secrets, base64) returns ``None``, and the models read the object.
"""

from collections.abc import Mapping
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

__all__ = ["accepted_definition", "accepted_policy"]

_MODE: Final = "0600"
_REMIND_DAYS: Final = 7
_CLAIMS: Final = {
    "projects": "projects",
    "environments": "environments",
    "namespaces": "namespaces",
    "serviceAccounts": "service_accounts",
    "creators": "creators",
    "refs": "refs",
    "events": "events",
}
_INTERACTIONS: Final = {
    Interaction.EXEC: "exec",
    Interaction.ATTACH: "attach",
    Interaction.PORT_FORWARD: "portForward",
    Interaction.EPHEMERAL_CONTAINERS: "ephemeralContainers",
}
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
    metadata, spec = body["metadata"], body["spec"]
    if "expireTime" in spec:
        raise _NeedsModelsError
    return Definition(
        uid=metadata["uid"],
        generation=metadata["generation"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        created=metadata["creationTimestamp"],
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
    return None if rotation is None else Rotation(rotation["intervalDays"], rotation.get("remindDays", _REMIND_DAYS))


def _source(entry: Mapping[str, Any], plain_field: str) -> Source:
    given = entry.keys() & {"value", "content", "contentBase64", "sealed", "valueFrom"}
    if given == {"sealed"}:
        return SealedSource("", plaintext_bound(entry["sealed"]))
    if given == {plain_field} and entry.get("sensitive") is False:
        return PlainSource(entry[plain_field].encode())
    raise _NeedsModelsError


def _policy(body: Mapping[str, Any]) -> Policy:
    metadata, spec = body["metadata"], body["spec"]
    secrets = spec["secrets"]
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
    if rule.keys() & {"notBefore", "notAfter"}:
        raise _NeedsModelsError
    claims: dict[str, Any] = {field: tuple(rule[member]) for member, field in _CLAIMS.items() if member in rule}
    return Rule(name=rule["name"], pod_selector=_selector(rule.get("podSelector")), **claims)


def _selector(selector: Mapping[str, Any] | None) -> LabelSelector | None:
    if selector is None:
        return None
    labels = (Requirement(key, Operator.IN, (value,)) for key, value in selector.get("matchLabels", {}).items())
    expressions = (
        Requirement(each["key"], Operator(each["operator"]), tuple(each.get("values", ())))
        for each in selector.get("matchExpressions", ())
    )
    return LabelSelector((*labels, *expressions))


def _interactive(access: Mapping[str, Any] | None) -> InteractiveAccess | None:
    if access is None:
        return None
    return InteractiveAccess(
        denied=frozenset(
            each for each, member in _INTERACTIONS.items() if Effect(access.get(member, Effect.ALLOW)) is Effect.DENY
        ),
        exempt=tuple(
            Subject(SubjectKind(each["kind"]), each["name"], each.get("namespace", ""))
            for each in access.get("exemptSubjects", ())
        ),
    )
