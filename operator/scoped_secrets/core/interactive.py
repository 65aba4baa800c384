"""Whether a person may open a session in a pod that holds bundles (DESIGN section 6).

Every policy that may govern a bundle of the pod must allow the session: a denial of one policy stands, whatever another
policy allows or exempts. Which definitions the pod was given is not recorded where no one can change it, so each doubt
counts as a denial: all definitions of the bundle's name along the path count and not only the present winner, and a
definition that was deleted still counts for the policies that name it.
"""

from collections.abc import Iterator, Sequence

from scoped_secrets import names
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.injection.held_bundles import HeldBundles
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.policy.claims import matches_any
from scoped_secrets.core.policy.interactive import Interaction
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.policy.subjects import Requester
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.scope import globs
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["InteractiveDenial", "SessionDecision", "find_interactive_denial"]


@dataclass(frozen=True, slots=True)
class InteractiveDenial:
    """The policy that denies a session, and the bundle because of which it applies; names only.

    Attributes:
        policy: `namespace/name` of the policy.
        bundle: The bundle; ``None`` when the pod may hold any bundle.
        interaction: What is denied.
    """

    policy: str
    bundle: str | None
    interaction: Interaction

    @property
    def detail(self) -> str:
        """Return the part of a message that names policy, field and bundle."""
        held = "may hold any bundle of its scope" if self.bundle is None else f"holds bundle '{self.bundle}'"
        return f"denied by policy '{self.policy}' (`interactive.{self.interaction}`), because the pod {held}"


@dataclass(frozen=True, slots=True)
class SessionDecision:
    """A decision about a session in a pod that holds bundles.

    Attributes:
        interaction: What was requested.
        held: The bundles of the pod.
        denial: Why it is denied; ``None`` when it is allowed, or denied for another reason than a policy.
    """

    interaction: Interaction
    held: HeldBundles
    denial: InteractiveDenial | None = None


def find_interactive_denial(
    interaction: Interaction,
    requester: Requester,
    pod: Pod,
    held: HeldBundles,
    binding: Binding,
    snapshot: ClusterSnapshot,
    vouched: Sequence[str] = (),
) -> InteractiveDenial | None:
    """Return the denial of a session by the first policy in the order of names; ``None`` when all allow it.

    Args:
        interaction: What is requested.
        requester: Who requests it.
        pod: The stored pod.
        held: The bundles that the pod's spec refers to.
        binding: The scope path of the pod's namespace.
        snapshot: The present state of the cluster.
        vouched: Patterns of the environments into which trusted issuers let their pods.
    """
    policies = snapshot.policies(binding.organization, binding.project)
    place = _Place(pod, binding, policies, vouched)
    denying = sorted(
        (
            policy
            for policy in policies
            if policy.interactive is not None
            and policy.interactive.denies(interaction, requester)
            and place.is_reached_by(policy)
        ),
        key=lambda policy: policy.location,
    )
    if not denying:
        return None
    if held.has_unknown:
        return InteractiveDenial(denying[0].location, None, interaction)
    candidates = {name: place.candidates(snapshot, name) for name in sorted(held.names)}
    for policy in denying:
        for name, definitions in candidates.items():
            if place.may_govern(policy, name, definitions):
                return InteractiveDenial(policy.location, name, interaction)
    return None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a stored pod may stand: its namespace is known for certain, and the environment that it declared is not."""

    pod: Pod
    binding: Binding
    policies: Sequence[Policy]
    vouched: Sequence[str]

    def may_run_for(self, environment: str) -> bool:
        """Tell whether the pod may run for an environment, or for one that matches this pattern.

        Of a pod in a project's namespace the annotation only adds an environment, because it can be removed. Grants
        count without their other claims, because they held when the pod was created, and may not any more.
        """
        binding = self.binding
        if binding.environment is not None:
            return globs.matches(environment, binding.environment)
        if binding.project is None:
            return False
        return any(globs.overlaps(environment, granted) for granted in self._environments())

    def is_reached_by(self, policy: Policy) -> bool:
        """Tell whether bundles that the policy can govern may apply to the pod."""
        return policy.project is None or policy.environment is None or self.may_run_for(policy.environment)

    def candidates(self, snapshot: ClusterSnapshot, name: str) -> Sequence[SlottedDefinition]:
        """Return the definitions of a bundle that may apply to the pod."""
        return [
            slotted
            for slotted in snapshot.definitions(self.binding.organization, self.binding.project, name)
            if slotted.slot.environment is None or self.may_run_for(slotted.slot.environment)
        ]

    def may_govern(self, policy: Policy, name: str, definitions: Sequence[SlottedDefinition]) -> bool:
        """Tell whether the policy governs the definition that the pod has, as far as that can be known.

        A policy by `names` alone applies to the name whatever definitions exist, and any other one when none exists any
        more, so that deleting one lifts nothing, if it stands in the organization's home or where the pod stands. One
        in a project's namespace counts for a pod in an environment's namespace, which is trusted more, and the other
        way round, by definitions that it governs.
        """
        if policy.secret_names and not matches_any(policy.secret_names, name):
            return False
        if any(policy.governs(slotted) for slotted in definitions):
            return True
        selects_by_name = policy.selector is None and not policy.scopes
        stands_here = policy.project is None or policy.environment == self.binding.environment
        return stands_here and (selects_by_name or not definitions)

    def _environments(self) -> Iterator[str]:
        """Yield the environments, or patterns of them, that a pod in this project's namespace may run for."""
        stated = self.pod.annotations.get(names.ENVIRONMENT_ANNOTATION, "").strip()
        if stated:
            yield stated
        if self.pod.record.environment:
            yield self.pod.record.environment
        yield from self.vouched
        yield from self.binding.allow_environments
        for policy in self.policies:
            for rule in policy.rules:
                if rule.service_accounts and matches_any(rule.service_accounts, self.pod.service_account):
                    yield from rule.environments
