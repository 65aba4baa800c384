"""Records what this process has done for the bundles of pods; a restart loses it."""

from collections.abc import Container
from dataclasses import dataclass, field

from scoped_secrets.core.injection.pod_warnings import PodWarning

__all__ = ["BundleProgress", "ProgressTracker"]


@dataclass(slots=True)
class BundleProgress:
    """What this process has done for one pod."""

    created: dict[str, str] = field(default_factory=dict)
    """The UIDs of the Secrets that it created, by name, also when the answer was lost: these are safe to delete."""
    pins: tuple[str, ...] | None = None
    """The generations that the existing Secrets were made from, once they are known."""
    replaced: set[str] = field(default_factory=set)
    """The names of Secrets that another had taken, and that it deleted."""
    source_versions: dict[str, frozenset[str]] = field(default_factory=dict)
    """For each Secret that it created, or may have created, the states of the native Secrets whose values it holds."""
    has_begun: bool = False
    """Whether creation has begun: from then on this pod owns the bundle, even if another pod has the same base."""
    is_rendered: bool = False
    """Whether it has seen that the bundle exists."""
    is_removed: bool = False
    """Whether it has deleted the bundle."""
    is_ungated: bool = False
    """Whether it has removed the pod's scheduling gate."""
    is_gone: bool = False
    """Whether the API server has confirmed that the pod does not exist any more."""
    warnings: tuple[PodWarning, ...] = ()
    """What the author of the pod should know; recorded as events."""
    reported: set[tuple[str, str]] = field(default_factory=set)
    """Reason and message of the events that it recorded."""


class ProgressTracker:
    """The progress of every pod for which this process has done something, by the pod's UID."""

    def __init__(self) -> None:
        """Begin empty."""
        self._progress: dict[str, BundleProgress] = {}

    def peek(self, uid: str) -> BundleProgress:
        """Return a pod's progress to read, an empty one for a pod for which nothing was done."""
        return self._progress.get(uid) or BundleProgress()

    def track(self, uid: str) -> BundleProgress:
        """Return a pod's progress to change."""
        return self._progress.setdefault(uid, BundleProgress())

    def has_begun(self, uid: str) -> bool:
        """Tell whether the creation of a pod's bundle has begun."""
        return self.peek(uid).has_begun

    def forget(self, uid: str) -> None:
        """Forget a pod."""
        self._progress.pop(uid, None)

    def keep_only(self, uids: Container[str]) -> None:
        """Forget all other pods."""
        self._progress = {uid: progress for uid, progress in self._progress.items() if uid in uids}
