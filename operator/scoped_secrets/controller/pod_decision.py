"""Decides what to do for one pod and its bundle: state in, decision out.

The controller does not trust what a pod says about grants. It decides again from the stored pod, and renders a snapshot
of the cluster for which admission would have made exactly the stored pod: the present snapshot, or one of the last
minutes, because definitions may change between admission and rendering (DESIGN section 9).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias, TypeGuard

from scoped_secrets import names
from scoped_secrets.controller.pods import InjectionState, PodRecord
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.decide import DecisionSettings, Denied, Granted, decide
from scoped_secrets.core.injection.report import pins_of
from scoped_secrets.core.pod import Pod
from scoped_secrets.names import Reason

__all__ = [
    "INFORMER_LAG_SECONDS",
    "Action",
    "Confirm",
    "Deny",
    "NoAction",
    "PodState",
    "Remove",
    "Render",
    "Ungate",
    "Wait",
    "choose_snapshot",
    "decide_pod",
]

INFORMER_LAG_SECONDS: Final = 10.0
"""How long the controller's informer may be behind admission's before the controller relies on its own."""

_DIGITS: Final = 20
"""More digits than any generation has: a pin comes from an annotation, which may contain anything."""


@dataclass(frozen=True, slots=True)
class PodState:
    """What is known of a pod and its bundle, without the definitions.

    Attributes:
        record: The pod.
        is_deleted: Whether the pod has been deleted.
        owner: The pod that owns the bundle of the same base; most often the pod itself.
        is_rendered: Whether this process has seen all of the bundle's Secrets exist.
        has_created: Whether this process has created any of them for this pod.
        is_removed: Whether this process has removed the bundle.
        is_gone: Whether the API server has confirmed that the pod does not exist any more.
        is_ungated: Whether this process has removed the pod's gate.
        known_seconds: For how many seconds the pod has been known.
    """

    record: PodRecord
    is_deleted: bool = False
    owner: PodRecord | None = None
    is_rendered: bool = False
    has_created: bool = False
    is_removed: bool = False
    is_gone: bool = False
    is_ungated: bool = False
    known_seconds: float = 0.0

    @property
    def is_owner(self) -> bool:
        """Tell whether the base's bundle is this pod's."""
        return self.owner is None or self.owner.uid == self.record.uid


@dataclass(frozen=True, slots=True)
class NoAction:
    """The pod needs no work."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The informer may be behind admission's: requeue with back-off, and decide after so many seconds at the latest."""

    seconds: float = INFORMER_LAG_SECONDS


@dataclass(frozen=True, slots=True)
class Deny:
    """Create no bundle, and say why in a Warning event.

    Attributes:
        reason: The reason of the event.
        message: The message of the event.
        may_change: Whether the decision may change although the pod does not.
        denied: The decision about the pod, when it is the reason.
    """

    reason: Reason
    message: str
    may_change: bool
    denied: Denied | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Render:
    """Create the bundle's Secrets.

    Attributes:
        pod: The pod.
        granted: What the Secrets hold.
        is_newer: Whether the snapshot is another one than the one in which the pod was admitted.
    """

    pod: Pod
    granted: Granted
    is_newer: bool


@dataclass(frozen=True, slots=True)
class Ungate:
    """Remove the scheduling gate: the bundle exists."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask whether the pod exists: the watch reports the deletion of a pod that has only lost its label."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the bundle's Secrets."""

    parts: tuple[str, ...]


Action: TypeAlias = NoAction | Wait | Deny | Render | Ungate | Confirm | Remove

Choice: TypeAlias = Callable[[Pod], Wait | Deny | Render]


def decide_pod(state: PodState, choose: Choice) -> Action:
    """Decide what to do for one pod; the order of the checks is the rule.

    Args:
        state: What is known.
        choose: Chooses the snapshot to render; called only for a pod that waits for its bundle.
    """
    record = state.record
    if state.is_deleted or record.is_finished:
        return _end(state)
    if record.is_deleting:
        return NoAction()
    match record.injection:
        case InjectionState.NONE:
            message = _MISLABELED if record.is_mislabeled else _NOT_INJECTED
            return Deny(Reason.NOT_INJECTED, message, may_change=False)
        case InjectionState.FOREIGN:
            return Deny(Reason.NOT_INJECTED, _FOREIGN_VOLUME, may_change=False)
        case InjectionState.INJECTED:
            return _begin(state, choose)


def choose_snapshot(
    state: PodState,
    pod: Pod,
    present: ClusterSnapshot,
    past: Iterable[ClusterSnapshot],
    settings: DecisionSettings,
    now: datetime,
) -> Wait | Deny | Render:
    """Choose the snapshot of the cluster that a pod's bundle is rendered from.

    It is the first one, from the present to the past, in which the pod needs no further injection and is granted
    exactly the generations that it pins. The annotation may differ in names of policies and definitions: policies are
    always the present ones.

    Args:
        state: What is known about the pod.
        pod: The stored pod.
        present: The present snapshot.
        past: The past snapshots, from new to old; read only as far as needed.
        settings: The operator's configuration.
        now: The present time, with a time zone.
    """
    base = state.record.base
    pins = pins_of(pod.annotations.get(names.RESOLUTION_ANNOTATION))
    latest = decide(pod, present, base, settings, now)
    if pins is not None:
        if _is_admitted(latest, pins):
            return Render(pod, latest, is_newer=False)
        for snapshot in past:
            decision = decide(pod, snapshot, base, settings, now)
            if _is_admitted(decision, pins):
                return Render(pod, decision, is_newer=False)
        if state.known_seconds < INFORMER_LAG_SECONDS and not _is_newer_than(latest, pins):
            return Wait(INFORMER_LAG_SECONDS - state.known_seconds)
    return _present(pod, latest, pins)


def _present(pod: Pod, latest: Granted | Denied, pins: Sequence[str] | None) -> Deny | Render:
    """Return what follows from the present snapshot, when no state is the one in which the pod was admitted."""
    match latest:
        case Denied(reason, message):
            return Deny(reason, message, may_change=True, denied=latest)
        case Granted() if _is_injected(latest):
            return Render(pod, latest, is_newer=True)
        case Granted() if pins is not None and latest.grant.pins == tuple(pins):
            # The definitions are those of admission, so that the pod is another.
            return Deny(Reason.NOT_INJECTED, _incomplete(latest), may_change=True)
        case Granted():
            return Deny(Reason.DEFINITIONS_CHANGED, _DEFINITIONS_CHANGED, may_change=True)


def _end(state: PodState) -> NoAction | Confirm | Remove:
    """Remove the bundle of a pod that has ended, unless another pod owns it."""
    record = state.record
    if not record.parts or state.is_removed or not (state.is_owner or state.has_created):
        return NoAction()
    if not (record.is_finished or record.is_deleting or state.is_gone):
        return Confirm()
    return Remove(record.parts)


def _begin(state: PodState, choose: Choice) -> Action:
    record = state.record
    if record.has_started or state.is_rendered or record.pod is None:
        return Ungate() if state.is_rendered and record.gates and not state.is_ungated else NoAction()
    if not state.is_owner:
        return Deny(Reason.BUNDLE_TAKEN, _BUNDLE_TAKEN, may_change=True)
    return choose(record.pod)


def _is_admitted(decision: Granted | Denied, pins: Sequence[str]) -> TypeGuard[Granted]:
    return isinstance(decision, Granted) and decision.grant.pins == tuple(pins) and _is_injected(decision)


def _is_injected(granted: Granted) -> bool:
    """Tell whether the injection would change nothing of the pod but annotations."""
    return all(_is_annotation(str(operation["path"])) for operation in granted.injection.operations)


def _incomplete(granted: Granted) -> str:
    paths = (str(operation["path"]) for operation in granted.injection.operations)
    place = next(path for path in paths if not _is_annotation(path))
    return (
        f"the injection of the pod is incomplete at {place}, which another webhook has changed after injection; stop "
        "it from changing this field, then delete the pod and create it again"
    )


def _is_annotation(path: str) -> bool:
    return path == "/metadata/annotations" or path.startswith("/metadata/annotations/")


def _is_newer_than(latest: Granted | Denied, pins: Sequence[str]) -> bool:
    """Tell whether the snapshot is certainly newer than admission's, so that waiting cannot help.

    It is if the same definitions are in use and none of them has an older generation in the snapshot.
    """
    if not isinstance(latest, Granted):
        return False
    present, admitted = _generations(latest.grant.pins), _generations(pins)
    return present.keys() == admitted.keys() and all(present[uid] >= number for uid, number in admitted.items())


def _generations(pins: Iterable[str]) -> dict[str, int]:
    """Return the generation of each pin by UID; an invalid one counts as 0."""
    parts = (pin.rpartition("@") for pin in pins)
    return {uid: int(number) if number.isdecimal() and len(number) < _DIGITS else 0 for uid, _, number in parts}


_NOT_INJECTED: Final = (
    f"the pod got its label {names.INJECT_LABEL} after it was created, or was created while the webhook did not run; "
    "delete it and create it again"
)
_MISLABELED: Final = (
    f"the value of the pod's label {names.INJECT_LABEL} is neither '{names.INJECT_VALUE}' nor "
    f"'{names.NO_INJECT_VALUE}', so the pod got no secrets; write '{names.INJECT_VALUE}' and create the pod again"
)
_FOREIGN_VOLUME: Final = (
    f"the pod's volume '{names.VOLUME_NAME}' was not made for this pod; delete the pod and create it without the volume"
)
_BUNDLE_TAKEN: Final = (
    "an older pod has the same bundle; delete this pod and create it again without its volumes and annotations"
)
_DEFINITIONS_CHANGED: Final = (
    "the job's secrets have changed since the pod was admitted and no longer fit it; delete it and create it again"
)
