"""The decision about a pod, which admission, the controller and the command line share."""

from dataclasses import field
from datetime import datetime

from scoped_secrets import names
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.grant import DecisionTrail, Grant, JobDeniedError, grant
from scoped_secrets.core.injection.inject import Injection, inject
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["DecisionSettings", "Denied", "Granted", "decide"]


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """The operator's settings for decisions.

    Attributes:
        access: The decision about a bundle that no Allow policy selects.
        default_home: The home directory of containers that do not state theirs.
    """

    access: Access = Access.ALLOW_IN_SCOPE
    default_home: str = names.DEFAULT_HOME


@dataclass(frozen=True, slots=True)
class Granted:
    """The pod gets the grant's bundles when the injection is applied."""

    grant: Grant
    injection: Injection


@dataclass(frozen=True, slots=True)
class Denied:
    """The pod is denied."""

    reason: Reason
    message: str
    trail: DecisionTrail | None = field(default=None, compare=False, repr=False)
    """What was decided until then; ``None`` when the job's place is not known."""


def decide(
    pod: Pod, snapshot: ClusterSnapshot, base: str, settings: DecisionSettings, now: datetime
) -> Granted | Denied:
    """Decide about a pod, as submitted or as stored.

    Args:
        pod: The pod.
        snapshot: One consistent state of the cluster.
        base: The common name of the pod's bundle Secrets.
        settings: The operator's settings.
        now: The present time, with a time zone.
    """
    try:
        granted = grant(pod, snapshot, settings.access, now)
    except JobDeniedError as denial:
        return Denied(denial.reason, denial.message, denial.trail)
    except DeniedError as denial:
        return Denied(denial.reason, denial.message)
    try:
        return Granted(granted, inject(pod, granted, base, settings.default_home))
    except DeniedError as denial:
        return Denied(denial.reason, denial.message, granted.trail)
