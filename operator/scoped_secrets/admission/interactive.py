"""The webhook of sessions in running pods: exec, attach, port-forward and ephemeral containers (DESIGN section 6).

It denies a session in a pod that holds a bundle if a policy denies it. It decides from the stored pod, which the server
reads at the time of the request, and from the references in its spec, which no one can change; the pod's labels and
annotations allow nothing. A pod without references to bundles is allowed at once, and so is one that does not exist:
the API server then answers NotFound itself, and a forged review does not tell which pods exist. A pod that cannot be
read is denied.
"""

from collections.abc import Mapping
from typing import Final

from scoped_secrets import names
from scoped_secrets.admission.review import Operation, Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.core.injection.held_bundles import HeldBundles, held_bundles
from scoped_secrets.core.interactive import SessionDecision, find_interactive_denial
from scoped_secrets.core.pod import Pod, parse_pod
from scoped_secrets.core.policy.interactive import Interaction, Requester
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["validate_interactive"]

_INTERACTIONS: Final[Mapping[tuple[Operation, str], Interaction]] = {
    (Operation.CONNECT, "exec"): Interaction.EXEC,
    (Operation.CONNECT, "attach"): Interaction.ATTACH,
    (Operation.CONNECT, "portforward"): Interaction.PORT_FORWARD,
    # The API server forwards a request to a port of the pod: a port-forward for one request.
    (Operation.CONNECT, "proxy"): Interaction.PORT_FORWARD,
    (Operation.UPDATE, "ephemeralcontainers"): Interaction.EPHEMERAL_CONTAINERS,
}


def validate_interactive(review: Review, review_context: ReviewContext) -> Outcome:
    """Deny a session if a policy denies it for a bundle that the pod holds."""
    interaction = _INTERACTIONS.get((review.operation, review.sub_resource))
    if interaction is None:
        return ReviewAllowed()
    if review.stored_pod is None:
        return ReviewDenied(
            Reason.POD_UNKNOWN,
            "the admission server cannot read the pod, so that it cannot tell whether it holds secrets; try again",
        )
    if not review.stored_pod:
        return ReviewAllowed()
    held = held_bundles(review.stored_pod["spec"])
    if not held:
        return ReviewAllowed()
    try:
        return _decide(interaction, held, review, parse_pod(review.stored_pod, review.namespace), review_context)
    except DeniedError as denial:
        return ReviewDenied(denial.reason, denial.message, SessionDecision(interaction, held))


def _decide(
    interaction: Interaction, held: HeldBundles, review: Review, pod: Pod, review_context: ReviewContext
) -> Outcome:
    snapshot = review_context.inventory
    binding = snapshot.binding(review.namespace)
    if binding is None:
        raise DeniedError(
            Reason.NAMESPACE_OUTSIDE,
            "the pod holds secrets, and its namespace has no scope path, so that it is not known which policies apply; "
            f"an administrator must label the namespace {names.ORGANIZATION_LABEL} or {names.PROJECT_LABEL} again",
        )
    requester = Requester(review.user, review.groups)
    denial = find_interactive_denial(interaction, requester, pod, held, binding, snapshot)
    decision = SessionDecision(interaction, held, denial)
    if denial is None:
        return ReviewAllowed(decision=decision)
    return ReviewDenied(
        Reason.POLICY_DENIED,
        f"this session is {denial.detail}; ask the policy's owner for access, or use a pod without the bundle",
        decision,
    )
