"""Give a ScopedSecret another name: copy it in its namespace, then delete the old one.

Nothing is lost at any point: the old object is deleted only when the copy is ready, and only in the state that was
copied. A second run continues, because it finds the copy of the first one.
"""

from scoped_secrets.errors import ConflictError, ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.operations.clone import has_same_entries, is_copy_of
from scoped_secrets.operations.locate import Located

__all__ = ["delete_copied"]

_ATTEMPTS = 5


async def delete_copied(cluster: Cluster, source: Located, copied: Body) -> None:
    """Delete the source of a copy, in exactly the state that was copied.

    Raises:
        ConflictError: The source is another object, or has changed since.
        ForbiddenError: The person may not delete it.
        ClusterError: A request failed.
    """
    path = paths.scoped_secrets(source.namespace, source.name)
    for _ in range(_ATTEMPTS):
        present = await cluster.get(path)
        if present is None:
            return
        now = Located(present, source.view)
        if not is_copy_of(copied, now) or not has_same_entries(copied, now):
            raise _changed(source, copied)
        metadata = present["metadata"]
        try:
            await cluster.delete(path, uid=metadata["uid"], version=metadata["resourceVersion"])
        except ConflictError:
            # A status, which changes the version, or another change, which the next look finds.
            continue
        except ForbiddenError as error:
            raise ForbiddenError(
                f"you may not delete ScopedSecret '{source.location}', which is kept beside its copy; request the verb "
                "'delete' and run the command again",
                status=error.status,
            ) from None
        return
    raise _changed(source, copied)


def _changed(source: Located, copied: Body) -> ConflictError:
    metadata = copied["metadata"]
    return ConflictError(
        f"ScopedSecret '{source.location}' has changed since it was copied, and is kept; delete the copy "
        f"'{metadata['namespace']}/{metadata['name']}' and run the command again"
    )
