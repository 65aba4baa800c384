"""Replace a stored ScopedSecret as a whole, at the resourceVersion at which it was read."""

from scoped_secrets.errors import ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.operations.admission_warnings import warning_texts
from scoped_secrets.operations.create import Stored
from scoped_secrets.operations.dry_run import DryRun, manifest_of

__all__ = ["replace_object"]


async def replace_object(cluster: Cluster, body: Body, dry_run: DryRun | None = None) -> Stored:
    """Store an object whose values are sealed, or do as if.

    Raises:
        ConflictError: It has changed since it was read.
        ForbiddenError: The person may not change it, or admission denies the change.
        ClusterError: The request failed.
    """
    metadata = body["metadata"]
    if dry_run is DryRun.CLIENT:
        return Stored(manifest_of(body), ())
    try:
        stored, warnings = await cluster.submit(
            "PUT", paths.scoped_secrets(metadata["namespace"], metadata["name"]), body, dry_run=dry_run is not None
        )
    except ForbiddenError as error:
        location = f"{metadata['namespace']}/{metadata['name']}"
        raise ForbiddenError(f"ScopedSecret '{location}' is not changed: {error}", status=error.status) from None
    return Stored(stored, warning_texts(warnings))
