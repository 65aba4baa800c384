"""Creates and deletes the Secrets of a pod's bundle, and finds out which of them exist (DESIGN section 9).

The controller may create and delete bundle Secrets, but by default it may not read them: the roles for `valueFrom`
are optional.
"""

from typing import Any

from scoped_secrets.controller.bundle_bodies import secret_bodies
from scoped_secrets.controller.bundle_progress import BundleProgress
from scoped_secrets.controller.pod_decision import Render
from scoped_secrets.controller.pods import PodRecord
from scoped_secrets.controller.reconciler import ReconcilerContext
from scoped_secrets.controller.value_from import read_sources
from scoped_secrets.errors import ClusterError, ConflictError, UnavailableError
from scoped_secrets.kube import paths

__all__ = ["BundleSecrets"]


class BundleSecrets:
    """The bundle Secrets in the cluster."""

    def __init__(self, context: ReconcilerContext) -> None:
        """Take what reconcilers share."""
        self._context = context

    async def create(self, record: PodRecord, render: Render, progress: BundleProgress) -> bool:
        """Create the Secrets, and tell whether all that now exist hold values of one read of the native Secrets.

        Raises:
            UnsealError: A value cannot be unsealed.
            SourceError: A native Secret cannot be used.
            ClusterError: The API server refused or did not answer.
        """
        entries = [each.resolved for part in render.granted.injection.layout.parts for each in part.entries]
        reading = await read_sources(self._context.cluster, entries)
        for body in secret_bodies(record, render.granted, self._context.unsealer(), reading.values):
            if not await self._create_one(record.namespace, body, progress, reading.versions):
                return False
            # The generator makes the next body before the loop rebinds its variable.
            del body
        return True

    async def is_complete(self, record: PodRecord) -> bool:
        """Find out whether the whole bundle exists: the first part is always created last."""
        return await self._exists(record.namespace, record.parts[0])

    async def can_continue(self, record: PodRecord, render: Render, progress: BundleProgress) -> bool:
        """Find out whether the Secrets that exist were made from the snapshot that is to be rendered.

        A process that was interrupted between two Secrets has left the last parts. They are right if the same
        generations are rendered. Otherwise they are wrong and cannot be replaced: the kubelet may have read them, and
        it does not read immutable Secrets again.
        """
        pins = render.granted.grant.pins
        is_known = not render.is_newer if progress.pins is None else progress.pins == pins
        if not is_known:
            for part in record.parts[1:]:
                if await self._exists(record.namespace, part):
                    return False
        progress.pins = pins
        return True

    async def delete(self, record: PodRecord, parts: tuple[str, ...], progress: BundleProgress) -> bool:
        """Delete the Secrets, and tell whether any existed.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        has_deleted = False
        for part in parts:
            try:
                path = paths.secrets(record.namespace, part)
                has_existed = await self._context.cluster.delete(path, uid=progress.created.get(part))
            except ConflictError:
                # Another object has that name now, and it is not ours.
                continue
            if has_existed:
                self._context.metrics.count_deleted()
                has_deleted = True
        progress.is_removed = True
        progress.created.clear()
        return has_deleted

    async def _create_one(
        self, namespace: str, body: dict[str, Any], progress: BundleProgress, versions: frozenset[str]
    ) -> bool:
        """Create a Secret, and tell whether the one that now exists holds values of this read of native Secrets."""
        name = body["metadata"]["name"]
        try:
            created = await self._context.cluster.create(paths.secrets(namespace), body, metadata_only=True)
        except ConflictError:
            # It exists already: from before a restart, or the answer to its creation was lost.
            return not versions or progress.source_versions.get(name) == versions
        except UnavailableError:
            progress.source_versions.setdefault(name, versions)
            raise
        self._context.metrics.count_created()
        progress.created[name] = created["metadata"]["uid"]
        progress.source_versions[name] = versions
        return True

    async def _exists(self, namespace: str, name: str) -> bool:
        """Tell whether a Secret exists, by a dry run that creates an empty one: no role to read it is needed."""
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
        try:
            await self._context.cluster.create(paths.secrets(namespace), body, dry_run=True, metadata_only=True)
        except ConflictError:
            return True
        except UnavailableError:
            raise
        except ClusterError:
            # Nothing can be created then; the real creation reports why.
            return False
        return False
