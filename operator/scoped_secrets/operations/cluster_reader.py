"""The state of a cluster, read with the rights of the person who asks.

A person who may list everything gets the whole state. Otherwise each namespace is read on its own, and what cannot be
read is part of the result: an answer from an incomplete state says so.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.errors import ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.decoding import Decoder

__all__ = ["ClusterState", "GivenSettings", "read_cluster"]

_COMPONENT: Final = "app.kubernetes.io/component=admission"
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """The settings of the operator as far as the person states them; the others are read from its Deployment."""

    operator_namespace: str = names.DEFAULT_NAMESPACE
    organization: str | None = None
    default_access: Access | None = None
    default_home: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What was read.

    Attributes:
        inventory: Bindings, definitions and policies.
        settings: The operator's settings.
        unread: What could not be read and may change an answer, one phrase each; empty for a complete state.
        assumed: Settings that are taken from their defaults, because the operator's Deployment cannot be read.
    """

    inventory: Inventory
    settings: DecisionSettings
    unread: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


async def read_cluster(cluster: Cluster, given: GivenSettings, namespaces: Sequence[str] = ()) -> ClusterState:
    """Read everything that decides about jobs, as far as the person may.

    Args:
        cluster: The client.
        given: The settings that the person states.
        namespaces: The namespaces that the question names, which are read on their own if all cannot be.

    Raises:
        ClusterError: The API server does not answer.
    """
    settings, organization, assumed = await _settings(cluster, given)
    unread: list[str] = []
    found = await _namespaces(cluster, namespaces, unread)
    decoder = Decoder(organization, keep_sealed=False)
    inventory = Inventory()
    bindings = {body["metadata"]["name"]: decoder.binding(body) for body in found}
    for name, binding in bindings.items():
        inventory.put_binding(name, binding, 0.0)
    bound = sorted(name for name, binding in bindings.items() if binding is not None)
    for body in await _objects(cluster, names.SCOPED_SECRET_KIND, bound, unread):
        definition, _ = decoder.definition(body)
        if definition is not None:
            inventory.put_definition(definition, 0.0)
    for body in await _objects(cluster, names.SECRET_POLICY_KIND, bound, unread):
        policy, _ = decoder.policy(body)
        inventory.put_policy(policy)
    return ClusterState(inventory, settings, tuple(unread), assumed)


async def _namespaces(cluster: Cluster, wanted: Sequence[str], unread: list[str]) -> list[Body]:
    try:
        return await cluster.list_all(paths.namespaces(), metadata_only=True)
    except ForbiddenError:
        unread.append("the list of namespaces, whose labels tell scopes")
    found = []
    for name in dict.fromkeys(wanted):
        try:
            body = await cluster.get(paths.namespaces(name), metadata_only=True)
        except ForbiddenError:
            unread.append(f"namespace '{name}'")
        else:
            found += [] if body is None else [body]
    return found


async def _objects(cluster: Cluster, kind: str, namespaces: Sequence[str], unread: list[str]) -> list[Body]:
    """Return the objects of a kind: all, or those of the namespaces that the person may read."""
    path = paths.scoped_secrets if kind == names.SCOPED_SECRET_KIND else paths.secret_policies
    try:
        return await cluster.list_all(path())
    except ForbiddenError:
        pass

    async def listed(namespace: str) -> list[Body] | None:
        try:
            return await cluster.list_all(path(namespace))
        except ForbiddenError:
            return None

    results = dict(zip(namespaces, await asyncio.gather(*map(listed, namespaces)), strict=True))
    forbidden = [namespace for namespace, bodies in results.items() if bodies is None]
    if forbidden or not namespaces:
        more = f" and {len(forbidden) - _SHOWN} more" if len(forbidden) > _SHOWN else ""
        shown = ", ".join(f"'{namespace}'" for namespace in forbidden[:_SHOWN])
        unread.append(f"{kind} objects of namespace {shown}{more}" if forbidden else f"{kind} objects")
    return [body for bodies in results.values() for body in bodies or ()]


async def _settings(cluster: Cluster, given: GivenSettings) -> tuple[DecisionSettings, str, tuple[str, ...]]:
    """Return the settings, the default organization, and the flags that are assumed."""
    stated = {
        "--organization": given.organization,
        "--default-access": given.default_access,
        "--default-home": given.default_home,
    }
    arguments: Mapping[str, str] | None = {}
    if not all(stated.values()):
        arguments = await _arguments(cluster, given.operator_namespace)
    assumed = () if arguments is not None else tuple(flag for flag, value in stated.items() if value is None)
    texts = {**(arguments or {}), **{flag: value for flag, value in stated.items() if value is not None}}
    settings = DecisionSettings()
    if "--default-access" in texts:
        settings = replace(settings, access=Access(texts["--default-access"]))
    if "--default-home" in texts:
        settings = replace(settings, default_home=texts["--default-home"])
    return settings, texts.get("--organization", names.DEFAULT_ORGANIZATION), assumed


async def _arguments(cluster: Cluster, namespace: str) -> Mapping[str, str] | None:
    """Return the flags of the admission server's Deployment; ``None`` when there is none that can be read."""
    try:
        bodies = await cluster.list_all(paths.deployments(namespace), label_selector=_COMPONENT)
    except ForbiddenError:
        return None
    if not bodies:
        return None
    return _flags(bodies[0])


def _flags(body: Mapping[str, Any]) -> Mapping[str, str]:
    containers = body["spec"]["template"]["spec"]["containers"]
    arguments = [str(argument) for argument in containers[0].get("args") or ()]
    pairs = (argument.split("=", 1) for argument in arguments if argument.startswith("--") and "=" in argument)
    return {flag: value for flag, value in pairs if flag in ("--default-access", "--default-home", "--organization")}
