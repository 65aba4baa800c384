"""What is to be done about one pod and its bundle: state in, decision out.

The controller trusts nothing that a pod says about grants. It decides again from the stored pod, and renders a state of
the cluster in which the pod, as it is, is exactly what admission would have made of it: the present one, or one of the
last minutes, because definitions may change between admission and rendering (DESIGN section 9).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    "Deny",
    "NoAction",
    "PodState",
    "Remove",
    "Render",
    "Wait",
    "choose_snapshot",
    "decide_pod",
]

INFORMER_LAG_SECONDS: Final = 10.0
"""How long admission may know more than we do, before we believe what we know."""


_DIGITS: Final = 20
"""More digits than any generation has: a pin comes from an annotation, in which anything may stand."""


@dataclass(frozen=True, slots=True)
class PodState:
    """Everything about a pod and its bundle, beside the definitions.

    Attributes:
        record: The pod.
        is_deleted: Whether the pod has been deleted.
        owner: The pod that the bundle of the same base is for; most often the pod itself.
        is_rendered: Whether this process has seen all of the bundle's Secrets exist.
        has_created: Whether this process has created any of them for this pod.
        is_removed: Whether this process has removed the bundle.
        known_seconds: For how many seconds the pod has been known.
    """

    record: PodRecord
    is_deleted: bool = False
    owner: PodRecord | None = None
    is_rendered: bool = False
    has_created: bool = False
    is_removed: bool = False
    known_seconds: float = 0.0

    @property
    def is_owner(self) -> bool:
        """Tell whether the base's bundle is this pod's."""
        return self.owner is None or self.owner.uid == self.record.uid


@dataclass(frozen=True, slots=True)
class NoAction:
    """All is as it should be."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Our view may be behind admission's; look again soon, and for the last time in so many seconds."""

    seconds: float = INFORMER_LAG_SECONDS


@dataclass(frozen=True, slots=True)
class Deny:
    """The pod gets no bundle, and a Warning event says why.

    Attributes:
        reason: The word for programs.
        message: The sentence for people.
        may_change: Whether it is worth looking again although the pod stays as it is.
    """

    reason: Reason
    message: str
    may_change: bool


@dataclass(frozen=True, slots=True)
class Render:
    """Create the bundle's Secrets.

    Attributes:
        pod: The pod.
        granted: What they hold.
        is_newer: Whether that is another state than the one in which the pod was admitted.
    """

    pod: Pod
    granted: Granted
    is_newer: bool


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the bundle's Secrets."""

    parts: tuple[str, ...]


Action: TypeAlias = NoAction | Wait | Deny | Render | Remove

Choice: TypeAlias = Callable[[Pod], Wait | Deny | Render]


def decide_pod(state: PodState, choose: Choice) -> Action:
    """Decide what is to be done about one pod; the order of the questions is the rule.

    Args:
        state: What is known.
        choose: Looks for the state of the cluster that is to be rendered; asked only when it comes to that.
    """
    record = state.record
    if state.is_deleted or record.is_finished:
        return _end(state)
    if record.is_deleting:
        return NoAction()
    match record.injection:
        case InjectionState.NONE:
            return Deny(Reason.NOT_INJECTED, _NOT_INJECTED, may_change=False)
        case InjectionState.FOREIGN:
            return Deny(Reason.NOT_INJECTED, _FOREIGN, may_change=False)
        case InjectionState.INJECTED:
            return _begin(state, choose)


def choose_snapshot(
    state: PodState,
    pod: Pod,
    present: ClusterSnapshot,
    past: Iterable[ClusterSnapshot],
    rules: DecisionSettings,
    now: datetime,
) -> Wait | Deny | Render:
    """Choose the state of the cluster that a pod's bundle is rendered from.

    It is the first one, from the present to the past, in which the pod needs nothing more and is granted exactly the
    generations that it pins. The annotation's other words may differ: they tell of names and policies, and policies are
    always the present ones.

    Args:
        state: What is known about the pod.
        pod: The stored pod.
        present: The present state.
        past: The past states, from new to old; read only as far as needed.
        rules: The operator's configuration.
        now: The present time, with a time zone.
    """
    base = state.record.base
    pins = pins_of(pod.annotations.get(names.RESOLUTION_ANNOTATION))
    latest = decide(pod, present, base, rules, now)
    if pins is not None:
        if _is_admitted(latest, pins):
            return Render(pod, latest, is_newer=False)
        for snapshot in past:
            decision = decide(pod, snapshot, base, rules, now)
            if _is_admitted(decision, pins):
                return Render(pod, decision, is_newer=False)
        if state.known_seconds < INFORMER_LAG_SECONDS and not _is_behind(latest, pins):
            return Wait(INFORMER_LAG_SECONDS - state.known_seconds)
    match latest:
        case Denied(reason, message):
            return Deny(reason, message, may_change=True)
        case Granted() if _needs_nothing(latest):
            return Render(pod, latest, is_newer=True)
        case Granted():
            return Deny(Reason.DEFINITIONS_CHANGED, _CHANGED, may_change=True)


def _end(state: PodState) -> NoAction | Remove:
    """Remove what a finished pod leaves, unless it is another pod's."""
    record = state.record
    if not record.parts or state.is_removed or not (state.is_owner or state.has_created):
        return NoAction()
    return Remove(record.parts)


def _begin(state: PodState, choose: Choice) -> Action:
    record = state.record
    if record.has_started or state.is_rendered or record.pod is None:
        return NoAction()
    if not state.is_owner:
        return Deny(Reason.BUNDLE_TAKEN, _TAKEN, may_change=True)
    return choose(record.pod)


def _is_admitted(decision: Granted | Denied, pins: Sequence[str]) -> TypeGuard[Granted]:
    return isinstance(decision, Granted) and decision.grant.pins == tuple(pins) and _needs_nothing(decision)


def _needs_nothing(granted: Granted) -> bool:
    """Tell whether the pod has all that it should have, but for the words of the annotation."""
    return all(_is_annotation(str(operation["path"])) for operation in granted.injection.operations)


def _is_annotation(path: str) -> bool:
    return path == "/metadata/annotations" or path.startswith("/metadata/annotations/")


def _is_behind(latest: Granted | Denied, pins: Sequence[str]) -> bool:
    """Tell whether admission certainly knew an older state than we do, so that waiting for it is in vain.

    That is so when the same definitions are in use and none of ours is of an older generation.
    """
    if not isinstance(latest, Granted):
        return False
    ours, theirs = _generations(latest.grant.pins), _generations(pins)
    return ours.keys() == theirs.keys() and all(ours[uid] >= generation for uid, generation in theirs.items())


def _generations(pins: Iterable[str]) -> dict[str, int]:
    """Return each pin's generation; one that is no number a generation can be counts as 0."""
    split = (pin.rpartition("@") for pin in pins)
    return {uid: int(number) if number.isdecimal() and len(number) < _DIGITS else 0 for uid, _, number in split}


_NOT_INJECTED: Final = (
    f"the pod got its label {names.INJECT_LABEL} after it was created, or was created while the webhook did not run; "
    "delete it and create it again"
)
_FOREIGN: Final = (
    f"the pod's volume '{names.VOLUME_NAME}' was not made for this pod; delete the pod and create it without the volume"
)
_TAKEN: Final = (
    "an older pod has the same bundle; delete this pod and create it again without its volumes and annotations"
)
_CHANGED: Final = (
    "the job's secrets have changed since the pod was admitted and no longer fit it; delete it and create it again"
)
