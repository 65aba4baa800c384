"""Reads the objects that own a pod, for trusted issuers whose claims stand there (DESIGN section 6).

Labels of a pod may come from a pipeline; those of the object that owns it are what the engine wrote. An ownerReference
counts only with the UID of the object that it names.
"""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from scoped_secrets.admission.review import Operation, Review
from scoped_secrets.core.policy.issuers import OwnerKind, ReadOwners, TrustedIssuer, Writings
from scoped_secrets.core.policy.subjects import Requester
from scoped_secrets.errors import ClusterError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.logs import context

__all__ = ["Owners"]

_logger = logging.getLogger(__name__)

_SECONDS: Final = 2.0
"""The time for all owners of one pod, waiting included: much less than the five seconds of the webhook's timeout."""

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

# Less than the client's connections: anyone who reaches the port can send reviews, and must not stop lists.
_AT_ONCE: Final = 8


class Owners:
    """Reads owners at the time of the request."""

    def __init__(self, cluster: Cluster) -> None:
        """Take a client of this event loop."""
        self._cluster = cluster
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, review: Review, issuers: Sequence[TrustedIssuer]) -> ReadOwners | None:
        """Return the owners that the issuers of the pod's creator need; ``None`` when one cannot be read in time.

        A chain that is not as the issuer says is left out: the issuer does not match.
        """
        needed = _needed(review, issuers)
        if not needed:
            return {}
        found: dict[tuple[OwnerKind, ...], Writings] = {}
        try:
            async with asyncio.timeout(_SECONDS), self._turns:
                for kinds in needed:
                    owner = await self._follow(review.object or {}, kinds, review.namespace)
                    if owner is not None:
                        found[kinds] = _writings(owner, kinds[-1].kind)
        except (ClusterError, TimeoutError) as error:
            _logger.warning(
                "owner not read", extra=context(error=str(error) or "the API server did not answer in time")
            )
            return None
        return found

    async def _follow(self, body: Mapping[str, Any], kinds: Sequence[OwnerKind], namespace: str) -> Body | None:
        """Return the last owner of the chain; ``None`` when an object has no owner of the kind."""
        owner: Body | None = None
        for kind in kinds:
            reference = _controller(body)
            if reference is None or (reference.get("apiVersion"), reference.get("kind")) != (
                kind.api_version,
                kind.kind,
            ):
                return None
            name = reference.get("name")
            if not isinstance(name, str) or _OBJECT_NAME.fullmatch(name) is None:
                return None
            owner = await self._cluster.get(
                paths.of_version(kind.api_version, kind.resource, namespace, name),
                metadata_only=True,
                seconds=_SECONDS,
            )
            if owner is None or owner["metadata"].get("uid") != reference.get("uid"):
                return None
            body = owner
        return owner


def _needed(review: Review, issuers: Sequence[TrustedIssuer]) -> list[tuple[OwnerKind, ...]]:
    """Return the chains of kinds, each once, of issuers that are about the creator of a pod."""
    if review.operation is not Operation.CREATE or _LABEL.fullmatch(review.namespace) is None:
        return []
    requester = Requester(review.user, review.groups)
    first = _controller(review.object or {})
    return list(
        dict.fromkeys(
            issuer.owners
            for issuer in issuers
            if issuer.owners
            and first is not None
            and first.get("kind") == issuer.owners[0].kind
            and issuer.is_creator(requester)
        )
    )


def _controller(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the reference to the object that controls this one."""
    metadata = body.get("metadata")
    references = metadata.get("ownerReferences") if isinstance(metadata, Mapping) else None
    if not isinstance(references, list):
        return None
    return next((each for each in references if isinstance(each, Mapping) and each.get("controller") is True), None)


def _writings(body: Body, kind: str) -> Writings:
    metadata = body["metadata"]
    return Writings(metadata.get("labels") or {}, metadata.get("annotations") or {}, kind)
