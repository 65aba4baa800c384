"""The SecretPolicy: which jobs may use which bundles (DESIGN section 6)."""

import re
from typing import Annotated, Final, Self, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from scoped_secrets.api.base import (
    ATOMIC,
    MAP_BY_NAME,
    SET,
    CamelModel,
    LabelSelector,
    ObjectMeta,
    Rule,
    Time,
    validations,
)
from scoped_secrets.api.patterns import ENVIRONMENT, LABEL_VALUE, OBJECT_NAME, SENTENCES
from scoped_secrets.api.status import SecretPolicyStatus
from scoped_secrets.core.policy.policy import Effect, KeyConflict
from scoped_secrets.core.policy.subjects import SubjectKind
from scoped_secrets.core.scope.slot import Scope

__all__ = ["ExemptSubject", "Interactive", "PolicyRule", "SecretPolicy", "SecretPolicySpec", "SecretSelection"]

_NAME_GLOB: Final = r"^[A-Za-z0-9*]([A-Za-z0-9._*-]*[A-Za-z0-9*])?$"
_REF_GLOB: Final = r"^refs/[^\x00-\x20\x7f]+$"
_EVENT: Final = r"^[a-z]([a-z0-9_-]*[a-z0-9])?$"
_SUBJECT: Final = r"^[^\x00-\x1f\x7f]+$"
SENTENCES.update(
    {
        _NAME_GLOB: "must be a name, or a pattern with '*' for any text, of letters, digits, '.', '_' and '-'",
        _REF_GLOB: "must be a full ref or a pattern of one, such as 'refs/heads/main' or 'refs/tags/v*'",
        _EVENT: "must be the lower-case name of an event, such as 'push'",
        _SUBJECT: "must have no control character",
    }
)

_SELECTS: Final = Rule(
    "has(self.names) || has(self.selector) || has(self.scopes)",
    'must have at least one of `names`, `selector` and `scopes`; write `names: ["*"]` to select every bundle',
)
_WINDOW: Final = Rule(
    "!has(self.notBefore) || !has(self.notAfter) || self.notBefore < self.notAfter",
    "must be later than `notBefore`",
    "notAfter",
)
# Not a pattern: the API server's message would show the expression, which is no remedy.
_ACCOUNT: Final = Rule(
    f"self.matches('{_NAME_GLOB}')",
    "must be the name of a ServiceAccount, or a pattern with '*' for any text, of letters, digits, '.', '_' and '-'; "
    "for 'system:serviceaccount:NAMESPACE:NAME' write NAME here and NAMESPACE into the rule's `namespaces`",
)
_ACCOUNT_HAS_NAMESPACE: Final = Rule(
    "(self.kind == 'ServiceAccount') == has(self.namespace)",
    "must have `namespace` with the kind ServiceAccount, and none with User and Group",
)
_UNIQUE_RULES: Final = Rule("", "must have each `name` once", "rules")


def _require_account(name: str) -> str:
    _ACCOUNT.require(re.fullmatch(_NAME_GLOB, name) is not None)
    return name


NameGlob: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=_NAME_GLOB)]
AccountGlob: TypeAlias = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    AfterValidator(_require_account),
    Field(json_schema_extra=validations(_ACCOUNT)),
]
EnvironmentGlob: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=ENVIRONMENT)]
RefGlob: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_REF_GLOB)]
Event: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=_EVENT)]
Subject: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=_SUBJECT)]

# An empty list would be a claim that is not checked: a template that renders no item would allow every job.
_CLAIM: Final = Field(min_length=1, max_length=50, json_schema_extra=SET)


class SecretSelection(CamelModel):
    """Which bundles; every field that is given must match."""

    model_config = ConfigDict(json_schema_extra=validations(_SELECTS))

    names: Annotated[tuple[NameGlob, ...], Field(min_length=1, max_length=100, json_schema_extra=SET)] = ()
    """Names of bundles (`spec.secretName`) or patterns where `*` stands for any text, at most 100; one has to match.
    Any name when left out."""
    selector: LabelSelector | None = None
    """Labels that the ScopedSecret must have. Users who may write a ScopedSecret may write its labels: select
    by name the bundles that must always be governed. Any labels when left out."""
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=3, json_schema_extra=SET)] = ()
    """Scopes of the definition: `Organization`, `Project`, `Environment`; one has to match. Any scope when left out."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _SELECTS.require(bool(self.names or self.selector or self.scopes))
        return self


class PolicyRule(CamelModel):
    """Claims about a job: all claims of a rule must hold, and of each list one item is enough."""

    model_config = ConfigDict(json_schema_extra=validations(_WINDOW))

    name: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=LABEL_VALUE)]
    """Name of the rule, at most 63 characters; decisions and denials show it."""
    projects: Annotated[tuple[NameGlob, ...], _CLAIM] = ()
    """Projects of the job or patterns of them, at most 50; any project when left out."""
    environments: Annotated[tuple[EnvironmentGlob, ...], _CLAIM] = ()
    """Environments of the job or patterns of them, at most 50; `*` stands for any text without `/`. A job without an
    environment does not match. Together with `serviceAccounts`, the rule also allows the pods of these accounts to
    declare that they run for these environments. Any or no environment when left out."""
    namespaces: Annotated[tuple[NameGlob, ...], _CLAIM] = ()
    """Namespaces of the job or patterns of them, at most 50; any namespace of the scope when left out."""
    service_accounts: Annotated[tuple[AccountGlob, ...], _CLAIM] = ()
    """Names of the pod's ServiceAccount or patterns of them, at most 50, without `system:serviceaccount:` and without
    a namespace, which belongs into `namespaces`; any account when left out."""
    refs: Annotated[tuple[RefGlob, ...], _CLAIM] = ()
    """Full Git refs or patterns of them, such as `refs/heads/main` or `refs/tags/v*`, at most 50, as a trusted issuer
    states; `*` stands for any text without `/`. An `Allow` rule does not match a job without a stated ref, a `Deny`
    rule does. Any ref when left out."""
    events: Annotated[tuple[Event, ...], _CLAIM] = ()
    """Events that started the job, such as `push`, `tag` or `schedule`, at most 50, as a trusted issuer states. An
    `Allow` rule does not match a job without a stated event, a `Deny` rule does. Any event when left out."""
    creators: Annotated[tuple[Subject, ...], _CLAIM] = ()
    """Users who created the pod or, for the pods of a Job or another workload, who wrote its pod template, such as
    `system:serviceaccount:gitlab:runner`, at most 50, exactly as the API server authenticates them. Any user when left
    out."""
    pod_selector: LabelSelector | None = None
    """Labels that the pod must have. The user who creates the pod writes its labels, so they identify no job: an
    `Allow` rule with this claim alone, or with times, matches no job; name accounts, namespaces or another claim too.
    Any labels when left out."""
    not_before: Time | None = None
    """Time, as RFC 3339 with a zone, from which the rule matches; always when left out."""
    not_after: Time | None = None
    """Time, as RFC 3339 with a zone, from which the rule no longer matches; never when left out."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _WINDOW.require(self.not_before is None or self.not_after is None or self.not_before < self.not_after)
        return self


class ExemptSubject(CamelModel):
    """One user, group or service account, as in a RoleBinding."""

    model_config = ConfigDict(json_schema_extra=validations(_ACCOUNT_HAS_NAMESPACE))

    kind: SubjectKind
    """What the subject is: `User`, `Group` or `ServiceAccount`."""
    name: Subject
    """Name of the user, the group or the service account, exactly as the API server authenticates it."""
    namespace: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=OBJECT_NAME)] | None = None
    """Namespace of a service account; not with the other kinds."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ACCOUNT_HAS_NAMESPACE.require((self.kind is SubjectKind.SERVICE_ACCOUNT) == (self.namespace is not None))
        return self


class Interactive(CamelModel):
    """Which sessions people may open in running pods that hold one of the bundles; the strictest policy decides."""

    exec: Effect = Effect.ALLOW
    """`Deny` denies `kubectl exec` and `kubectl cp`; `Allow` by default."""
    attach: Effect = Effect.ALLOW
    """`Deny` denies `kubectl attach`; `Allow` by default."""
    port_forward: Effect = Effect.ALLOW
    """`Deny` denies `kubectl port-forward`, and the API server's proxy to the pod; `Allow` by default."""
    ephemeral_containers: Effect = Effect.ALLOW
    """`Deny` denies `kubectl debug` containers in the pod; `Allow` by default."""
    exempt_subjects: Annotated[tuple[ExemptSubject, ...], Field(max_length=50, json_schema_extra=ATOMIC)] = ()
    """Users, groups and service accounts to whom this policy's denials do not apply, at most 50; none by default. A CI
    engine that runs its jobs through exec or attach needs its service account here, or its jobs cannot run. Denials of
    other policies still apply to them."""


class SecretPolicySpec(CamelModel):
    """The desired state of the SecretPolicy."""

    secrets: SecretSelection
    """Which definitions the policy governs: in the organization's home namespace those of the whole organization, in
    any other namespace those in the same namespace. Every field that is given must match."""
    effect: Effect = Effect.ALLOW
    """`Allow`, the default, gives the bundles only to jobs that match a rule; `Deny` denies the jobs that match a rule,
    whatever other policies say. A policy never gives a job a bundle of another scope."""
    rules: Annotated[tuple[PolicyRule, ...], Field(max_length=50, json_schema_extra=MAP_BY_NAME)] = ()
    """Rules, at most 50, each `name` once; one that matches is enough. All claims of a rule must hold, and of each
    list in it one item is enough; a rule with nothing but its name matches every job. Without rules, `Allow` allows no
    job and `Deny` denies every job."""
    interactive: Interactive | None = None
    """Which sessions people may open in running pods that hold one of the bundles: `kubectl exec`, `attach`,
    `port-forward` and `debug`. It does not depend on `effect` and `rules`. All sessions when left out."""
    key_conflict: KeyConflict = KeyConflict.LAST_WINS
    """What happens when one of the bundles and another bundle of the same job hold the same variable or path:
    `LastWins`, the default, takes the last one and reports it; `Fail` denies the pod."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _UNIQUE_RULES.require(len({rule.name for rule in self.rules}) == len(self.rules))
        return self


class SecretPolicy(CamelModel):
    """Which jobs may use which bundles. A bundle that no policy selects has the operator's default access."""

    metadata: ObjectMeta
    """Standard metadata."""
    spec: SecretPolicySpec
    """The bundles that the policy governs, and the jobs that may use them."""
    status: SecretPolicyStatus = Field(default_factory=SecretPolicyStatus)
    """What the controller observed."""
