"""The webhook of SecretPolicies: it denies a policy that would not be enforced as written (DESIGN section 6)."""

from collections.abc import Iterator

from scoped_secrets import names
from scoped_secrets.admission.review import Operation, Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.api.parsing import parse_secret_policy, to_policy
from scoped_secrets.api.policy_warnings import rule_warnings, session_warnings
from scoped_secrets.api.secretpolicy import SecretPolicy
from scoped_secrets.core.policy_effect import policy_effect
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.errors import DeniedError, UserError
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
        _require_scope_path(review, review_context)
    except UserError as error:
        return ReviewDenied.because(error)
    rules = to_policy(model, Binding(review.namespace, organization="")).rules
    warnings = (
        *rule_warnings(model.spec.effect, rules, review_context.issuers),
        *session_warnings(model.spec),
        *_effect_warnings(model, review, review_context),
    )
    return ReviewAllowed(warnings=warnings)


def _effect_warnings(model: SecretPolicy, review: Review, review_context: ReviewContext) -> Iterator[str]:
    """Yield why the policy has no effect in the cluster as it is now."""
    inventory = review_context.inventory
    binding = inventory.binding(review.namespace)
    if binding is not None:
        effect = policy_effect(to_policy(model, binding), inventory, review_context.now)
        if effect.ineffective is not None:
            yield f"{effect.ineffective.reason}: {effect.ineffective.message}"


def _require_scope_path(review: Review, review_context: ReviewContext) -> None:
    if review.operation is Operation.CREATE and review_context.inventory.binding(review.namespace) is None:
        raise DeniedError(
            Reason.NAMESPACE_OUTSIDE,
            f"the namespace has no scope path, so the policy would govern nothing; ask an administrator to label the "
            f"namespace {names.ORGANIZATION_LABEL} or {names.PROJECT_LABEL}",
        )
