"""What the controller's gauges read, each from the part that keeps it."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from scoped_secrets import metrics as gauges
from scoped_secrets.controller.manager import Manager
from scoped_secrets.kube.keys import Keys
from scoped_secrets.kube.resources import Kind
from scoped_secrets.metrics import ControllerMetrics, Sample

__all__ = ["measure"]


def measure(metrics: ControllerMetrics, manager: Manager, keys: Callable[[], Keys], rotation: timedelta | None) -> None:
    """Have the gauges read the state of a controller.

    Args:
        metrics: The gauges.
        manager: Has the inventories and the work queue.
        keys: Returns the present keys.
        rotation: The age at which the active sealing key gets a successor; ``None`` for never.
    """
    informer, pods, queue = manager.informer, manager.pods, manager.queue

    def objects() -> Iterator[Sample]:
        yield from (((kind.value,), float(informer.count(kind))) for kind in Kind)
        yield ("Pod",), len(pods)

    def key_created() -> float:
        return keys().ring.active.created.timestamp()

    def conditions() -> Iterator[Sample]:
        if not queue.is_paused:
            for kind, condition_key, number in manager.conditions():
                yield (kind, *condition_key), number

    metrics.read(gauges.INVENTORY_OBJECTS, objects)
    metrics.read(gauges.CONDITIONS, conditions)
    metrics.read_one(gauges.INVENTORY_STALENESS, informer.staleness)
    metrics.read_one(gauges.LEADER, lambda: float(not queue.is_paused))
    metrics.read_one(gauges.QUEUE_DEPTH, queue.depth)
    metrics.read_one(gauges.QUEUE_RUNNING, lambda: queue.running)
    metrics.read_one(gauges.QUEUE_OLDEST_AGE, queue.oldest_age)
    metrics.read_one(gauges.KEYS, lambda: len(keys().ring.keys))
    metrics.read_one(gauges.KEY_CREATED, key_created)
    metrics.read_one(gauges.KEY_ROTATION, lambda: 0.0 if rotation is None else rotation.total_seconds())
