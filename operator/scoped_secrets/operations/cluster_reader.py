"""The state of a cluster, read with the rights of the person who asks.

A person who may list everything gets the whole state. Otherwise each namespace is read on its own, and what cannot be
read is part of the result: an answer from an incomplete state says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.errors import ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.decoding import Decoder
from scoped_secrets.kube.pipelining import gather
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["ClusterState", "GivenSettings", "Unread", "read_cluster"]

_COMPONENT: Final = "app.kubernetes.io/component=admission"
_READ_FLAGS: Final = frozenset({"--default-access", "--default-home", "--organization"})


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """The settings of the operator as far as the person states them; the others are read from its Deployment."""

    operator_namespace: str = names.DEFAULT_NAMESPACE
    organization: str | None = None
    default_access: Access | None = None
    default_home: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that decides about jobs and could not be read.

    Attributes:
        what: What it is, such as `ScopedSecret objects of namespace 'web'`.
        namespace: Where it is; ``None`` when it may concern any job.
    """

    what: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What was read.

    Attributes:
        inventory: Bindings, definitions and policies.
        settings: The operator's settings.
        unread: What could not be read; empty for a complete state.
        assumed: Settings that are taken from their defaults, because the operator's Deployment cannot be read.
    """

    inventory: Inventory
    settings: DecisionSettings
    unread: tuple[Unread, ...] = ()
    assumed: tuple[str, ...] = ()

    def unread_about(self, namespace: str) -> tuple[Unread, ...]:
        """Return what could not be read and may change a decision about the jobs of a namespace.

        Objects of other organizations and of other projects never do.
        """
        job = self.inventory.binding(namespace)

        def may_matter(unread: Unread) -> bool:
            binding = None if unread.namespace is None else self.inventory.binding(unread.namespace)
            if job is None or binding is None:
                return True
            return binding.organization == job.organization and binding.project in (None, job.project)

        return tuple(filter(may_matter, self.unread))


async def read_cluster(cluster: Cluster, given: GivenSettings, namespaces: Sequence[str] = ()) -> ClusterState:
    """Read everything that decides about jobs, as far as the person may.

    Args:
        cluster: The client.
        given: The settings that the person states.
        namespaces: The namespaces that the question names, which are read on their own if all cannot be.

    Raises:
        ClusterError: The API server does not answer.
    """
    unread: list[Unread] = []
    (settings, organization, assumed), found, definitions, policies = await gather(
        _settings(cluster, given),
        _namespaces(cluster, namespaces, unread),
        _listed(cluster, paths.scoped_secrets()),
        _listed(cluster, paths.secret_policies()),
    )
    decoder = Decoder(organization, keep_sealed=False, trusts_status=True)
    inventory = Inventory()
    bindings = {body["metadata"]["name"]: decoder.binding(body) for body in found}
    for name, binding in bindings.items():
        inventory.put_binding(name, binding, 0.0)
    bound = sorted(name for name, binding in bindings.items() if binding is not None)
    if definitions is None:
        definitions = await _by_namespace(cluster, names.SCOPED_SECRET_KIND, bound, unread)
    if policies is None:
        policies = await _by_namespace(cluster, names.SECRET_POLICY_KIND, bound, unread)
    for body in definitions:
        definition, _ = decoder.definition(body)
        if definition is not None:
            inventory.put_definition(definition, 0.0)
    for body in policies:
        policy, _ = decoder.policy(body)
        inventory.put_policy(policy)
    return ClusterState(inventory, settings, tuple(unread), assumed)


async def _namespaces(cluster: Cluster, wanted: Sequence[str], unread: list[Unread]) -> list[Body]:
    try:
        return await cluster.list_all(paths.namespaces(), metadata_only=True)
    except ForbiddenError:
        unread.append(Unread("the list of namespaces, whose labels tell scopes"))
    found = []
    for name in dict.fromkeys(wanted):
        try:
            body = await cluster.get(paths.namespaces(name), metadata_only=True)
        except ForbiddenError:
            unread.append(Unread(f"namespace '{name}'", name))
        else:
            found += [] if body is None else [body]
    return found


async def _listed(cluster: Cluster, path: str) -> list[Body] | None:
    """Return all objects of a collection, ``None`` when the person may not list them."""
    try:
        return await cluster.list_all(path)
    except ForbiddenError:
        return None


async def _by_namespace(cluster: Cluster, kind: str, namespaces: Sequence[str], unread: list[Unread]) -> list[Body]:
    """Return the objects of a kind in the namespaces that the person may read."""
    path = paths.scoped_secrets if kind == names.SCOPED_SECRET_KIND else paths.secret_policies
    lists = await gather(*(_listed(cluster, path(namespace)) for namespace in namespaces))
    found: list[Body] = []
    for namespace, bodies in zip(namespaces, lists, strict=True):
        if bodies is None:
            unread.append(Unread(f"{kind} objects of namespace '{namespace}'", namespace))
        found += bodies or ()
    return found


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
    if texts.get("--default-access") in tuple(Access):
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
    return {flag: value for flag, value in pairs if flag in _READ_FLAGS}
