"""Which bundles a job gets, and in which order (rule B of DESIGN section 4)."""

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime

from scoped_secrets import names
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.job_path import job_path
from scoped_secrets.core.memo import Memo
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.policy.claims import Claims
from scoped_secrets.core.policy.evaluate import (
    PolicyAllowed,
    PolicyDenied,
    evaluate,
    fails_on_key_conflict,
)
from scoped_secrets.core.policy.policy import Access, KeyConflict, Policy
from scoped_secrets.core.policy.stated_claims import StatedClaim, stated_claims
from scoped_secrets.core.resolution.definitions import Attach, SlottedDefinition
from scoped_secrets.core.resolution.references import MAX_REFERENCES, Reference, merge_references, parse_references
from scoped_secrets.core.resolution.resolve import Resolution, resolve
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import Scope, ScopePath
from scoped_secrets.core.scope.trust import Territory
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = [
    "DecisionTrail",
    "DeniedBundle",
    "Grant",
    "GrantedBundle",
    "JobDeniedError",
    "LeftOut",
    "grant",
]


@dataclass(frozen=True, slots=True)
class GrantedBundle:
    """One bundle that the job gets."""

    resolution: Resolution
    allowed: tuple[PolicyAllowed, ...]
    """The permission of each contributor, in the order of ``resolution.contributors``."""
    is_attached: bool

    @property
    def name(self) -> str:
        """Return the bundle's name."""
        return self.resolution.name


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A bundle that the job runs without: an optional reference or a denied attachment."""

    name: str
    reason: Reason
    is_attached: bool
    bundle: "DeniedBundle | None" = field(default=None, compare=False)
    """Why policy denies it; ``None`` when it does not exist."""


@dataclass(frozen=True, slots=True)
class DeniedBundle:
    """The bundle because of which a job is denied, or which it does not get.

    Attributes:
        name: The bundle.
        reason: Why.
        resolution: The winner and what it merges; ``None`` without a definition.
        denial: The denial by policy; ``None`` when the bundle is denied for another reason.
        definition: The definition that is denied: the winner, or one that it merges.
    """

    name: str
    reason: Reason
    resolution: Resolution | None = None
    denial: PolicyDenied | None = None
    definition: SlottedDefinition | None = None

    @property
    def detail(self) -> str:
        """Return the part of a message that names policy, rule and claim."""
        return "denied" if self.denial is None else self.denial.detail


@dataclass(frozen=True, slots=True)
class DecisionTrail:
    """What a decision about a pod was made from, for the audit log; names only.

    Attributes:
        binding: The scope path of the pod's namespace.
        claims: The facts about the job that policies were evaluated with.
        applied: The bundles that the job gets, or would get, in the order of application.
        left_out: The bundles that the job runs without.
        denied: The bundle because of which the job is denied; no later one was evaluated.
    """

    binding: Binding
    claims: Claims
    applied: tuple[GrantedBundle, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    denied: DeniedBundle | None = None


class JobDeniedError(DeniedError):
    """A job is denied after its place was known.

    Attributes:
        trail: What was decided until then.
    """

    def __init__(self, error: DeniedError, trail: DecisionTrail) -> None:
        """Take reason and message of the denial."""
        super().__init__(error.reason, error.message)
        self.trail = trail


class _BundleDeniedError(DeniedError):
    """One bundle denies the job."""

    def __init__(self, message: str, bundle: DeniedBundle) -> None:
        super().__init__(bundle.reason, message)
        self.bundle = bundle


@dataclass(frozen=True, slots=True)
class Grant:
    """What one job gets, by name.

    Attributes:
        path: Where the job stands.
        applied: The bundles in the order of application; later ones overwrite earlier ones.
        left_out: The bundles that the job runs without.
        fail_on_conflict: Whether equal keys of two bundles deny the pod.
        binding: The scope path and the annotations of the namespace.
        claims: What policy was asked about, and who vouches for each claim.
        attach_paths: The paths below which attached bundles may have files, beside the home directory.
        trail: What the decision was made from.
        memo: Where results are kept that follow from the path and the names of the bundles alone.
        now: The time of the decision.
    """

    path: ScopePath
    applied: tuple[GrantedBundle, ...]
    left_out: tuple[LeftOut, ...]
    fail_on_conflict: bool
    binding: Binding
    trail: DecisionTrail = field(compare=False, repr=False)
    memo: Memo = field(compare=False, repr=False)
    now: datetime = field(compare=False)
    claims: tuple[StatedClaim, ...] = ()
    attach_paths: tuple[str, ...] = ()

    @property
    def pins(self) -> tuple[str, ...]:
        """Return ``uid@generation`` of every definition in use, in order."""
        return tuple(slotted.definition.pin for applied in self.applied for slotted in applied.resolution.contributors)

    def bundle(self, name: str) -> GrantedBundle | None:
        """Return the applied bundle of this name."""
        return next((applied for applied in self.applied if applied.name == name), None)


@dataclass(frozen=True, slots=True)
class _Evaluator:
    """Resolves bundles and evaluates policy for one job."""

    snapshot: ClusterSnapshot
    policies: Sequence[Policy]
    claims: Claims
    access: Access
    now: datetime
    territory: Territory

    def resolve(self, name: str, *, is_referenced: bool) -> Resolution | None:
        path = self.claims.path

        def compute() -> Resolution | None:
            definitions = self.snapshot.definitions(path.organization, path.project, name)
            return resolve(name, definitions, path, self.territory, is_referenced=is_referenced)

        return self.snapshot.memo.get(("resolution", path, name, is_referenced), compute)

    def apply(self, resolution: Resolution, *, is_attached: bool) -> GrantedBundle | DeniedBundle:
        allowed = []
        for slotted in resolution.contributors:
            verdict = evaluate(self.policies, slotted, self.claims, self.access, self.now)
            if isinstance(verdict, PolicyDenied):
                return DeniedBundle(resolution.name, verdict.reason, resolution, verdict, slotted)
            allowed.append(verdict)
        # After policy: an attached bundle that policy denies must not stop the job by being broken.
        for slotted in resolution.contributors:
            self._check_ready(resolution, slotted)
        return GrantedBundle(resolution, tuple(allowed), is_attached)

    def _check_ready(self, resolution: Resolution, slotted: SlottedDefinition) -> None:
        name, definition = resolution.name, slotted.definition
        if definition.is_expired(self.now):
            raise _BundleDeniedError(
                f"bundle '{name}': definition '{definition.location}' has expired; store a new value and a later "
                "`spec.expireTime`",
                DeniedBundle(name, Reason.EXPIRED, resolution, definition=slotted),
            )
        if definition.not_ready is not None:
            raise _BundleDeniedError(
                f"bundle '{name}': definition '{definition.location}' is not ready ({definition.not_ready}); "
                "see its condition Ready for the remedy",
                DeniedBundle(name, Reason.NOT_READY, resolution, definition=slotted),
            )


def grant(pod: Pod, snapshot: ClusterSnapshot, access: Access, now: datetime) -> Grant:
    """Decide what the pod gets, by name.

    Args:
        pod: The pod as admitted or as stored.
        snapshot: One state of the cluster.
        access: The decision about a bundle that no Allow policy selects.
        now: The present time, with a time zone.

    Raises:
        DeniedError: The pod is denied; the message names the bundle and the remedy.
    """
    binding = snapshot.binding(pod.namespace)
    if binding is None:
        raise DeniedError(
            Reason.NAMESPACE_OUTSIDE,
            f"namespace '{pod.namespace}' has no scope path; an administrator must label it "
            f"{names.ORGANIZATION_LABEL} or {names.PROJECT_LABEL}, or remove the label "
            f"{names.INJECT_LABEL} from the pod",
        )
    policies = snapshot.policies(binding.organization, binding.project)
    path = job_path(pod, binding, snapshot, now)
    claims = Claims(path, pod.namespace, pod.service_account, pod.labels, pod.record)
    evaluator = _Evaluator(snapshot, policies, claims, access, now, snapshot.territory(path))
    applied: list[GrantedBundle] = []
    left_out: list[LeftOut] = []
    try:
        _collect(pod, binding, evaluator, applied, left_out)
        used = (slotted for bundle in applied for slotted in bundle.resolution.contributors)
        fail_on_conflict = _requests_failure(pod) or fails_on_key_conflict(policies, used)
    except DeniedError as error:
        denied = error.bundle if isinstance(error, _BundleDeniedError) else None
        trail = DecisionTrail(binding, claims, tuple(applied), tuple(left_out), denied)
        raise JobDeniedError(error, trail) from None
    trail = DecisionTrail(binding, claims, tuple(applied), tuple(left_out))
    return Grant(
        path=path,
        applied=trail.applied,
        left_out=trail.left_out,
        fail_on_conflict=fail_on_conflict,
        binding=binding,
        trail=trail,
        memo=snapshot.memo,
        now=now,
        claims=stated_claims(claims, binding),
        attach_paths=(*snapshot.home_attach_paths(binding.organization), *binding.attach_paths),
    )


def _collect(
    pod: Pod, binding: Binding, evaluator: _Evaluator, applied: list[GrantedBundle], left_out: list[LeftOut]
) -> None:
    """Collect the bundles in the order of rule B.

    Raises:
        DeniedError: A bundle denies the pod; what was collected until then stays.
    """
    references = _references(pod, binding)
    attached = _attached(evaluator, {reference.name for reference in references})
    for resolution in attached[Scope.ORGANIZATION] + attached[Scope.PROJECT]:
        _attach(evaluator, resolution, applied, left_out)
    for reference in references:
        _refer(evaluator, reference, applied, left_out)
    for resolution in attached[Scope.ENVIRONMENT]:
        _attach(evaluator, resolution, applied, left_out)


def _references(pod: Pod, binding: Binding) -> tuple[Reference, ...]:
    all_optional = pod.flag(names.OPTIONAL_ANNOTATION)
    inherited = parse_references(binding.secrets, field=f"the namespace's annotation {names.SECRETS_ANNOTATION}")
    own = parse_references(
        pod.annotations.get(names.SECRETS_ANNOTATION, ""), field=f"annotation {names.SECRETS_ANNOTATION}"
    )
    if all_optional:
        own = tuple(Reference(reference.name, optional=True) for reference in own)
    references = merge_references((*inherited, *own))
    if len(references) > MAX_REFERENCES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"the job names {len(references)} bundles, its namespace's included; at most {MAX_REFERENCES} are allowed",
        )
    return references


def _attached(evaluator: _Evaluator, referenced: set[str]) -> dict[Scope, list[Resolution]]:
    path = evaluator.claims.path
    attached: dict[Scope, list[Resolution]] = {scope: [] for scope in Scope}
    for name in sorted(evaluator.snapshot.attached(path.organization, path.project)):
        if name in referenced:
            continue
        resolution = evaluator.resolve(name, is_referenced=False)
        # The winner decides: a narrower definition with OnReference detaches the name.
        if resolution is not None and resolution.winner.definition.attach is Attach.ALWAYS:
            attached[resolution.winner.slot.scope].append(resolution)
    return attached


def _attach(
    evaluator: _Evaluator, resolution: Resolution, applied: list[GrantedBundle], left_out: list[LeftOut]
) -> None:
    outcome = evaluator.apply(resolution, is_attached=True)
    if isinstance(outcome, GrantedBundle):
        applied.append(outcome)
    else:
        left_out.append(LeftOut(resolution.name, outcome.reason, is_attached=True, bundle=outcome))


def _refer(evaluator: _Evaluator, reference: Reference, applied: list[GrantedBundle], left_out: list[LeftOut]) -> None:
    resolution = evaluator.resolve(reference.name, is_referenced=True)
    outcome = None if resolution is None else evaluator.apply(resolution, is_attached=False)
    if isinstance(outcome, GrantedBundle):
        applied.append(outcome)
    elif reference.optional:
        reason = Reason.NOT_FOUND if outcome is None else outcome.reason
        left_out.append(LeftOut(reference.name, reason, is_attached=False, bundle=outcome))
    elif outcome is None:
        raise _BundleDeniedError(
            f"bundle '{reference.name}' has no definition for {_describe(evaluator.claims.path)}; create a "
            "ScopedSecret with this name there, or add '?' to the name if the job can run without it",
            DeniedBundle(reference.name, Reason.NOT_FOUND),
        )
    else:
        raise _BundleDeniedError(
            f"bundle '{reference.name}' is {outcome.detail}; ask the policy's owner for access, or add '?' to the name "
            "if the job can run without it",
            outcome,
        )


def _describe(path: ScopePath) -> str:
    parts = [f"organization '{path.organization}'"]
    if path.project is not None:
        parts.append(f"project '{path.project}'")
    if path.environment is not None:
        parts.append(f"environment '{path.environment}'")
    return ", ".join(parts)


def _requests_failure(pod: Pod) -> bool:
    requested = pod.annotations.get(names.KEY_CONFLICT_ANNOTATION, KeyConflict.LAST_WINS)
    if requested not in tuple(KeyConflict):
        raise DeniedError(
            Reason.INVALID_ANNOTATION,
            f"annotation {names.KEY_CONFLICT_ANNOTATION} must be {KeyConflict.LAST_WINS} or {KeyConflict.FAIL}",
        )
    return requested == KeyConflict.FAIL
