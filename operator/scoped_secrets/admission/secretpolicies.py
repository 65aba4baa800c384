"""The webhook of SecretPolicies: it denies a policy that would not be enforced as written (DESIGN section 6)."""

from collections.abc import Iterator

from scoped_secrets import names
from scoped_secrets.admission.review import Operation, Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.admission.scopedsecret_validation import not_supported
from scoped_secrets.api.parsing import parse_secret_policy, to_policy, unsupported_fields
from scoped_secrets.api.secretpolicy import SecretPolicy, SecretPolicySpec
from scoped_secrets.core.policy.policy import Effect
from scoped_secrets.core.policy_effect import policy_effect
from scoped_secrets.errors import DeniedError, InvalidObjectError, UserError
from scoped_secrets.names import Reason

__all__ = ["validate_secret_policy"]


def validate_secret_policy(review: Review, review_context: ReviewContext) -> Outcome:
    """Allow a policy whose every field is enforced. The models check globs, times and selectors."""
    # Labels and finalizers may always change, also when the policy breaks a rule that is newer than the policy.
    if not review.writes_object or review.keeps_spec:
        return ReviewAllowed()
    if review.object is None:
        return ReviewDenied(Reason.INVALID, "the request has no object")
    try:
        model = parse_secret_policy(review.object)
        new = [field for field in unsupported_fields(model) if field not in _unsupported_before(review)]
        if new:
            raise not_supported(new[0])
        _require_scope_path(review, review_context)
    except UserError as error:
        return ReviewDenied.because(error)
    return ReviewAllowed(warnings=(*_warnings(model.spec), *_effect_warnings(model, review, review_context)))


def _effect_warnings(model: SecretPolicy, review: Review, review_context: ReviewContext) -> Iterator[str]:
    """Yield why the policy has no effect in the cluster as it is now."""
    inventory = review_context.inventory
    binding = inventory.binding(review.namespace)
    if binding is not None:
        effect = policy_effect(to_policy(model, binding), inventory, review_context.now)
        if effect.ineffective is not None:
            yield f"{effect.ineffective.reason}: {effect.ineffective.message}"


def _warnings(spec: SecretPolicySpec) -> Iterator[str]:
    """Yield what the author of rules about sessions may not expect."""
    interactive = spec.interactive
    if interactive is None:
        return
    denied = [name for name in ("exec", "attach") if getattr(interactive, name) is Effect.DENY]
    if denied and not interactive.exempt_subjects:
        yield (
            f"`spec.interactive` denies {' and '.join(denied)} to everyone: a CI engine that drives its pods this way "
            "(GitLab Runner, ARC, Jenkins) needs its service account in `spec.interactive.exemptSubjects`"
        )
    if not spec.rules:
        what = "allows" if spec.effect is Effect.ALLOW else "denies"
        whom = "no job" if spec.effect is Effect.ALLOW else "every job"
        yield (
            f"the policy has no rules, so that it {what} {whom}; to restrict sessions only, write `effect: Deny` with "
            "a rule that matches no job"
        )


def _require_scope_path(review: Review, review_context: ReviewContext) -> None:
    if review.operation is Operation.CREATE and review_context.inventory.binding(review.namespace) is None:
        raise DeniedError(
            Reason.NAMESPACE_OUTSIDE,
            f"the namespace has no scope path, so the policy would govern nothing; ask an administrator to label the "
            f"namespace {names.ORGANIZATION_LABEL} or {names.PROJECT_LABEL}",
        )


def _unsupported_before(review: Review) -> tuple[str, ...]:
    if review.old_object is None:
        return ()
    try:
        return unsupported_fields(parse_secret_policy(review.old_object))
    except InvalidObjectError:
        return ()
