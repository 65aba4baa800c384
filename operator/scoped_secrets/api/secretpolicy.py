"""The SecretPolicy: which jobs may use which bundles (DESIGN section 6)."""

from typing import Annotated, Final, Self, TypeAlias

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from scoped_secrets.api.base import (
    ENVIRONMENT,
    LABEL_VALUE,
    MAP_BY_NAME,
    SENTENCES,
    SET,
    CamelModel,
    LabelSelector,
    ObjectMeta,
    Rule,
    Time,
    validations,
)
from scoped_secrets.api.status import SecretPolicyStatus
from scoped_secrets.core.policy.policy import Effect, KeyConflict
from scoped_secrets.core.scope.slot import Scope

__all__ = ["Interactive", "PolicyRule", "SecretPolicy", "SecretPolicySpec", "SecretSelection"]

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
_UNIQUE_RULES: Final = Rule("", "must have each `name` once", "rules")

NameGlob: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=_NAME_GLOB)]
AccountGlob: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=_NAME_GLOB)]
EnvironmentGlob: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=ENVIRONMENT)]
RefGlob: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_REF_GLOB)]
Event: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=_EVENT)]
Subject: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=_SUBJECT)]

# An empty list would be a claim that is not asked: a template that renders no item would open the bundle to everyone.
_CLAIM: Final = Field(min_length=1, max_length=50, json_schema_extra=SET)


class SecretSelection(CamelModel):
    """Which bundles; all that is given must match."""

    model_config = ConfigDict(json_schema_extra=validations(_SELECTS))

    names: Annotated[tuple[NameGlob, ...], Field(min_length=1, max_length=100, json_schema_extra=SET)] = ()
    """Names of bundles (`spec.secretName`) or patterns where `*` stands for any text, at most 100; one has to match.
    Any name when left out."""
    selector: LabelSelector | None = None
    """Labels that the ScopedSecret must have. Who may write a ScopedSecret may write its labels: select by name what
    must not slip away. Any labels when left out."""
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
    """Name of the rule, at most 63 characters; decisions and refusals show it."""
    projects: Annotated[tuple[NameGlob, ...], _CLAIM] = ()
    """Projects of the job or patterns of them, at most 50; any project when left out."""
    environments: Annotated[tuple[EnvironmentGlob, ...], _CLAIM] = ()
    """Environments of the job or patterns of them, at most 50; `*` stands for any text without `/`. A job without an
    environment does not match. With `serviceAccounts` beside it, the rule also lets the pods of these accounts say that
    they run for these environments. Any or no environment when left out."""
    namespaces: Annotated[tuple[NameGlob, ...], _CLAIM] = ()
    """Namespaces of the job or patterns of them, at most 50; any namespace of the scope when left out."""
    service_accounts: Annotated[tuple[AccountGlob, ...], _CLAIM] = ()
    """Names of the pod's ServiceAccount or patterns of them, at most 50; any account when left out."""
    refs: Annotated[tuple[RefGlob, ...], _CLAIM] = ()
    """Full Git refs or patterns of them, such as `refs/heads/main` or `refs/tags/v*`, at most 50, as a trusted issuer
    says. Not supported by this version: an object that has it is refused."""
    events: Annotated[tuple[Event, ...], _CLAIM] = ()
    """Events that started the job, such as `push`, `tag` or `schedule`, at most 50, as a trusted issuer says. Not
    supported by this version: an object that has it is refused."""
    creators: Annotated[tuple[Subject, ...], _CLAIM] = ()
    """Users who created the pod or its Job, such as `system:serviceaccount:gitlab:runner`, at most 50. Not supported by
    this version: an object that has it is refused."""
    pod_selector: LabelSelector | None = None
    """Labels that the pod must have. Who may create the pod may write its labels: use it to narrow a rule that names
    accounts or namespaces, not alone. Any labels when left out."""
    not_before: Time | None = None
    """Time, as RFC 3339 with a zone, from which on the rule matches; always when left out."""
    not_after: Time | None = None
    """Time, as RFC 3339 with a zone, from which on the rule no longer matches; never when left out."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _WINDOW.require(self.not_before is None or self.not_after is None or self.not_before < self.not_after)
        return self


class Interactive(CamelModel):
    """Whether people may reach into a running pod that holds one of the bundles; the strictest policy decides."""

    exec: Effect = Effect.ALLOW
    """`Deny` refuses `kubectl exec`; `Allow` by default."""
    attach: Effect = Effect.ALLOW
    """`Deny` refuses `kubectl attach`; `Allow` by default."""
    port_forward: Effect = Effect.ALLOW
    """`Deny` refuses `kubectl port-forward`; `Allow` by default."""
    ephemeral_containers: Effect = Effect.ALLOW
    """`Deny` refuses `kubectl debug` containers in the pod; `Allow` by default."""
    exempt_subjects: Annotated[tuple[Subject, ...], Field(max_length=50, json_schema_extra=SET)] = ()
    """Users to whom this does not apply, at most 50: the CI engine that drives its pods through exec must be here, as
    `system:serviceaccount:NAMESPACE:NAME`, or its jobs stand still. Nobody by default."""


class SecretPolicySpec(CamelModel):
    """What the author wants."""

    secrets: SecretSelection
    """Which bundles the policy is about: those of the whole organization in its home namespace, those of the project in
    a project's namespace. All of what is given must match."""
    effect: Effect = Effect.ALLOW
    """`Allow` lets only jobs that match a rule have the bundles, which is the default; `Deny` refuses the jobs that
    match a rule, whatever other policies say. A policy never gives a job a bundle of another scope."""
    rules: Annotated[tuple[PolicyRule, ...], Field(max_length=50, json_schema_extra=MAP_BY_NAME)] = ()
    """Rules, at most 50, told apart by `name`; one that matches is enough. All claims of a rule must hold, and of each
    list in it one item is enough; a rule with nothing but its name matches every job. Without rules, `Allow` lets
    nobody and `Deny` refuses everybody."""
    interactive: Interactive | None = None
    """Whether people may reach into the running pods. Not supported by this version: an object that has it is
    refused."""
    key_conflict: KeyConflict = KeyConflict.LAST_WINS
    """What happens when one of the bundles and another bundle of the same job hold the same variable or path:
    `LastWins` takes the last one and reports it, which is the default; `Fail` refuses the pod."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _UNIQUE_RULES.require(len({rule.name for rule in self.rules}) == len(self.rules))
        return self


class SecretPolicy(CamelModel):
    """Who may use which bundles. Without any policy that selects a bundle, the operator's default access holds."""

    metadata: ObjectMeta
    """Standard metadata."""
    spec: SecretPolicySpec
    """Which bundles, and which jobs may have them."""
    status: SecretPolicyStatus = Field(default_factory=SecretPolicyStatus)
    """What the controller observed."""
