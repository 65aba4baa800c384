"""Keeps an inventory true to the cluster: complete lists, and watch events in between.

kopf's watches bring events, but not the news that an object vanished while a watch was down (DESIGN section 9). So the
three kinds are also listed at the start, after every restart of the watches and every few minutes, and what is gone is
dropped. Nothing here decides about anything.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias, TypeVar, assert_never

from scoped_secrets import names
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import Definition
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.decoding import Decoder, InvalidObject, generation_of, location_of, version_of
from scoped_secrets.kube.version_tracker import VersionTracker
from scoped_secrets.logs import context

__all__ = ["Changes", "Informer", "Kind", "PolicyReport"]

_Value = TypeVar("_Value")

_logger = logging.getLogger(__name__)

_DELETED: Final = "DELETED"
_SYSTEM_NAMESPACE: Final = "kube-system"
# Reading a thousand objects takes a while in which requests must be answered.
_READ_AT_ONCE: Final = 50


class Kind(StrEnum):
    """What the inventory is made of."""

    NAMESPACE = "Namespace"
    SCOPED_SECRET = names.SCOPED_SECRET_KIND
    SECRET_POLICY = names.SECRET_POLICY_KIND


@dataclass(frozen=True, slots=True)
class Changes:
    """What one event or one list changed.

    Attributes:
        definitions: Locations of ScopedSecrets that changed, that are gone, or whose status may have to change.
        policies: Locations of SecretPolicies that changed or are gone.
        namespaces: Names of namespaces whose scope path changed.
        invalid: Stored objects that cannot be read, among those that changed.
    """

    definitions: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    invalid: tuple[InvalidObject, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is any change."""
        return bool(self.definitions or self.policies or self.namespaces or self.invalid)


def ignore(changes: Changes) -> None:
    """Do nothing with changes."""


@dataclass(frozen=True, slots=True)
class _Namespace:
    """What is read of a namespace."""

    binding: Binding | None
    uid: str


@dataclass(frozen=True, slots=True)
class _Definition:
    """What is read of a ScopedSecret; an unreadable one may still have a definition that nobody may use."""

    definition: Definition | None
    status: bytes | None
    invalid: InvalidObject | None
    reseal: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What the report about a SecretPolicy is made from.

    Attributes:
        generation: The generation that was read.
        status: The stored status, empty when there is none or none is kept.
        invalid: What is wrong with a policy that cannot be read.
    """

    generation: int
    status: Mapping[str, Any]
    invalid: InvalidObject | None


@dataclass(frozen=True, slots=True)
class _Policy:
    """What is read of a SecretPolicy."""

    policy: Policy
    report: PolicyReport


_Object: TypeAlias = _Namespace | _Definition | _Policy


@dataclass(frozen=True, slots=True)
class _List:
    """One complete list: all versions, and the objects that were not known in these versions."""

    moment: str
    versions: Mapping[str, str]
    objects: Mapping[str, _Object]


@dataclass(slots=True)
class _Collector:
    """Gathers what changed at one moment, to tell it once.

    All of one event or list happens at the same moment: what is between two of its objects was never a state of the
    cluster, and must not become a past one of the inventory.
    """

    moment: float
    definitions: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    invalid: list[InvalidObject] = field(default_factory=list)

    def changes(self) -> Changes:
        return Changes(
            frozenset(self.definitions), frozenset(self.policies), frozenset(self.namespaces), tuple(self.invalid)
        )


class Informer:
    """Feeds one inventory, in the thread that owns it.

    Attributes:
        inventory: What is fed.
        cluster_id: The UID of the namespace kube-system, which tells clusters apart; empty until known.
    """

    def __init__(
        self,
        inventory: Inventory,
        *,
        default_organization: str,
        keep_sealed: bool,
        keep_status: bool = False,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[Changes], None] = ignore,
    ) -> None:
        """Begin with nothing known.

        Args:
            inventory: What to feed.
            default_organization: The organization of namespaces that have only a project.
            keep_sealed: Whether sealed texts are kept; the admission process shall hold none.
            keep_status: Whether statuses are kept, to compare with them before writing one.
            clock: Seconds of a monotonic clock.
            on_change: Is told what changed, after the inventory has it.
        """
        self.inventory = inventory
        self.cluster_id = ""
        self._reader = Decoder(default_organization, keep_sealed=keep_sealed)
        self._keep_status = keep_status
        self._clock = clock
        self._on_change = on_change
        self._ledgers = {kind: VersionTracker() for kind in Kind}
        self._proofs: dict[Kind, float] = {}
        self._is_complete = False
        self._status: dict[str, bytes] = {}
        self._invalid: dict[str, InvalidObject] = {}
        self._reseal: dict[str, str] = {}
        self._policy_reports: dict[str, PolicyReport] = {}
        self._priming = asyncio.Lock()

    @property
    def is_complete(self) -> bool:
        """Whether everything was listed at least once; before, nothing may be decided."""
        return self._is_complete

    def staleness(self) -> float:
        """Return the seconds since the least recent proof that a kind is up to date, infinite before the first list."""
        if not self._is_complete:
            return float("inf")
        return self._clock() - min(self._proofs.values())

    def count(self, kind: Kind) -> int:
        """Return how many objects of a kind are known; of namespaces, those with a scope path."""
        return len(self.inventory.namespaces() if kind is Kind.NAMESPACE else self._ledgers[kind])

    def observed_status(self, location: str) -> Mapping[str, Any]:
        """Return the stored status of a ScopedSecret, empty when it has none or none is kept."""
        packed = self._status.get(location)
        return {} if packed is None else _unpack(packed)

    def invalid(self, location: str) -> InvalidObject | None:
        """Return what is wrong with a stored ScopedSecret that cannot be read."""
        return self._invalid.get(location)

    def invalid_locations(self) -> Collection[str]:
        """Return the ScopedSecrets that cannot be read; those that name no place are not in the inventory."""
        return self._invalid.keys()

    def reseal_request(self, location: str) -> str | None:
        """Return the text of the annotation with which somebody asks for a ScopedSecret to be sealed anew."""
        return self._reseal.get(location)

    def reseal_requests(self) -> Collection[str]:
        """Return the ScopedSecrets that somebody asks to be sealed anew."""
        return self._reseal.keys()

    def policy_report(self, location: str) -> PolicyReport | None:
        """Return what the report about a SecretPolicy is made from, None when there is no such policy."""
        return self._policy_reports.get(location)

    def apply(self, kind: Kind, event_type: str | None, body: Mapping[str, Any]) -> None:
        """Take in one watch event.

        Args:
            kind: The kind of the object.
            event_type: `ADDED`, `MODIFIED` or `DELETED`; None for an object of the watch's initial list.
            body: The object. It is not kept, apart from the status when that was asked for.
        """
        location, version = location_of(body), version_of(body)
        tracker = self._ledgers[kind]
        is_deletion = event_type == _DELETED
        if not tracker.is_news(location, version, is_deletion=is_deletion):
            return
        collector = _Collector(self._clock())
        if is_deletion:
            tracker.remove(location, version)
            self._remove(kind, location, collector)
        else:
            tracker.put(location, version)
            self._put(location, self._read(kind, body), collector)
        self._proofs[kind] = collector.moment
        self._tell(collector)

    async def relist(self, cluster: Cluster) -> None:
        """List everything, take in what is new and drop what is gone; may be repeated at any time.

        Watch events may be applied meanwhile: an object of a later version than the list stays as it is.

        Raises:
            ClusterError: Something could not be listed. What is known stays known, and becomes stale.
        """
        async with self._priming:
            began = self._clock()
            namespaces, definitions, policies = await _all_or_nothing(
                self._list(cluster, Kind.NAMESPACE, paths.namespaces()),
                self._list(cluster, Kind.SCOPED_SECRET, paths.scoped_secrets()),
                self._list(cluster, Kind.SECRET_POLICY, paths.secret_policies()),
            )
            collector = _Collector(self._clock())
            # Without a pause from here on: nobody may decide from new namespaces and old definitions. Namespaces come
            # first, because they place the others.
            self._merge(Kind.NAMESPACE, namespaces, collector)
            self._merge(Kind.SCOPED_SECRET, definitions, collector)
            self._merge(Kind.SECRET_POLICY, policies, collector)
            self.inventory.forget(collector.moment)
            # A list proves what was true when it began.
            self._proofs = {kind: max(began, self._proofs.get(kind, began)) for kind in Kind}
            self._is_complete = True
            self._tell(collector)

    async def _list(self, cluster: Cluster, kind: Kind, path: str) -> _List:
        """Read a whole collection; objects of a version that is known are not read again."""
        tracker = self._ledgers[kind]
        tracker.begin_list()
        versions: dict[str, str] = {}
        objects: dict[str, _Object] = {}
        moment = ""
        async with aclosing(cluster.pages(path)) as pages:
            async for page in pages:
                if page.is_first:
                    versions.clear()
                    objects.clear()
                    moment = page.resource_version
                    tracker.check_moment(moment)
                for number, body in enumerate(page.items, 1):
                    location = location_of(body)
                    versions[location] = version_of(body)
                    if not tracker.is_known(location, versions[location]):
                        objects[location] = self._read(kind, body)
                        if number % _READ_AT_ONCE == 0:
                            await asyncio.sleep(0)
        return _List(moment, versions, objects)

    def _merge(self, kind: Kind, listed: _List, collector: _Collector) -> None:
        merge = self._ledgers[kind].merge(listed.versions, listed.moment)
        for location in sorted(merge.removed):
            self._remove(kind, location, collector)
        for location in sorted(merge.put):
            self._put(location, listed.objects[location], collector)

    def _read(self, kind: Kind, body: Mapping[str, Any]) -> _Object:
        match kind:
            case Kind.NAMESPACE:
                return _Namespace(self._reader.binding(body), str(body["metadata"].get("uid", "")))
            case Kind.SCOPED_SECRET:
                definition, invalid = self._reader.definition(body)
                return _Definition(definition, _pack(self._status_of(body)), invalid, _reseal_of(body))
            case Kind.SECRET_POLICY:
                policy, invalid = self._reader.policy(body)
                return _Policy(policy, PolicyReport(generation_of(body), self._status_of(body) or {}, invalid))
            case _:
                assert_never(kind)

    def _status_of(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        status = body.get("status") if self._keep_status else None
        return dict(status) if isinstance(status, Mapping) else None

    def _put(self, location: str, item: _Object, collector: _Collector) -> None:
        match item:
            case _Namespace():
                if location == _SYSTEM_NAMESPACE:
                    self.cluster_id = item.uid
                self._bind(location, item.binding, collector)
            case _Definition():
                self._define(location, item, collector)
            case _Policy():
                self.inventory.put_policy(item.policy)
                self._policy_reports[location] = item.report
                collector.policies.add(location)
                self._report(item.report.invalid, collector)
            case _:
                assert_never(item)

    def _remove(self, kind: Kind, location: str, collector: _Collector) -> None:
        match kind:
            case Kind.NAMESPACE:
                self._bind(location, None, collector)
            case Kind.SCOPED_SECRET:
                self._define(location, _Definition(None, None, None), collector)
                collector.definitions.add(location)
            case Kind.SECRET_POLICY:
                self.inventory.remove_policy(location)
                self._policy_reports.pop(location, None)
                collector.policies.add(location)
            case _:
                assert_never(kind)

    def _bind(self, namespace: str, binding: Binding | None, collector: _Collector) -> None:
        if self.inventory.binding(namespace) != binding:
            collector.definitions |= self.inventory.put_binding(namespace, binding, collector.moment)
            collector.namespaces.add(namespace)

    def _define(self, location: str, item: _Definition, collector: _Collector) -> None:
        """Set or remove a definition; a changed status alone is a change too, for it may have to be set right."""
        if item.definition is None:
            collector.definitions |= self.inventory.remove_definition(location, collector.moment)
        else:
            collector.definitions |= self.inventory.put_definition(item.definition, collector.moment)
        if self._status.get(location) != item.status or self._reseal.get(location) != item.reseal:
            collector.definitions.add(location)
        _set(self._status, location, item.status)
        _set(self._invalid, location, item.invalid)
        _set(self._reseal, location, item.reseal)
        if item.invalid is not None:
            collector.definitions.add(location)
        self._report(item.invalid, collector)

    def _report(self, invalid: InvalidObject | None, collector: _Collector) -> None:
        if invalid is not None:
            # The sentence stays out: it is for the object's author, who finds it in the status.
            _logger.warning("a stored object cannot be read", extra=context(object=invalid.location))
            collector.invalid.append(invalid)

    def _tell(self, collector: _Collector) -> None:
        changes = collector.changes()
        if changes:
            self._on_change(changes)


def _reseal_of(body: Mapping[str, Any]) -> str | None:
    request = (body["metadata"].get("annotations") or {}).get(names.RESEAL_ANNOTATION)
    return request if isinstance(request, str) else None


async def _all_or_nothing(*coroutines: Coroutine[None, None, _List]) -> list[_List]:
    """Return the results of all; when one fails, stop the others and fail with its error."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _pack(status: Mapping[str, Any] | None) -> bytes | None:
    """Return a status as it is kept: thousands of small dictionaries would be most of the inventory's memory."""
    return None if status is None else json.dumps(status, separators=(",", ":")).encode()


def _unpack(packed: bytes) -> Mapping[str, Any]:
    status: Mapping[str, Any] = json.loads(packed)
    return status


def _set(mapping: dict[str, _Value], location: str, value: _Value | None) -> None:
    """Keep a value, or forget it when there is none."""
    if value is None:
        mapping.pop(location, None)
    else:
        mapping[location] = value
