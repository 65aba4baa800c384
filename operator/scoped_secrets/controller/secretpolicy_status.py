"""Reconciles the statuses of SecretPolicies (DESIGN section 5)."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from scoped_secrets.controller.conditions import PolicyStatus, policy_status
from scoped_secrets.controller.reconciler import Pending, Reconciler, ReconcilerContext
from scoped_secrets.controller.status_writer import StatusWriter
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Requeue, RequeueAfter, Result
from scoped_secrets.kube import paths
from scoped_secrets.kube.changes import Changes
from scoped_secrets.kube.resources import Kind

__all__ = ["SecretPolicyStatusReconciler"]

_RECOUNT_SECONDS: Final = 10.0
"""After how many seconds a policy counts again what it governs, when a definition or a namespace has changed: a policy
of the home may look at every definition, and changes come in numbers."""

_LONGEST_TIMER_SECONDS: Final = 3600.0
"""The longest delay of a timer in seconds: a clock may be set and a machine may be suspended meanwhile."""


class SecretPolicyStatusReconciler(Reconciler):
    """Writes the statuses of SecretPolicies; a key is a policy's ``namespace/name``."""

    kind = Kind.SECRET_POLICY.value

    def __init__(self, context: ReconcilerContext) -> None:
        """Take what reconcilers share."""
        super().__init__(context)
        self._writer = StatusWriter(context, Kind.SECRET_POLICY, path=paths.secret_policy_status, stored=self._stored)

    async def reconcile(self, key: str) -> Outcome:
        """Write the status of one policy, if it has changed."""
        if not self._context.informer.is_complete:
            return Requeue()
        now = self._context.now()
        desired = self._desired(key, now)
        status = self._writer.changed(key, desired, now)
        if status is not None:
            await self._writer.write(key, status)
        result = Result.UNCHANGED if status is None else Result.WRITTEN
        seconds = _seconds_until_change(desired, now)
        return Done(result=result) if seconds is None else RequeueAfter(seconds, result=result)

    def pending(self) -> Iterator[Pending | None]:
        """Yield for every policy whether, and when, its status needs work."""
        for location in [*self._context.informer.inventory.policy_locations()]:
            now = self._context.now()
            desired = self._desired(location, now)
            delay = 0.0 if self._writer.changed(location, desired, now) else _seconds_until_change(desired, now)
            yield None if delay is None else Pending(location, delay=delay)

    def on_changes(self, changes: Changes) -> Iterator[Pending]:
        """Yield the policies that changed, whose namespace has another scope path, or that may govern what changed."""
        inventory = self._context.informer.inventory
        yield from (Pending(location) for location in changes.policies)
        for namespace in changes.namespaces:
            yield from (Pending(policy.location) for policy in inventory.namespace_policies(namespace))
        yield from (Pending(location, delay=_RECOUNT_SECONDS) for location in self._affected(changes))

    def _affected(self, changes: Changes) -> Iterator[str]:
        """Yield the policies whose matches or whose possible jobs the changes may alter."""
        inventory = self._context.informer.inventory
        if changes.namespaces:
            # Which organization a namespace has left is not known any more.
            yield from list(inventory.policy_locations())
            return
        namespaces = {location.partition("/")[0] for location in changes.definitions}
        bindings = [binding for name in namespaces if (binding := inventory.binding(name)) is not None]
        for organization in {binding.organization for binding in bindings}:
            yield from (policy.location for policy in inventory.policies(organization, None))
        for project in {(binding.organization, binding.project) for binding in bindings if binding.project}:
            yield from (policy.location for policy in inventory.policies(*project))

    def _desired(self, location: str, now: datetime) -> PolicyStatus | None:
        """Return what the status should be, ``None`` when the policy is deleted."""
        report = self._context.informer.policy_report(location)
        policy = self._context.informer.inventory.get_policy(location)
        if report is None or policy is None:
            return None
        invalid = None if report.invalid is None else report.invalid.message
        return policy_status(policy, self._context.informer.inventory, report.generation, invalid, now)

    def _stored(self, location: str) -> Mapping[str, Any]:
        report = self._context.informer.policy_report(location)
        return {} if report is None else report.status


def _seconds_until_change(desired: PolicyStatus | None, now: datetime) -> float | None:
    """Return in how many seconds to reconcile again, because a rule ends."""
    if desired is None or desired.changes_at is None:
        return None
    return min((desired.changes_at - now).total_seconds(), _LONGEST_TIMER_SECONDS)
