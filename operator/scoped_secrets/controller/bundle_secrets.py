"""Creates and deletes the Secrets of a pod's bundle, and finds out which of them exist (DESIGN section 9).

The controller may create and delete bundle Secrets, but by default it may not read them: the roles for `valueFrom`
are optional.
"""

from typing import Any

from scoped_secrets.controller.bundle_bodies import secret_bodies
from scoped_secrets.controller.bundle_progress import BundleProgress
from scoped_secrets.controller.pod_decision import INFORMER_LAG_SECONDS, Render
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
            if not await self._create_one(record, body, progress, reading.versions):
                return False
            # The generator makes the next body before the loop rebinds its variable.
            del body
        return True

    async def adopt(self, record: PodRecord, progress: BundleProgress) -> None:
        """Remember the UIDs of the Secrets that exist although the answers to their creation were lost.

        Without it, a Secret that another puts in the place of one later would be deleted as the controller's own. This
        precedes every decision, because the pod may run before the next one, and then needs nothing more. The Secrets
        of a former leader stay unknown: they may have been replaced before, and each would cost a request.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        for name in progress.source_versions.keys() - progress.created.keys():
            uid = await self._context.cluster.uid_of(paths.secrets(record.namespace, name))
            if uid is not None:
                progress.created[name] = uid

    async def is_complete(self, record: PodRecord, progress: BundleProgress) -> bool:
        """Find out whether the whole bundle exists: the first part is always created last."""
        return await self._exists(record, record.parts[0], progress)

    async def can_continue(self, record: PodRecord, render: Render, progress: BundleProgress) -> bool:
        """Find out whether the Secrets that exist were made from the snapshot that is to be rendered.

        A process that was interrupted between two Secrets has left the last parts. They are right if the same
        generations are rendered. Otherwise they are wrong and cannot be replaced: the kubelet may have read them, and
        it does not read immutable Secrets again.
        """
        pins = render.granted.grant.pins
        if record.gates:
            # No kubelet has read any: each is replaced.
            progress.pins = pins
            return True
        is_known = not render.is_newer if progress.pins is None else progress.pins == pins
        if not is_known:
            for part in record.parts[1:]:
                if await self._exists(record, part, progress):
                    return False
        progress.pins = pins
        return True

    async def delete(self, record: PodRecord, parts: tuple[str, ...], progress: BundleProgress) -> bool:
        """Delete the Secrets, and tell whether any existed.

        The UIDs of those that an earlier process created are not known. The keyed tag in the name stands for them.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        has_deleted = False
        for part in parts:
            path = paths.secrets(record.namespace, part)
            uid = progress.created.get(part) or await self._context.cluster.uid_of(path)
            try:
                has_existed = uid is not None and await self._context.cluster.delete(path, uid=uid)
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
        self, record: PodRecord, body: dict[str, Any], progress: BundleProgress, versions: frozenset[str]
    ) -> bool:
        """Create a Secret, and tell whether the one that now exists holds values of this read of native Secrets."""
        name = body["metadata"]["name"]
        try:
            created = await self._context.cluster.create(paths.secrets(record.namespace), body, metadata_only=True)
        except ConflictError:
            if await self._is_own(record, name, progress):
                # It exists already: from before a restart, or the answer to its creation was lost.
                return not versions or progress.source_versions.get(name) == versions
            await self._delete_foreign(record, name, progress)
            created = await self._context.cluster.create(paths.secrets(record.namespace), body, metadata_only=True)
        except UnavailableError:
            progress.source_versions.setdefault(name, versions)
            raise
        self._context.metrics.count_created()
        progress.created[name] = created["metadata"]["uid"]
        progress.source_versions[name] = versions
        return True

    async def _is_own(self, record: PodRecord, name: str, progress: BundleProgress) -> bool:
        """Tell whether the controller has created the Secret that exists.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        uid = progress.created.get(name)
        if uid is not None:
            return await self._context.cluster.uid_of(paths.secrets(record.namespace, name)) == uid
        # While the pod is gated, no kubelet has read the Secret, and a new one is as good.
        return not record.gates and self._may_have_created(record, name, progress)

    def _may_have_created(self, record: PodRecord, name: str, progress: BundleProgress) -> bool:
        """Tell whether the controller may have created a Secret whose UID it does not know.

        An answer may have been lost. A former leader may have created the Secret of a pod that is older than this
        process's leadership: it cannot be asked, and the Secret cannot be read. The guard of the installation keeps
        others from creating one.
        """
        is_former = record.first_seen < self._context.leads_since() + INFORMER_LAG_SECONDS
        return is_former or name in progress.created or name in progress.source_versions

    async def _delete_foreign(self, record: PodRecord, name: str, progress: BundleProgress) -> None:
        """Delete a Secret that another has put in the place of a bundle.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        path = paths.secrets(record.namespace, name)
        uid = await self._context.cluster.uid_of(path)
        if uid is not None:
            await self._context.cluster.delete(path, uid=uid)
            if not self._may_have_created(record, name, progress):
                progress.replaced.add(name)

    async def _exists(self, record: PodRecord, name: str, progress: BundleProgress) -> bool:
        """Tell whether a Secret that the controller may have created exists.

        A dry run that creates an empty Secret tells it without the right to read one.
        """
        if record.gates or not self._may_have_created(record, name, progress):
            return False
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": record.namespace}}
        try:
            await self._context.cluster.create(paths.secrets(record.namespace), body, dry_run=True, metadata_only=True)
        except ConflictError:
            return True
        except UnavailableError:
            raise
        except ClusterError:
            # Nothing can be created then; the real creation reports why.
            return False
        return False
