"""A small server with prepared responses, for those that a real API server cannot be made to send."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from scoped_secrets.kube.client import Cluster

if TYPE_CHECKING:
    from pathlib import Path

UNAUTHORIZED = {"kind": "Status", "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401}
NAMES = {"namespaces": "Namespace", "scopedsecrets": "ScopedSecret", "secretpolicies": "SecretPolicy"}


def resource(plural: str, *, namespaced: bool) -> dict[str, Any]:
    verbs = ["get", "list", "watch", "patch"]
    return {"name": plural, "singularName": "", "namespaced": namespaced, "kind": NAMES[plural], "verbs": verbs}


@dataclass(frozen=True)
class Answer:
    """One response, used once."""

    status: int
    text: str
    path: str
    headers: dict[str, str]


class FakeServer:
    """Sends prepared responses, and otherwise those of an API server without objects."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.tokens: list[str] = []
        self.bodies: list[str] = []
        self.answers: deque[Answer] = deque()
        # The event that the next watch of ScopedSecrets sends before it ends; other watches send nothing and stay open.
        self.frames: deque[dict[str, Any]] = deque()
        self.silent = ""
        """The plural of a resource whose watches get no answer at all."""
        self.version = "7"
        """The resourceVersion of lists that were not prepared."""
        self.refuses_credentials = False
        """Whether every response that was not prepared is that to an expired token."""
        self.url = ""
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._stopping.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def will_answer(self, status: int, body: object, path: str = "", **headers: str) -> None:
        """Prepare the response to the next request whose path has this end; a text is sent as it is."""
        text = body if isinstance(body, str) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append(Answer(status, text, path, named))

    def kubeconfig(self, folder: Path) -> str:
        """Write a kubeconfig for this server and return its path."""
        path = folder / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": "fake-token"}}],
        }
        path.write_text(json.dumps(content))
        return str(path)

    async def connect(self, folder: Path) -> Cluster:
        """Return the operator's client for this server."""
        return await Cluster.connect(self.kubeconfig(folder))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        # Between a request's entry in the list and the choice of its answer nothing else runs.
        self.bodies.append(await request.text())
        self.requests.append(f"{request.method} {request.path_qs}")
        self.tokens.append(request.headers.get("Authorization", ""))
        if "watch" in request.query:
            return await self._watch(request)
        answer = next((answer for answer in self.answers if request.path.endswith(answer.path)), None)
        if answer is not None:
            self.answers.remove(answer)
            return web.Response(status=answer.status, text=answer.text, headers=answer.headers)
        if self.refuses_credentials:
            return web.json_response(UNAUTHORIZED, status=401)
        empty = {"metadata": {"resourceVersion": self.version}, "items": []}
        return web.json_response(self._discovery(request.path) or empty)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if self.silent and request.path.endswith(self.silent):
            await self._stopping.wait()
        await response.prepare(request)
        if self.frames and request.path.endswith("/scopedsecrets"):
            await response.write(json.dumps(self.frames.popleft()).encode() + b"\n")
        else:
            await self._stopping.wait()
        return response

    @staticmethod
    def _discovery(path: str) -> dict[str, Any] | None:
        group = {"groupVersion": "scopedsecrets.dev/v1alpha1", "version": "v1alpha1"}
        ours = [resource(plural, namespaced=True) for plural in ("scopedsecrets", "secretpolicies")]
        documents: dict[str, dict[str, Any]] = {
            "/api": {"versions": ["v1"]},
            "/api/v1": {"resources": [resource("namespaces", namespaced=False)]},
            "/apis": {"groups": [{"name": "scopedsecrets.dev", "versions": [group], "preferredVersion": group}]},
            "/apis/scopedsecrets.dev/v1alpha1": {"resources": ours},
        }
        return documents.get(path)
