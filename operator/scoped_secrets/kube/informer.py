"""Keeps an inventory equal to the cluster with complete lists, and with watch events between them.

Every watch begins where a list ends (DESIGN section 9). So the three kinds are listed before the watches start, when a
watch cannot continue, and every few minutes, and objects that a list lacks are dropped. The informer makes no
decisions.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar, assert_never

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.kube import paths
from scoped_secrets.kube.changes import ChangeCollector, Changes, ignore_changes
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.decoding import (
    Decoder,
    DefinitionRecord,
    InvalidObject,
    NamespaceRecord,
    PolicyRecord,
    PolicyReport,
    Record,
    version_of,
)
from scoped_secrets.kube.listing import CompleteList, all_or_nothing, list_collection
from scoped_secrets.kube.locations import location_of
from scoped_secrets.kube.packed_status import unpack_status
from scoped_secrets.kube.resources import RESOURCES, Kind
from scoped_secrets.kube.version_tracker import VersionTracker
from scoped_secrets.kube.watch_handlers import WatchHandler
from scoped_secrets.logs import context

__all__ = ["Informer"]

_Value = TypeVar("_Value")

_logger = logging.getLogger(__name__)

_DELETED: Final = "DELETED"
_SYSTEM_NAMESPACE: Final = "kube-system"


class Informer:
    """Fills one inventory, in the event loop that owns it.

    Attributes:
        inventory: The inventory.
        cluster_id: The UID of the namespace kube-system, which identifies the cluster; empty until known.
    """

    def __init__(
        self,
        inventory: Inventory,
        *,
        default_organization: str,
        keep_sealed: bool,
        keep_status: bool = False,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[Changes], None] = ignore_changes,
    ) -> None:
        """Start with an empty inventory.

        Args:
            inventory: The inventory to fill.
            default_organization: The organization of namespaces that have only a project.
            keep_sealed: Whether sealed texts are kept; the admission process holds none.
            keep_status: Whether statuses are kept, to compare with them before one is written.
            clock: Seconds of a monotonic clock.
            on_change: Receives the changes, after the inventory has them.
        """
        self.inventory = inventory
        self.cluster_id = ""
        self._decoder = Decoder(default_organization, keep_sealed=keep_sealed, keep_status=keep_status)
        self._clock = clock
        self._on_change = on_change
        self._trackers = {kind: VersionTracker() for kind in Kind}
        self._synced_at: dict[Kind, float] = {}
        self._is_complete = False
        self._status: dict[str, bytes] = {}
        self._invalid: dict[str, InvalidObject] = {}
        self._reseal: dict[str, str] = {}
        self._copies: dict[str, str] = {}
        self._policy_reports: dict[str, PolicyReport] = {}
        self._relisting = asyncio.Lock()

    @property
    def is_complete(self) -> bool:
        """Whether all kinds were listed at least once; before that, nothing may be decided."""
        return self._is_complete

    def staleness(self) -> float:
        """Return the seconds since a list or an event of the least recent kind, infinite before the first list."""
        if not self._is_complete:
            return float("inf")
        return self._clock() - min(self._synced_at.values())

    def count(self, kind: Kind) -> int:
        """Return how many objects of a kind are known; of namespaces, those with a scope path."""
        return len(self.inventory.namespaces() if kind is Kind.NAMESPACE else self._trackers[kind])

    def observed_status(self, location: str) -> Mapping[str, Any]:
        """Return the stored status of a ScopedSecret, empty when it has none or none is kept."""
        packed = self._status.get(location)
        return {} if packed is None else unpack_status(packed)

    def invalid(self, location: str) -> InvalidObject | None:
        """Return why a stored ScopedSecret cannot be read."""
        return self._invalid.get(location)

    def invalid_locations(self) -> Collection[str]:
        """Return the ScopedSecrets that cannot be read; the inventory lacks those without a scope."""
        return self._invalid.keys()

    def reseal_request(self, location: str) -> str | None:
        """Return the text of the annotation that requests resealing of a ScopedSecret."""
        return self._reseal.get(location)

    def reseal_requests(self) -> Collection[str]:
        """Return the ScopedSecrets that are to be resealed."""
        return self._reseal.keys()

    def copies(self) -> Mapping[str, str]:
        """Return the ScopedSecrets that are copies to be completed, each with the `namespace/name` of its source."""
        return self._copies

    def policy_report(self, location: str) -> PolicyReport | None:
        """Return what the status of a SecretPolicy is made from, None when there is no such policy."""
        return self._policy_reports.get(location)

    def watch_handlers(self) -> Iterator[WatchHandler]:
        """Yield the handlers that apply the watch events of all kinds."""
        for kind, resource in RESOURCES.items():
            tracker = self._trackers[kind]
            yield WatchHandler(resource, partial(self.apply, kind), listed_version=partial(_listed_version, tracker))

    def apply(self, kind: Kind, event_type: str | None, body: Mapping[str, Any]) -> None:
        """Apply one watch event.

        Args:
            kind: The kind of the object.
            event_type: `ADDED`, `MODIFIED` or `DELETED`.
            body: The object.
        """
        location, version = location_of(body), version_of(body)
        tracker = self._trackers[kind]
        is_deletion = event_type == _DELETED
        if not tracker.is_newer(location, version, is_deletion=is_deletion):
            return
        collector = ChangeCollector(self._clock())
        if is_deletion:
            tracker.remove(location, version)
            self._remove(kind, location, collector)
        else:
            tracker.put(location, version)
            self._put(location, self._decoder.decode(kind, body), collector)
        self._synced_at[kind] = collector.time
        self._report_changes(collector)

    async def relist(self, cluster: Cluster) -> None:
        """List all kinds, apply what is new and drop what is deleted; may be repeated at any time.

        Watch events may be applied at the same time: objects of a later version than the list stay as they are.

        Raises:
            ClusterError: A list failed. The inventory stays as it is, and becomes stale.
        """
        async with self._relisting:
            began = self._clock()
            namespaces, definitions, policies = await all_or_nothing(
                self._list(cluster, Kind.NAMESPACE, paths.namespaces()),
                self._list(cluster, Kind.SCOPED_SECRET, paths.scoped_secrets()),
                self._list(cluster, Kind.SECRET_POLICY, paths.secret_policies()),
            )
            collector = ChangeCollector(self._clock())
            # No await from here on: no decision may combine new namespaces with old definitions. Namespaces come first,
            # because they give the other objects their scope path.
            self._merge(Kind.NAMESPACE, namespaces, collector)
            self._merge(Kind.SCOPED_SECRET, definitions, collector)
            self._merge(Kind.SECRET_POLICY, policies, collector)
            self.inventory.forget(collector.time)
            # A list shows what was true when it began.
            self._synced_at = {kind: max(began, self._synced_at.get(kind, began)) for kind in Kind}
            self._is_complete = True
            self._report_changes(collector)

    async def _list(self, cluster: Cluster, kind: Kind, path: str) -> CompleteList:
        return await list_collection(cluster, path, self._trackers[kind], partial(self._decoder.decode, kind))

    def _merge(self, kind: Kind, listed: CompleteList, collector: ChangeCollector) -> None:
        merge = self._trackers[kind].merge(listed.versions, listed.resource_version)
        for location in sorted(merge.removed):
            self._remove(kind, location, collector)
        for location in sorted(merge.put):
            self._put(location, listed.records[location], collector)

    def _put(self, location: str, record: Record, collector: ChangeCollector) -> None:
        match record:
            case NamespaceRecord():
                if location == _SYSTEM_NAMESPACE:
                    self.cluster_id = record.uid
                self._put_binding(location, record.binding, collector)
            case DefinitionRecord():
                self._put_definition(location, record, collector)
            case PolicyRecord():
                self.inventory.put_policy(record.policy)
                self._policy_reports[location] = record.report
                collector.policies.add(location)
                _collect_invalid(record.report.invalid, collector)
            case _:
                assert_never(record)

    def _remove(self, kind: Kind, location: str, collector: ChangeCollector) -> None:
        match kind:
            case Kind.NAMESPACE:
                self._put_binding(location, None, collector)
            case Kind.SCOPED_SECRET:
                self._put_definition(location, DefinitionRecord(None, None, None), collector)
                collector.definitions.add(location)
            case Kind.SECRET_POLICY:
                self.inventory.remove_policy(location)
                self._policy_reports.pop(location, None)
                collector.policies.add(location)
            case _:
                assert_never(kind)

    def _put_binding(self, namespace: str, binding: Binding | None, collector: ChangeCollector) -> None:
        if self.inventory.binding(namespace) != binding:
            collector.definitions |= self.inventory.put_binding(namespace, binding, collector.time)
            collector.namespaces.add(namespace)

    def _put_definition(self, location: str, record: DefinitionRecord, collector: ChangeCollector) -> None:
        """Set or remove a definition; a changed status alone is a change too, because it may have to be corrected."""
        if record.definition is None:
            collector.definitions |= self.inventory.remove_definition(location, collector.time)
        else:
            collector.definitions |= self.inventory.put_definition(record.definition, collector.time)
        if self._status.get(location) != record.status or self._reseal.get(location) != record.reseal:
            collector.definitions.add(location)
        _set(self._status, location, record.status)
        _set(self._invalid, location, record.invalid)
        _set(self._reseal, location, record.reseal)
        request = None if record.definition is None else record.definition.copy_request
        _set(self._copies, location, None if request is None else request.location)
        if record.invalid is not None:
            collector.definitions.add(location)
        _collect_invalid(record.invalid, collector)

    def _report_changes(self, collector: ChangeCollector) -> None:
        changes = collector.changes()
        if changes:
            self._on_change(changes)


def _listed_version(tracker: VersionTracker) -> str:
    return tracker.list_version


def _collect_invalid(invalid: InvalidObject | None, collector: ChangeCollector) -> None:
    if invalid is not None:
        # Without the message: it is for the object's author, who finds it in the status.
        _logger.warning("a stored object cannot be read", extra=context(object=invalid.location))
        collector.invalid.append(invalid)


def _set(mapping: dict[str, _Value], location: str, value: _Value | None) -> None:
    """Store a value, or remove the stored one when there is none."""
    if value is None:
        mapping.pop(location, None)
    else:
        mapping[location] = value
