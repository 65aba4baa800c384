"""Answers about pods whose shape was decided about before (DESIGN section 9).

A decision costs several times what reading the review and writing the answer do. It depends on the state of the
cluster, on the shape of the pod (`pod_shapes.py`), on the labels that policies select by, on what admission vouches
for, on the settings, and on the time only as `decision_period` says. What is decided is kept under all of these, and
goes with the next change of the inventory. Then only the name of the bundle and the record are the pod's own.

Denials are not kept: their messages may name what a shape leaves out, and jobs that are denied are few.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic_core import to_json

from scoped_secrets import names
from scoped_secrets.admission.pod_shapes import PodShape
from scoped_secrets.admission.ready_patch import ReadyPatch
from scoped_secrets.admission.review import ReviewAllowed
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.decide import Granted
from scoped_secrets.core.decision_period import DecisionPeriod, decision_period
from scoped_secrets.core.grant import DecisionTrail
from scoped_secrets.core.injection.exec_limits import is_below_limits
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.core.memo import Memo

__all__ = ["KnownPod", "find_known", "keep_known", "known_key"]

_CLAIMS_POINTER: Final = json_pointer("metadata", "annotations", names.CLAIMS_ANNOTATION)
# What an entry holds beside its texts: the trail, and the tuples of its key.
_FIXED_SIZE: Final = 50
_CHARACTERS: Final = 100
_MAX_CREATOR: Final = 1024
"""The longest name of a creator in a key. A forged review may name a longer one."""


@dataclass(frozen=True, slots=True)
class KnownPod:
    """What was decided about pods of one shape.

    Attributes:
        trail: What the decision was made from.
        period: How long it holds.
        before: The patch up to the text of the record, without the name of the bundle where it stands.
        after: The rest of the patch, likewise.
        warnings: The warnings of the decision.
        exec_bound: What the variables of the bundles take in one container.
        size: The size of key and patch in bytes.
        memo: Where results are kept that follow from the trail.
    """

    trail: DecisionTrail
    period: DecisionPeriod
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    warnings: tuple[str, ...]
    exec_bound: int
    size: int
    memo: Memo = field(compare=False, repr=False)

    def __len__(self) -> int:
        """Return the size, in the unit of `Memo`."""
        return _FIXED_SIZE + self.size // _CHARACTERS

    def answer(self, base: str, record: str, unusable: Sequence[str]) -> ReviewAllowed:
        """Return the outcome for one pod.

        Args:
            base: The common name of its bundle Secrets.
            record: The text of its record.
            unusable: Why texts of it are no claims.
        """
        name = base.encode("ascii")
        patch = name.join(self.before) + to_json(record) + name.join(self.after)
        return ReviewAllowed(ReadyPatch(patch), (*unusable, *self.warnings), decision=self.trail, memo=self.memo)


def known_key(shape: PodShape, record: AdmissionRecord, review_context: ReviewContext) -> tuple[Hashable, ...] | None:
    """Return what the decision about a pod depends on, beside the inventory and the time; ``None`` if none is kept.

    Args:
        shape: The pod.
        record: What admission vouches for.
        review_context: The state to decide from.
    """
    inventory, settings = review_context.inventory, review_context.settings
    binding = inventory.binding(shape.namespace)
    if binding is None or len(record.creator) > _MAX_CREATOR:
        return None
    selecting = inventory.memo.get(
        ("selecting labels", binding.organization, binding.project),
        _selecting_labels,
        inventory,
        binding.organization,
        binding.project,
    )
    labels = shape.labels
    return (
        "known pod",
        shape.key,
        # The workload's UID is in the record and decides nothing; that there is one tells who vouches for the creator.
        (record.creator, bool(record.owner), record.issuer, record.project, record.environment, record.vouched),
        (record.ref, record.event, record.sources),
        tuple([labels.get(label) for label in selecting]),
        settings.access,
        settings.default_home,
        review_context.gate,
    )


def find_known(key: tuple[Hashable, ...], shape: PodShape, review_context: ReviewContext) -> KnownPod | None:
    """Return what was decided under a key, if it holds now and for this pod."""
    known: KnownPod | None = review_context.inventory.memo.find(key)
    if known is None or not known.period.includes(review_context.now):
        return None
    return known if is_below_limits(known.exec_bound, shape.own_bound, shape.expansions) else None


def keep_known(
    key: tuple[Hashable, ...],
    shape: PodShape,
    base: str,
    decision: Granted,
    operations: Sequence[PatchOperation],
    review_context: ReviewContext,
) -> None:
    """Keep a decision for other pods of the shape, if it is the same for all of them.

    Args:
        key: What it depends on.
        shape: The pod.
        base: The common name of its bundle Secrets, which stands in the patch only where injection wrote it.
        decision: The decision.
        operations: The whole patch of the pod.
        review_context: The state that it was made from.
    """
    injection, inventory = decision.injection, review_context.inventory
    bound = injection.exec_bound
    if bound is None or not is_below_limits(bound, shape.own_bound, shape.expansions):
        return
    texts = [to_json(operation) for operation in operations]
    place = next(index for index, operation in enumerate(operations) if operation["path"] == _CLAIMS_POINTER)
    value = to_json(operations[place]["value"])
    opening, _, closing = texts[place].rpartition(value)
    before = b"[" + b",".join([*texts[:place], opening])
    after = b",".join([closing, *texts[place + 1 :]]) + b"]"
    name = base.encode("ascii")
    known = KnownPod(
        trail=decision.grant.trail,
        period=decision_period(decision.grant.trail, inventory, review_context.now),
        before=tuple(before.split(name)),
        after=tuple(after.split(name)),
        warnings=tuple(warning.message for warning in injection.warnings),
        exec_bound=bound,
        size=shape.size + len(before) + len(after),
        memo=inventory.memo.part(),
    )
    inventory.memo.keep(key, known)


def _selecting_labels(inventory: Inventory, organization: str, project: str | None) -> tuple[str, ...]:
    """Return the labels of pods that the policies of a path select by."""
    selectors = (rule.pod_selector for policy in inventory.policies(organization, project) for rule in policy.rules)
    return tuple(
        sorted(
            {requirement.key for selector in selectors if selector is not None for requirement in selector.requirements}
        )
    )
