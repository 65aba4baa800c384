"""Reconciles the statuses of SecretPolicies (DESIGN section 5)."""

from collections.abc import Iterator, Mapping
from typing import Any

from scoped_secrets.controller.conditions import PolicyStatus, policy_conditions
from scoped_secrets.controller.reconciler import Pending, Reconciler, ReconcilerContext
from scoped_secrets.controller.status_writer import StatusWriter
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Requeue, Result
from scoped_secrets.kube import paths
from scoped_secrets.kube.changes import Changes
from scoped_secrets.kube.resources import Kind

__all__ = ["SecretPolicyStatusReconciler"]


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
        status = self._changed(key)
        if status is None:
            return Done()
        await self._writer.write(key, status)
        return Done(result=Result.WRITTEN)

    def pending(self) -> Iterator[Pending | None]:
        """Yield for every policy whether its stored status is not what it should be."""
        for location in [*self._context.informer.inventory.policy_locations()]:
            yield None if self._changed(location) is None else Pending(location)

    def on_changes(self, changes: Changes) -> Iterator[Pending]:
        """Yield the policies that changed, or whose namespace has another scope path."""
        inventory = self._context.informer.inventory
        yield from (Pending(location) for location in changes.policies)
        for namespace in changes.namespaces:
            yield from (Pending(policy.location) for policy in inventory.namespace_policies(namespace))

    def _changed(self, location: str) -> dict[str, Any] | None:
        return self._writer.changed(location, self._desired(location), self._context.now())

    def _desired(self, location: str) -> PolicyStatus | None:
        """Return what the status should be, ``None`` when the policy is deleted."""
        report = self._context.informer.policy_report(location)
        policy = self._context.informer.inventory.get_policy(location)
        if report is None or policy is None:
            return None
        invalid = None if report.invalid is None else report.invalid.message
        return PolicyStatus(report.generation, policy_conditions(policy, invalid))

    def _stored(self, location: str) -> Mapping[str, Any]:
        report = self._context.informer.policy_report(location)
        return {} if report is None else report.status
