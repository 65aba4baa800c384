"""The audit log: one line of JSON for each decision about a pod or a session, on a logger of its own.

The lines stand among the others on standard error, whatever `--log-level` and `--log-format` say. A program finds them
by `"logger":"scoped_secrets.audit"` at their beginning. They hold names only.
"""

import json
import logging
from collections.abc import Mapping
from typing import Final

from scoped_secrets.clock import utc_now
from scoped_secrets.config import AuditLevel
from scoped_secrets.logs import AUDIT_LOGGER
from scoped_secrets.timestamps import rfc3339

__all__ = ["AuditLog", "audit_text"]

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_logger = logging.getLogger(AUDIT_LOGGER)


class AuditLog:
    """Writes decisions."""

    def __init__(self, level: AuditLevel = AuditLevel.NONE) -> None:
        """Take which decisions to write."""
        self._writes_denials = level is not AuditLevel.NONE
        self._writes_all = level is AuditLevel.ALL
        # The lowest level of other lines must not silence these.
        _logger.setLevel(logging.INFO)

    def wants(self, *, is_denial: bool) -> bool:
        """Tell whether such a decision is written, so that its line need not be made otherwise."""
        return self._writes_denials if is_denial else self._writes_all

    def write(self, event: str, more: str = "", /, *, is_denial: bool, **fields: object) -> None:
        """Write one decision.

        Args:
            event: What was decided: `Pod`, `Session` or `Bundle`.
            more: More fields, as `audit_text` returns them.
            is_denial: Whether it is a denial.
            fields: Names, and parts made of names; never a value or a body.
        """
        if not self.wants(is_denial=is_denial):
            return
        line: dict[str, object] = {
            "logger": AUDIT_LOGGER,
            "time": rfc3339(utc_now(), timespec="milliseconds"),
            "event": event,
            "decision": "Denied" if is_denial else "Allowed",
            **fields,
        }
        text = audit_text(line)
        if more:
            text = f"{text[:-1]},{more[1:]}"
        # Not by `info`, which looks for the line of code that calls it.
        if _logger.isEnabledFor(logging.INFO):
            _logger.handle(logging.LogRecord(AUDIT_LOGGER, logging.INFO, __file__, 0, text, None, None))


def audit_text(fields: Mapping[str, object]) -> str:
    """Return fields of a line as JSON: an object that has at least one."""
    return _ENCODER.encode(fields)
