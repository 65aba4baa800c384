"""The right to copy a ScopedSecret: asks the API server, and proves the answer to the controller (DESIGN section 7).

Admission holds no values, so that it grants a copy and the controller makes it. The same answer for every source that
the person may not copy, whether it exists or not, tells nothing about other namespaces.
"""

import asyncio
import logging
import re
from collections.abc import Iterator
from typing import Final

from scoped_secrets.admission.review import CopyRight, Operation, Review
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.api.scopedsecret import CopySource, ScopedSecret
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.crypto.copy_grants import CopyGrant, CopyPlace, make_copy_grant, open_copy_grant
from scoped_secrets.errors import ClusterError, DeniedError
from scoped_secrets.kube import paths
from scoped_secrets.kube.access_reviews import Person, may_copy
from scoped_secrets.kube.client import Cluster
from scoped_secrets.logs import context
from scoped_secrets.names import COPY_VERB, GROUP, Reason

__all__ = ["CopyRights", "check_grant", "grant_operations", "requests_copy"]

_logger = logging.getLogger(__name__)

_SECONDS: Final = 3.5
"""The time for both questions, their wait included: less than the five seconds of the webhook's timeout."""

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_GRANT_POINTER: Final = json_pointer("spec", "copyFrom", "grant")

# Less than the client's connections: every client that reaches the port can send reviews, and must not stop lists.
_AT_ONCE: Final = 8


class CopyRights:
    """Asks at the time of the request, because rights may be taken back at any time."""

    def __init__(self, cluster: Cluster) -> None:
        """Take a client of this event loop."""
        self._cluster = cluster
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, review: Review) -> CopyRight | None:
        """Return the right to the copy that a review is about; ``None`` for no copy, or without an answer in time."""
        source = _source_in(review)
        if source is None:
            return None
        namespace, name = source
        person = Person(review.user, review.user_uid, review.groups, review.user_extra)
        try:
            async with asyncio.timeout(_SECONDS), self._turns:
                if not await may_copy(self._cluster, person, namespace, name):
                    return CopyRight(is_allowed=False)
                path = paths.scoped_secrets(namespace, name)
                body = await self._cluster.get(path, metadata_only=True, seconds=_SECONDS)
        except (ClusterError, TimeoutError) as error:
            _logger.warning(
                "right to copy not read", extra=context(error=str(error) or "the API server did not answer in time")
            )
            return None
        if body is None:
            return CopyRight(is_allowed=True)
        return CopyRight(is_allowed=True, uid=body["metadata"]["uid"], generation=body["metadata"]["generation"])


def requests_copy(review: Review) -> bool:
    """Tell whether a review is about a copy, so that its right has to be read."""
    return _source_in(review) is not None


def grant_operations(model: ScopedSecret, review: Review, review_context: ReviewContext) -> Iterator[PatchOperation]:
    """Yield the operation that writes the grant into a new copy.

    Raises:
        DeniedError: The person may not make the copy, or the source does not exist.
    """
    source = model.spec.copy_from
    if source is None or review.operation is not Operation.CREATE:
        return
    if not model.metadata.name:
        raise DeniedError(
            Reason.INVALID,
            "`metadata.generateName` cannot be used with `spec.copyFrom`, because values are sealed for the object's "
            "name; give it a `metadata.name`",
        )
    location, right = f"{source.namespace}/{source.name}", review.copy_right
    if right is None:
        raise DeniedError(
            Reason.COPY_DENIED,
            f"the API server did not tell whether you may copy ScopedSecret '{location}', which `spec.copyFrom` names; "
            "try again",
        )
    if not right.is_allowed:
        raise DeniedError(
            Reason.COPY_DENIED,
            f"`spec.copyFrom` needs the verb `{COPY_VERB}` on ScopedSecret '{location}' (group {GROUP}), which you do "
            f"not have; ask an administrator of namespace '{source.namespace}' for it, or give the values instead",
        )
    if not right.uid:
        raise DeniedError(
            Reason.SOURCE_MISSING, f"`spec.copyFrom` names ScopedSecret '{location}', which does not exist; correct it"
        )
    grant = CopyGrant(right.uid, right.generation, int(review_context.now.timestamp()))
    text = make_copy_grant(review_context.fingerprint_key, _place(model, source, review.namespace), grant)
    yield {"op": "add", "path": _GRANT_POINTER, "value": text}


def check_grant(model: ScopedSecret, review: Review, review_context: ReviewContext) -> None:
    """Check the grant of a new copy, which the mutating webhook has written.

    Raises:
        DeniedError: It is missing or not genuine.
    """
    source = model.spec.copy_from
    if source is None or review.operation is not Operation.CREATE:
        return
    keys = (review_context.fingerprint_key, *review_context.former_fingerprint_keys)
    if open_copy_grant(keys, _place(model, source, review.namespace), source.grant) is None:
        raise DeniedError(
            Reason.COPY_DENIED,
            "`spec.copyFrom` has no valid grant; check that the mutating webhook is installed, and that no other "
            "webhook changes the object",
        )


def _place(model: ScopedSecret, source: CopySource, namespace: str) -> CopyPlace:
    spec = model.spec
    return CopyPlace(
        source=f"{source.namespace}/{source.name}",
        target=f"{namespace}/{model.metadata.name}",
        scope=spec.scope.value,
        project=spec.project or "",
        environment=spec.environment or "",
        secret_name=model.secret_name,
    )


def _source_in(review: Review) -> tuple[str, str] | None:
    """Return namespace and name of the source in a review, which may have any content."""
    if review.operation is not Operation.CREATE or review.sub_resource:
        return None
    spec = (review.object or {}).get("spec")
    source = spec.get("copyFrom") if isinstance(spec, dict) else None
    if not isinstance(source, dict):
        return None
    namespace, name = source.get("namespace"), source.get("name")
    if not isinstance(namespace, str) or not isinstance(name, str):
        return None
    if _LABEL.fullmatch(namespace) is None or _OBJECT_NAME.fullmatch(name) is None:
        return None
    return namespace, name
