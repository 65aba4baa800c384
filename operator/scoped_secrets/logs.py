"""Log lines as text or JSON, and a handler that lets no body through.

The project's own lines are constant event names with key=value context:
`logger.info("bundle created", extra=context(pod=name))`.

Libraries may log values: kopf writes whole objects and patches at DEBUG, HTTP clients write requests, and the text of
an exception can quote the input that it rejects. So the handler drops their lines below WARNING, keeps only the
beginning of the others, and shows only types and places of exceptions that are not the project's own.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from copy import copy
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TextIO

from scoped_secrets.errors import ConfigurationError
from scoped_secrets.timestamps import rfc3339
from scoped_secrets.tracebacks import describe, one_line

__all__ = ["AUDIT_LOGGER", "GuardedHandler", "LogFormat", "configure", "context", "require_guard"]

_OURS: Final = "scoped_secrets"

AUDIT_LOGGER: Final = "scoped_secrets.audit"
"""The logger of decisions. Its messages are whole lines of JSON and stay as they are, in both formats."""

_FIELD: Final = "context"
_LIBRARIES: Final = ("kopf", "aiohttp", "kubernetes", "asyncio")
_LIBRARY_CHARACTERS: Final = 200
# Where a library's sentence ends and data may begin: a dictionary or JSON, the representation of an error, the API
# server's quotation of a rejected value, and the lines of a traceback.
_DATA: Final = re.compile(r"[{\n\r]| -> |Invalid value|Unsupported value|Duplicate value|exception=")
# kopf runs in a thread of its own on purpose, and logs at every start that it gets no signals there.
_EXPECTED: Final = "OS signals are ignored: running not in the main thread"
_PLAIN: Final = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")


class LogFormat(StrEnum):
    """The format of log lines."""

    TEXT = "text"
    JSON = "json"


def context(**fields: object) -> dict[str, Mapping[str, object]]:
    """Return the context of a log line, for its argument `extra`. Never pass a value or a body."""
    return {_FIELD: fields}


def configure(level: str = "INFO", style: LogFormat = LogFormat.TEXT, stream: TextIO | None = None) -> None:
    """Send all log lines of the process through the guard, to standard error unless told otherwise.

    Args:
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`, in any case.
        style: Text for people, or JSON for programs.
        stream: Where to write.

    Raises:
        ConfigurationError: There is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigurationError("--log-level must be debug, info, warning or error")
    handler = GuardedHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(_JsonFormatter() if style is LogFormat.JSON else _TextFormatter())
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(number)
    # kopf builds its long lines whether or not they are dropped later, unless its loggers are off.
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(max(number, logging.WARNING))


def require_guard(name: str) -> None:
    """Raise ConfigurationError when a library's DEBUG lines would be written without the guard.

    Args:
        name: The library's logger.

    Raises:
        ConfigurationError: The logger writes DEBUG lines to a handler that is no `GuardedHandler`.
    """
    logger = logging.getLogger(name)
    if not logger.isEnabledFor(logging.DEBUG):
        return
    if any(handler.level <= logging.DEBUG and not isinstance(handler, GuardedHandler) for handler in _handlers(logger)):
        raise ConfigurationError(
            f"the logger '{name}' writes whole objects at DEBUG; set up logging with --log-level, or use INFO"
        )


class GuardedHandler(logging.StreamHandler[TextIO]):
    """Writes lines without bodies."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a harmless copy of the record, or nothing."""
        harmless = _harmless(record)
        if harmless is not None:
            super().emit(harmless)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls.
        """Report a lost line without its text: the default handler prints record and arguments."""
        sys.stderr.write(f"a log line of {record.name}, line {record.lineno}, could not be written\n")


class _TextFormatter(logging.Formatter):
    """Lines for people: time, level, sentence, names."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and one more for each exception."""
        if record.name == AUDIT_LOGGER:
            return record.getMessage()
        fields = (f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        head = f"{_time(record)} {record.levelname:<7} {one_line(record.getMessage())}"
        return "\n  ".join([head + "".join(fields), *_exceptions(record)])


class _JsonFormatter(logging.Formatter):
    """Lines for programs: one JSON object each."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        if record.name == AUDIT_LOGGER:
            return record.getMessage()
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: str(value) for name, value in _fields(record).items() if name not in line}
        exceptions = list(_exceptions(record))
        if exceptions:
            line["exceptions"] = exceptions
        return json.dumps(line, ensure_ascii=False)


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """Yield the handlers that a logger's lines reach."""
    current: logging.Logger | None = logger
    while current is not None:
        yield from current.handlers
        current = current.parent if current.propagate else None


def _harmless(record: logging.LogRecord) -> logging.LogRecord | None:
    """Return a record without data of users, None to drop the line."""
    if record.name == _OURS or record.name.startswith(f"{_OURS}."):
        return record
    message = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    if record.levelno < logging.WARNING or message.startswith(_EXPECTED):
        return None
    harmless = copy(record)
    match = _DATA.search(message)
    end = min(match.start() if match else len(message), _LIBRARY_CHARACTERS)
    # Arguments are not formatted: they may hold data.
    harmless.msg = f"{record.name}: {message[:end].rstrip(' :')}" + (" ..." if end < len(message) else "")
    harmless.args = None
    return harmless


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, _FIELD, None)
    return fields if isinstance(fields, Mapping) else {}


def _exceptions(record: logging.LogRecord) -> Iterator[str]:
    yield from describe(record.exc_info[1] if record.exc_info else None)


def _time(record: logging.LogRecord) -> str:
    return rfc3339(datetime.fromtimestamp(record.created, UTC), timespec="milliseconds")


def _quoted(value: object) -> str:
    """Return a value that cannot be read as another field or another line."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
