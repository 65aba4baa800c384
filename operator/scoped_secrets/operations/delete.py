"""Delete a ScopedSecret: who has it now, what wins afterwards, and the deletion of exactly this object."""

from dataclasses import dataclass

from scoped_secrets.core.resolution.resolve import resolve
from scoped_secrets.core.scope.slot import ScopePath, Slot
from scoped_secrets.errors import ConflictError, ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.operations.dry_run import DryRun
from scoped_secrets.operations.effects import describe_slot
from scoped_secrets.operations.locate import Located, slot_of
from scoped_secrets.operations.usage import Usage

__all__ = ["Consequences", "consequences", "delete"]


@dataclass(frozen=True, slots=True)
class Consequences:
    """What a deletion does.

    Attributes:
        pods: The pods that have the definition now, as `namespace/name`; they keep what they have.
        are_pods_known: Whether the person may read pods.
        next_winner: The definition that jobs of the scope get afterwards; ``None`` when they get none.
        jobs: The words for the jobs of the scope; empty when the scope is not known.
    """

    pods: tuple[str, ...]
    are_pods_known: bool
    next_winner: str | None
    jobs: str


def consequences(located: Located, usage: Usage) -> Consequences:
    """Return what the deletion of an object does, as far as the person may see."""
    pods = tuple(usage.pods(str(located.body["metadata"]["uid"])))
    slot = slot_of(located.location, located.view.inventory)
    if slot is None:
        return Consequences(pods, usage.is_known, None, "")
    return Consequences(pods, usage.is_known, _next_winner(located, slot), f"jobs of {describe_slot(slot)}")


async def delete(cluster: Cluster, located: Located, dry_run: DryRun | None = None) -> None:
    """Delete exactly the object that was read, not one that has taken its name since; or do as if.

    Raises:
        ConflictError: It is another object now.
        ForbiddenError: The person may not delete it.
        ClusterError: The request failed.
    """
    if dry_run is DryRun.CLIENT:
        return
    path = paths.scoped_secrets(located.namespace, located.name)
    try:
        await cluster.delete(path, uid=str(located.body["metadata"]["uid"]), dry_run=dry_run is not None)
    except ConflictError as error:
        raise ConflictError(
            f"ScopedSecret '{located.location}' is another object now; look at it, and delete it again",
            status=error.status,
        ) from None
    except ForbiddenError as error:
        raise ForbiddenError(
            f"you may not delete ScopedSecret '{located.location}'; request the verb 'delete'", status=error.status
        ) from None


def _next_winner(located: Located, slot: Slot) -> str | None:
    """Return the definition that wins at the place of a deleted one."""
    inventory = located.view.inventory
    path = ScopePath(slot.organization, slot.project, slot.environment)
    others = [
        each
        for each in inventory.definitions(slot.organization, slot.project, slot.secret_name)
        if each.definition.location != located.location
    ]
    resolution = resolve(slot.secret_name, others, path, inventory.territory(path))
    return None if resolution is None else resolution.winner.definition.location
