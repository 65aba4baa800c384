"""The installed kopf has everything that the adapter relies on: an incompatible version fails here, not in a cluster.

A version outside of the pinned range fails the first test. Before the range is moved, the others tell what changed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
import inspect
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, cast

import kopf
import pytest
from kopf._cogs.clients import api
from kopf._cogs.clients.fetching import fetch_objs
from kopf._cogs.structs.references import Insights, Selector
from kopf._core.engines.peering import Identity
from kopf._core.reactor import orchestration
from kopf._core.reactor.inventory import ResourceMemories
from packaging.requirements import Requirement

from scoped_secrets.kube.kopf_adapter import _WATCH_TASK, _Session, watch_settings
from scoped_secrets.kube.resources import PODS
from scoped_secrets.kube.watch_handlers import WatchHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def requirement() -> Requirement:
    dependencies = map(Requirement, tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"])
    return next(each for each in dependencies if each.name == "kopf")


def handler(label_selector: str = "") -> WatchHandler:
    return WatchHandler(PODS, lambda _type, _body: None, label_selector)


def parameters(function: Callable[..., object]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_the_installed_kopf_is_in_the_pinned_range_of_one_minor_release():
    assert importlib.metadata.version("kopf") in requirement().specifier
    assert "1.44.9" not in requirement().specifier
    assert "1.46" not in requirement().specifier


def test_the_operator_takes_the_arguments_that_the_adapter_passes():
    passed = {"registry", "settings", "standalone", "clusterwide", "stop_flag", "insights", "memories", "identity"}
    assert passed <= set(parameters(kopf.operator))
    assert inspect.iscoroutinefunction(kopf.operator)
    assert Identity("scoped-secrets") == "scoped-secrets"


async def test_insights_tell_which_resources_are_served():
    insights = Insights()
    assert isinstance(insights.ready_resources, asyncio.Event)
    assert insights.watched_resources == set()


def test_the_registry_tells_the_selectors_of_its_event_handlers():
    registry = kopf.OperatorRegistry()
    kopf.on.event(*PODS, id="watch-pods", registry=registry)(lambda **_: None)

    (selector,) = registry._watching.get_all_selectors()

    assert isinstance(selector, Selector)
    assert not selector.select(set())


async def test_an_ephemeral_memory_is_not_kept():
    assert inspect.iscoroutinefunction(ResourceMemories.recall)
    assert parameters(ResourceMemories.recall) == ["raw_body", "memobase", "noticed_by_listing", "ephemeral"]
    memories = ResourceMemories()

    await memories.recall({"metadata": {"uid": "1"}}, ephemeral=True)

    assert list(memories.iter_all_memories()) == []


@pytest.mark.parametrize(
    ("method", "expected"),
    [("build", ["body", "extra_fields"]), ("fetch", ["body"]), ("store", ["body", "patch", "essence"])],
)
def test_a_storage_of_earlier_states_has_the_methods_that_the_adapter_replaces(method: str, expected: list[str]):
    assert parameters(getattr(kopf.DiffBaseStorage, method)) == expected


@pytest.mark.parametrize("section", [field.name for field in dataclasses.fields(kopf.OperatorSettings)])
def test_kopf_has_every_setting_that_the_adapter_sets(section: str):
    """Otherwise, an assignment creates an attribute that kopf does not read."""
    settings = getattr(watch_settings([handler("a=b")]), section)
    if dataclasses.is_dataclass(settings):
        assert set(vars(settings)) == {field.name for field in dataclasses.fields(settings)}


def test_a_label_selector_is_set_for_its_resource_only():
    selectors = watch_settings([handler("a=b")]).watching.label_selectors
    assert {(each.group, each.version, each.any_name): selectors[each] for each in selectors} == {
        ("", "v1", "pods"): "a=b"
    }
    assert list(watch_settings([handler()]).watching.label_selectors) == []


def connection(token: str | None = None) -> kopf.ConnectionInfo:
    return kopf.ConnectionInfo(server="https://example.com/prefix", scheme="Bearer", token=token)


def test_a_login_handler_can_return_a_session_that_is_made_from_every_field_of_a_connection():
    fields = {field.name for field in dataclasses.fields(kopf.ConnectionInfo)}
    used = {"server", "ca_path", "insecure", "certificate_path", "private_key_path", "scheme", "token", "proxy_url"}
    assert used <= fields
    assert parameters(kopf.ConnectionInfo.as_ssl_context) == parameters(kopf.ConnectionInfo.as_http_headers) == []
    assert {"server", "aiohttp_session"} <= {field.name for field in dataclasses.fields(kopf.AiohttpSession)}


def test_kopf_uses_nothing_of_a_session_and_of_a_list_that_ours_lack():
    sources = "".join(path.read_text() for path in (Path(kopf.__file__).parent / "_cogs" / "clients").glob("*.py"))
    assert set(re.findall(r"\bsession\.(\w+)", sources)) <= {"headers", "request", "closed", "close"}
    assert re.findall(r"response\.(\w+)", inspect.getsource(api.get)) == ["json"]
    assert inspect.getsource(fetch_objs).count("await api.get(") == 1


def test_kopf_names_the_tasks_that_watch():
    assert f'name=f"{_WATCH_TASK}' in inspect.getsource(orchestration.spawn_missing_watchers)


async def test_sessions_with_the_same_credentials_are_equal_so_that_kopf_does_not_try_refused_ones_again():
    async def begin(_: WatchHandler) -> str:
        return ""

    sessions = [_Session(connection(token), {}, begin) for token in ("a", "a", "b")]
    first, same, other = (
        kopf.AiohttpSession(server="", aiohttp_session=cast("aiohttp.ClientSession", each)) for each in sessions
    )
    assert first == same
    assert first != other
    for each in sessions:
        await each.close()
        assert each.closed


async def test_a_list_is_answered_at_the_operators_own_version_wherever_the_api_server_stands():
    async def begin(handler: WatchHandler) -> str:
        return f"of {handler.resource.plural}"

    session = _Session(connection(), {"/api/v1/pods": handler()}, begin)
    response = await session.request("get", "https://example.com/prefix/api/v1/pods?limit=500")

    assert await response.json() == {"metadata": {"resourceVersion": "of pods"}, "items": []}
    await session.close()
