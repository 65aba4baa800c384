"""The installed kopf has everything that the adapter relies on: an incompatible version fails here, not in a cluster.

A version outside of the pinned range fails the first test. Before the range is moved, the others tell what changed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
import inspect
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import kopf
import pytest
from kopf._cogs.structs.references import Insights, Selector
from kopf._core.engines.peering import Identity
from kopf._core.reactor.inventory import ResourceMemories
from packaging.requirements import Requirement

from scoped_secrets.kube.kopf_adapter import watch_settings
from scoped_secrets.kube.resources import PODS
from scoped_secrets.kube.watch_handlers import WatchHandler

if TYPE_CHECKING:
    from collections.abc import Callable

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


def test_a_login_handler_can_return_every_field_of_a_connection():
    fields = {field.name for field in dataclasses.fields(kopf.ConnectionInfo)}
    assert {
        "server",
        "ca_path",
        "insecure",
        "certificate_path",
        "private_key_path",
        "scheme",
        "token",
        "proxy_url",
    } <= (fields)
