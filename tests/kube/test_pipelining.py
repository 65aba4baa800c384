"""Operations that run without asyncio: results and errors as in asyncio, and requests in few groups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.kube.pipelining import Exchange, gather, run
from scoped_secrets.kube.response import Response
from scoped_secrets.kube.transport import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scoped_secrets.kube.pipelining import Outcome


def _outcome(target: str) -> Outcome:
    if target.startswith("no"):
        return TimeoutError(target)
    return Response(200, SecretValue(target.encode()), None, ())


class Server:
    """Answers each request by its target; those that begin with `no` have no response."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []

    def send(self, requests: Sequence[Request]) -> list[Outcome]:
        self.groups.append([each.target for each in requests])
        return [_outcome(each.target) for each in requests]

    async def ask(self, *targets: str) -> str:
        """Send requests one after the other and return the last response."""
        text = ""
        for target in targets:
            response = await Exchange(Request("GET", target, {}, None, 1.0), self.send)
            text = response.content.reveal().decode()
        return text


async def asyncio_free(value: str) -> str:
    return value


def test_an_operation_without_requests_runs():
    assert run(asyncio_free("done")) == "done"


def test_coroutines_wait_for_their_requests_together():
    server = Server()

    async def operation() -> tuple[Any, ...]:
        inner = gather(server.ask("c1", "c2"), server.ask("d1"))
        return (*await gather(server.ask("a1", "a2", "a3"), server.ask("b1"), inner, asyncio_free("e")), "end")

    assert run(operation()) == ("a3", "b1", ["c2", "d1"], "e", "end")
    assert server.groups == [["a1", "b1", "c1", "d1"], ["a2", "c2"], ["a3"]]


@pytest.mark.parametrize("runner", [run, asyncio.run])
def test_gather_means_the_same_in_asyncio(runner: Any):
    async def fail() -> None:
        raise ValueError("it fails")

    async def operation() -> tuple[Any, ...]:
        first = await gather(asyncio_free("a"), fail(), return_exceptions=True)
        with pytest.raises(ValueError, match="it fails"):
            await gather(asyncio_free("a"), fail())
        return await gather(), [str(each) for each in first]

    assert runner(operation()) == ([], ["a", "it fails"])


def test_a_request_without_response_raises_where_it_is_awaited_and_ends_the_others():
    server, ended = Server(), []

    async def ask(*targets: str) -> None:
        try:
            await server.ask(*targets)
        finally:
            ended.append(targets[0])

    async def operation() -> str:
        with pytest.raises(TimeoutError, match="no1"):
            await gather(ask("no1"), ask("a1", "a2"))
        return await server.ask("b1")

    assert run(operation()) == "b1"
    assert server.groups == [["no1", "a1"], ["b1"]]
    assert sorted(ended) == ["a1", "no1"]


def test_ctrl_c_ends_every_coroutine():
    ended: list[str] = []

    def interrupted(_requests: Sequence[Request]) -> list[Outcome]:
        raise KeyboardInterrupt

    async def ask(name: str) -> None:
        try:
            await Exchange(Request("GET", name, {}, None, 1.0), interrupted)
        finally:
            ended.append(name)

    async def operation() -> None:
        await gather(ask("a"), ask("b"))

    with pytest.raises(KeyboardInterrupt):
        run(operation())
    assert sorted(ended) == ["a", "b"]
