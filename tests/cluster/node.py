"""A node that runs job pods on top of a control plane of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tests.cluster.errors import NodeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from tests.cluster.cluster import Cluster


class Node:
    """A running node."""

    @classmethod
    def start(cls, cluster: Cluster, environment: Mapping[str, str]) -> Self:
        """Start a node and wait until it is ready."""
        raise NodeUnavailableError("the node is not there yet")

    def __enter__(self) -> Self:
        """Return the node."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the node."""
