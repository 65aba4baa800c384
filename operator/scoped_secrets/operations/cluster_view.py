"""What a person may see of the cluster, as the inventory that decisions read.

A project's developer may read one namespace, a viewer a few, an administrator all. What cannot be read is stated and
never guessed: an answer without it is still correct about what it names, and says so.

`read_view` reads what a question about definitions needs, and `read_cluster` everything that decides about jobs.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from scoped_secrets import names
from scoped_secrets.core.scope.binding import Binding, binding_of
from scoped_secrets.errors import ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.locations import location_of
from scoped_secrets.kube.pipelining import gather
from scoped_secrets.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from scoped_secrets.core.decide import DecisionSettings
    from scoped_secrets.core.inventory import Inventory
    from scoped_secrets.operations.operator_settings import GivenSettings

__all__ = [
    "ClusterState",
    "ClusterView",
    "Collected",
    "Reach",
    "Unread",
    "read_cluster",
    "read_readable",
    "read_view",
]

# A view has no history.
_NOW: Final = 0.0
_Collection: TypeAlias = Callable[[str | None], str]


@dataclass(frozen=True, slots=True)
class Reach:
    """What is read.

    Attributes:
        known: Namespaces to read where the person may not list those of the whole cluster.
        secret_name: Only the definitions of this bundle, and the object of this name; ``None`` for all.
        selector: Only the definitions with these labels.
        namespace: Only this namespace with its definitions and policies; ``None`` for all.
        definitions: Whether definitions are read.
        policies: Whether policies are read.
        organization: The organization of namespaces that have only a project.
    """

    known: tuple[str, ...] = ()
    secret_name: str | None = None
    selector: str = ""
    namespace: str | None = None
    definitions: bool = True
    policies: bool = True
    organization: str = names.DEFAULT_ORGANIZATION


# Without slots: the inventory is kept in the object.
@dataclass(frozen=True)
class ClusterView:
    """What a person may see.

    Attributes:
        bodies: The ScopedSecrets by `namespace/name`, with statuses and sealed texts.
        namespaces: The scope paths of the namespaces by name, ``None`` for those without one.
        policies: The SecretPolicies.
        unread: What could not be read, as parts of sentences.
    """

    bodies: Mapping[str, Body] = field(default_factory=dict)
    namespaces: Mapping[str, Binding | None] = field(default_factory=dict)
    policies: Sequence[Body] = ()
    unread: tuple[str, ...] = ()

    @cached_property
    def inventory(self) -> "Inventory":
        """Return namespaces, definitions and policies as decisions read them; a list does not need it."""
        # Imported here: the models take longer to load than a list to print.
        from scoped_secrets.core.inventory import Inventory  # noqa: PLC0415
        from scoped_secrets.kube.decoding import Decoder  # noqa: PLC0415

        inventory = Inventory()
        decoder = Decoder(names.DEFAULT_ORGANIZATION, keep_sealed=False, trusts_status=True)
        for name, binding in self.namespaces.items():
            inventory.put_binding(name, binding, _NOW)
        for body in self.bodies.values():
            definition, _ = decoder.definition(body)
            if definition is not None:
                inventory.put_definition(definition, _NOW)
        for body in self.policies:
            inventory.put_policy(decoder.policy(body)[0])
        return inventory

    @property
    def bindings(self) -> Sequence[Binding]:
        """Return the scope paths of the namespaces, in the order of their names."""
        return [binding for _, binding in sorted(self.namespaces.items()) if binding is not None]

    def binding(self, namespace: str) -> Binding | None:
        """Return the scope path of a namespace, ``None`` when it has none or could not be read."""
        return self.namespaces.get(namespace)


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that decides about jobs and could not be read.

    Attributes:
        what: What it is, such as `the ScopedSecrets of namespace 'web'`, as part of a sentence.
        namespace: Where it is; ``None`` when it may concern any job.
    """

    what: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Everything that decides about jobs, as far as the person may read it.

    Attributes:
        inventory: Bindings, definitions and policies.
        settings: The operator's settings.
        unread: What could not be read; empty for a complete state.
        assumed: Settings that are taken from their defaults, because the operator's Deployment cannot be read.
    """

    inventory: "Inventory"
    settings: "DecisionSettings"
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


@dataclass(slots=True)
class Collected:
    """The objects of one kind, and what could not be read."""

    items: list[Body] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


async def read_view(cluster: Cluster, reach: Reach) -> ClusterView:
    """Read what the person may see.

    Raises:
        ClusterError: A request failed for another reason than missing rights.
    """
    namespaces, definitions, policies = await gather(
        _namespaces(cluster, reach),
        _definitions(cluster, reach) if reach.definitions else _nothing(),
        _policies(cluster, reach) if reach.policies else _nothing(),
    )
    return _view(namespaces, definitions, policies, reach.organization)


async def read_cluster(cluster: Cluster, given: "GivenSettings", namespaces: Sequence[str] = ()) -> ClusterState:
    """Read everything that decides about jobs, as far as the person may.

    Args:
        cluster: The client.
        given: The settings that the person states.
        namespaces: The namespaces that the question names, which are read on their own if all cannot be.

    Raises:
        ClusterError: The API server does not answer.
    """
    # Imported here: they bring the whole decision along, which lists and `create` do not need.
    from scoped_secrets.operations.operator_settings import read_settings  # noqa: PLC0415

    settings, found, *listed = await gather(
        read_settings(cluster, given),
        _namespaces(cluster, Reach(tuple(dict.fromkeys(namespaces)))),
        _allowed(cluster.list_all(paths.scoped_secrets())),
        _allowed(cluster.list_all(paths.secret_policies())),
    )
    bindings = _bindings(found, settings.organization)
    bound = sorted(name for name, binding in bindings.items() if binding is not None)
    definitions, policies = await gather(
        _everywhere(cluster, paths.scoped_secrets, "ScopedSecrets", listed[0], bound),
        _everywhere(cluster, paths.secret_policies, "SecretPolicies", listed[1], bound),
    )
    parts = (found, definitions, policies)
    inventory = _view(*parts, settings.organization).inventory
    unread = tuple(each for part in parts for each in part.unread)
    return ClusterState(inventory, settings.decision, unread, settings.assumed)


def _view(namespaces: Collected, definitions: Collected, policies: Collected, organization: str) -> ClusterView:
    return ClusterView(
        bodies={location_of(body): body for body in definitions.items},
        namespaces=_bindings(namespaces, organization),
        policies=policies.items,
        unread=tuple(each.what for part in (namespaces, definitions, policies) for each in part.unread),
    )


def _bindings(namespaces: Collected, organization: str) -> dict[str, Binding | None]:
    return {body["metadata"]["name"]: binding_of(body, organization) for body in namespaces.items}


async def _nothing() -> Collected:
    return Collected()


async def _namespaces(cluster: Cluster, reach: Reach) -> Collected:
    """Return the metadata of all namespaces, of the one that is asked for, or of those that the person may read."""

    async def read(namespace: str) -> list[Body]:
        body = await cluster.get(paths.namespaces(namespace), metadata_only=True)
        return [] if body is None else [body]

    if reach.namespace is not None:
        return await _each((reach.namespace,), read, "labels")
    found = await _allowed(cluster.list_all(paths.namespaces(), metadata_only=True))
    if found is not None:
        return Collected(found)
    return _without_others("labels", await _each(reach.known, read, "labels"))


async def _definitions(cluster: Cluster, reach: Reach) -> Collected:
    selectors = (
        [""]
        if reach.secret_name is None
        # The name of the bundle is the name of the object by default.
        else [f"metadata.name={reach.secret_name}", f"spec.secretName={reach.secret_name}"]
    )
    return await read_readable(cluster, paths.scoped_secrets, selectors, reach, "ScopedSecrets")


async def _policies(cluster: Cluster, reach: Reach) -> Collected:
    return await read_readable(cluster, paths.secret_policies, [""], replace(reach, selector=""), "SecretPolicies")


async def read_readable(
    cluster: Cluster, collection: _Collection, selectors: Sequence[str], reach: Reach, what: str
) -> Collected:
    """Return the objects of the whole cluster or, without this right, of the known namespaces.

    Args:
        cluster: The client.
        collection: Returns the path of a kind's objects in a namespace, or in all for ``None``.
        selectors: The field selectors, of which an object matches one.
        reach: What is read.
        what: The words for the objects.

    Raises:
        ClusterError: A request failed for another reason than missing rights.
    """

    async def read(namespace: str | None) -> list[Body]:
        path = collection(namespace)
        lists = await gather(
            *(cluster.list_all(path, field_selector=each, label_selector=reach.selector) for each in selectors)
        )
        return list({location_of(body): body for items in lists for body in items}.values())

    if reach.namespace is not None:
        return await _each((reach.namespace,), read, what)
    found = await _allowed(read(None))
    return Collected(found) if found is not None else _without_others(what, await _each(reach.known, read, what))


async def _everywhere(
    cluster: Cluster, collection: _Collection, what: str, found: list[Body] | None, namespaces: Sequence[str]
) -> Collected:
    """Return the objects of the whole cluster if they were read, otherwise those of each namespace."""
    if found is not None:
        return Collected(found)
    return await _each(namespaces, lambda namespace: cluster.list_all(collection(namespace)), what)


async def _each(
    namespaces: Sequence[str], read: Callable[[str], Coroutine[Any, Any, list[Body]]], what: str
) -> Collected:
    """Return what can be read in each of several namespaces."""
    found = Collected()
    lists = await gather(*(_allowed(read(namespace)) for namespace in namespaces))
    for namespace, items in zip(namespaces, lists, strict=True):
        if items is None:
            found.unread.append(Unread(f"the {what} of namespace '{namespace}'", namespace))
        found.items += items or ()
    return found


def _without_others(what: str, found: Collected) -> Collected:
    return Collected(found.items, [Unread(f"the {what} of other namespaces"), *found.unread])


async def _allowed(reading: Coroutine[Any, Any, list[Body]]) -> list[Body] | None:
    """Return what is read, ``None`` when the person may not read it."""
    try:
        return await reading
    except ForbiddenError:
        return None
