"""What a SecretPolicy says, and which definitions it governs (DESIGN section 6)."""

from enum import StrEnum

from scoped_secrets.core.policy.claims import Rule, matches_any
from scoped_secrets.core.policy.interactive import InteractiveAccess
from scoped_secrets.core.policy.label_selector import LabelSelector
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["Access", "Effect", "KeyConflict", "Policy"]


class Effect(StrEnum):
    """What a policy does to the bundles that it selects."""

    ALLOW = "Allow"
    DENY = "Deny"


class Access(StrEnum):
    """The decision about a bundle that no Allow policy selects."""

    ALLOW_IN_SCOPE = "AllowInScope"
    DENY = "Deny"


class KeyConflict(StrEnum):
    """What happens when two bundles of one job hold the same variable or path."""

    LAST_WINS = "LastWins"
    FAIL = "Fail"


@dataclass(frozen=True, slots=True)
class Policy:
    """One stored SecretPolicy, with the scope path of its namespace."""

    namespace: str
    name: str
    organization: str
    project: str | None = None
    """The project of its namespace; ``None`` for a policy in the organization's home, which governs everything."""
    environment: str | None = None
    """The environment of its namespace."""
    effect: Effect = Effect.ALLOW
    secret_names: tuple[str, ...] = ()
    selector: LabelSelector | None = None
    scopes: tuple[Scope, ...] = ()
    rules: tuple[Rule, ...] = ()
    key_conflict: KeyConflict = KeyConflict.LAST_WINS
    broken: bool = False
    """Whether the policy cannot be read: it then denies what it selects."""
    interactive: InteractiveAccess | None = None
    """Which sessions in running pods it denies; ``None`` when it says nothing about them."""

    @property
    def location(self) -> str:
        """Return ``namespace/name``, as people are shown it."""
        return f"{self.namespace}/{self.name}"

    def governs(self, slotted: SlottedDefinition) -> bool:
        """Tell whether the policy selects the definition, and is in the home or in the definition's namespace."""
        slot, definition = slotted.slot, slotted.definition
        return (
            self.organization == slot.organization
            and (self.project is None or self.namespace == definition.namespace)
            and (not self.scopes or slot.scope in self.scopes)
            and (not self.secret_names or matches_any(self.secret_names, slot.secret_name))
            and (self.selector is None or self.selector.matches(definition.labels))
        )
