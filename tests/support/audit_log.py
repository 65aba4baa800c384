"""What the API server says that others did: its audit log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was answered."""

    user: str
    verb: str
    resource: str
    """Plural, with the subresource behind a slash."""
    namespace: str
    name: str
    status: int
    is_dry_run: bool
    """Whether only the answer was asked for."""

    @classmethod
    def from_entry(cls, entry: dict[str, Any]) -> Self:
        """Read one line of the log."""
        reference = entry.get("objectRef", {})
        parts = (reference.get("resource", ""), reference.get("subresource", ""))
        return cls(
            user=entry["user"]["username"],
            verb=entry["verb"],
            resource="/".join(filter(None, parts)),
            namespace=reference.get("namespace", ""),
            name=reference.get("name", ""),
            status=entry.get("responseStatus", {}).get("code", 0),
            is_dry_run="dryRun=" in entry["requestURI"],
        )

    @property
    def is_success(self) -> bool:
        """Whether the API server did what was asked."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_write(self) -> bool:
        """Whether something was changed; the Lease is renewed all the time and does not count."""
        return self.verb in _WRITES and self.is_success and not self.is_dry_run and self.resource != "leases"


class AuditLog:
    """The audit log, from a moment on; a call is in it before its answer is at the client."""

    def __init__(self, cluster: ControlPlane) -> None:
        """Take the cluster, which writes the log since its start."""
        self._path: Path = cluster.logs()["audit"]

    def mark(self) -> int:
        """Return the present moment, for `calls`."""
        return self._path.stat().st_size

    def calls(self, user: str, since: int = 0) -> Iterator[Call]:
        """Yield the calls of one user, or of all users with this prefix, oldest first."""
        with self._path.open("rb") as log:
            log.seek(since)
            for line in log:
                # The last line may still be written.
                if line.endswith(b"\n") and user.encode() in line:
                    call = Call.from_entry(json.loads(line))
                    if call.user.startswith(user):
                        yield call

    def writes(self, user: str, since: int = 0) -> list[Call]:
        """Return what a user changed."""
        return [call for call in self.calls(user, since) if call.is_write]
