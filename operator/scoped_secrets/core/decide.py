"""One decision about one pod: the function that admission, the controller and the command line share."""

from dataclasses import dataclass
from datetime import datetime

from scoped_secrets import names
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.grant import Grant, grant
from scoped_secrets.core.injection.inject import Injection, inject
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["DecisionSettings", "Denied", "Granted", "decide"]


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """What the operator's configuration says about decisions."""

    access: Access = Access.ALLOW_IN_SCOPE
    default_home: str = names.DEFAULT_HOME


@dataclass(frozen=True, slots=True)
class Granted:
    """The pod gets what the grant says, once the injection is applied."""

    grant: Grant
    injection: Injection


@dataclass(frozen=True, slots=True)
class Denied:
    """The pod is refused."""

    reason: Reason
    message: str


def decide(pod: Pod, snapshot: ClusterSnapshot, base: str, rules: DecisionSettings, now: datetime) -> Granted | Denied:
    """Decide about a pod, as it is to be admitted or as it was stored.

    Args:
        pod: The pod.
        snapshot: One consistent state of the cluster.
        base: The common name of the pod's bundle Secrets.
        rules: The operator's configuration.
        now: The present time, with a time zone.
    """
    try:
        granted = grant(pod, snapshot, rules.access, now)
        return Granted(granted, inject(pod, granted, base, rules.default_home))
    except DeniedError as denial:
        return Denied(denial.reason, denial.message)
