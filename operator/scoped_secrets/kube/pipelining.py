"""Runs the operations of commands without asyncio, which takes longer to import than all requests of a command take.

An operation waits for nothing but requests. `run` advances it, and the coroutines that it gathers, until each of them
waits for a response; sends what they wait for together; and advances each of them by its response.
"""

import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from scoped_secrets.kube.response import Response
from scoped_secrets.kube.transport import Request

__all__ = ["Exchange", "Outcome", "gather", "run"]

_T = TypeVar("_T")

Outcome: TypeAlias = Response | Exception
"""The response to a request, or why there is none."""


class Exchange:
    """Waits for the response to a request."""

    __slots__ = ("request", "send")

    def __init__(self, request: Request, send: Callable[[Sequence[Request]], Sequence[Outcome]]) -> None:
        """Take the request, and what sends several requests together."""
        self.request = request
        self.send = send

    def __await__(self) -> Generator[list["Exchange"], Sequence[Outcome], Response]:
        """Return the response; raise why there is none."""
        (outcome,) = yield [self]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def run(operation: Coroutine[list[Exchange], Sequence[Outcome] | None, _T]) -> _T:
    """Run an operation that awaits only exchanges and `gather`, and return its result.

    Raises:
        Exception: What the operation raises, and Ctrl-C at once.
    """
    outcomes: Sequence[Outcome] | None = None
    try:
        while True:
            exchanges = operation.send(outcomes)
            # One person has one client.
            outcomes = exchanges[0].send([each.request for each in exchanges])
    except StopIteration as end:
        result: _T = end.value
        return result
    finally:
        operation.close()


if TYPE_CHECKING:
    # The same arguments and results.
    from asyncio import gather
else:

    async def gather(*coroutines: Coroutine[Any, Any, Any], return_exceptions: bool = False) -> list[Any]:
        """Run coroutines at once and return their results, as `asyncio.gather` does, in asyncio and without it."""
        asyncio = sys.modules.get("asyncio")
        # None where this thread has no event loop; it is public for such libraries.
        if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001
            return await asyncio.gather(*coroutines, return_exceptions=return_exceptions)
        return await _Group(coroutines, keeps_errors=return_exceptions)


class _Group:
    """Waits for coroutines that run at once."""

    def __init__(self, coroutines: Sequence[Coroutine[Any, Any, Any]], *, keeps_errors: bool) -> None:
        self._coroutines = coroutines
        self._keeps_errors = keeps_errors

    def __await__(self) -> Generator[list[Exchange], Sequence[Outcome], list[Any]]:
        results: list[Any] = [None] * len(self._coroutines)
        received: dict[int, Sequence[Outcome] | None] = dict.fromkeys(range(len(self._coroutines)))
        try:
            while received:
                waiting: dict[int, list[Exchange]] = {}
                for number, outcomes in received.items():
                    try:
                        waiting[number] = self._coroutines[number].send(outcomes)
                    except StopIteration as end:
                        results[number] = end.value
                    except Exception as error:
                        if not self._keeps_errors:
                            raise
                        results[number] = error
                received = {}
                if waiting:
                    answers = iter((yield [exchange for each in waiting.values() for exchange in each]))
                    received = {number: list(islice(answers, len(each))) for number, each in waiting.items()}
        finally:
            for coroutine in self._coroutines:
                coroutine.close()
        return results
