"""Whatever is logged by whomever: names get through, bodies do not."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import logs
from scoped_secrets.errors import ConfigurationError, UnavailableError
from scoped_secrets.logs import LogFormat, context

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "canary-7f3a"
BODY = {"kind": "Secret", "data": {"key": CANARY}}


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """Give every logger back as it was."""
    loggers = [logging.getLogger(name) for name in ("", *logs._LIBRARIES)]
    before = [(logger, list(logger.handlers), logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


def output(style: LogFormat = LogFormat.TEXT, level: str = "DEBUG") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level, style, stream)
    return stream


def fail(message: str) -> None:
    raise ValueError(message)


def test_own_lines_have_an_event_and_context():
    stream = output()

    logging.getLogger("scoped_secrets.kube").info("bundle created", extra=context(pod="web/job", part=0))

    assert stream.getvalue().endswith("INFO    bundle created pod=web/job part=0\n")


def test_json_format_writes_one_object_per_line():
    stream = output(LogFormat.JSON)

    logging.getLogger("scoped_secrets.kube").warning("bundle created", extra=context(pod="web/job", message="mine"))

    line: dict[str, Any] = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "scoped_secrets.kube",
        "message": "bundle created",
        "pod": "web/job",
    }


@pytest.mark.parametrize("style", list(LogFormat))
def test_newline_in_a_name_does_not_start_a_line(style: LogFormat):
    stream = output(style)

    logging.getLogger("scoped_secrets").info("done", extra=context(pod="a\nERROR forged b=c"))

    assert len(stream.getvalue().splitlines()) == 1
    assert "a\\nERROR forged" in stream.getvalue()


@pytest.mark.parametrize("style", list(LogFormat))
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR])
@pytest.mark.parametrize("name", ["kopf.objects", "kopf._cogs.clients.patching", "aiohttp.client", "kubernetes.x", "z"])
def test_no_library_can_write_a_body(style: LogFormat, level: int, name: str):
    stream = output(style)
    logger = logging.getLogger(name)

    logger.log(level, f"Merge-patching the resource with: {BODY!r}")  # noqa: G004 - as kopf does it.
    logger.log(level, "Patching with %r", BODY)
    logger.log(level, f"Request failed -> APIError({CANARY})")  # noqa: G004 - as kopf does it.
    logger.log(level, f'Secret is invalid: data: Invalid value: "{CANARY}"')  # noqa: G004 - as kopf does it.
    logger.log(level, f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{CANARY}')>")  # noqa: G004 - as kopf does it.
    logger.log(level, BODY)
    try:
        fail(CANARY)
    except ValueError:
        logger.log(level, "Handler failed", exc_info=True)

    assert CANARY not in stream.getvalue()
    assert bool(stream.getvalue()) is (level >= logging.WARNING)


@pytest.mark.parametrize("style", list(LogFormat))
def test_exception_shows_type_and_place_and_only_own_messages(style: LogFormat):
    stream = output(style)
    try:
        try:
            fail(CANARY)
        except ValueError as error:
            raise UnavailableError("GET /api: 503") from error
    except UnavailableError:
        logging.getLogger("scoped_secrets").exception("work failed")

    text = stream.getvalue()
    assert "UnavailableError: GET /api: 503 at test_exception" in text
    assert "ValueError at " in text
    assert "fail:" in text
    assert CANARY not in text


def test_line_that_cannot_be_written_is_not_printed(capsys: pytest.CaptureFixture[str]):
    stream = output()
    stream.close()

    logging.getLogger("scoped_secrets").info("lost", extra=context(value=CANARY))

    shown = capsys.readouterr().err
    assert "could not be written" in shown
    assert CANARY not in shown


def test_an_unknown_level_is_refused():
    with pytest.raises(ConfigurationError, match="--log-level"):
        logs.configure("loud")


def test_debug_without_the_guard_is_refused():
    library = logging.getLogger("kopf")
    library.setLevel(logging.DEBUG)
    library.addHandler(logging.StreamHandler(io.StringIO()))

    with pytest.raises(ConfigurationError, match="DEBUG"):
        logs.require_guard("kopf")


def test_debug_with_the_guard_is_fine():
    output()
    logging.getLogger("kopf").setLevel(logging.DEBUG)

    logs.require_guard("kopf")
