"""What a person may see of the cluster, as the inventory that decisions read.

A project's developer may read one namespace, a viewer a few, an administrator all. What cannot be read is stated and
never guessed: an answer without it is still correct about what it names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

from scoped_secrets import names
from scoped_secrets.core.scope.binding import Binding, binding_of
from scoped_secrets.errors import ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.locations import location_of
from scoped_secrets.kube.pipelining import gather
from scoped_secrets.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from scoped_secrets.core.inventory import Inventory

__all__ = ["ClusterView", "Collected", "Reach", "read_readable", "read_view"]

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


@dataclass(slots=True)
class Collected:
    """The objects of one kind, and what could not be read."""

    items: list[Body] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


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
    return ClusterView(
        bodies={location_of(body): body for body in definitions.items},
        namespaces={body["metadata"]["name"]: binding_of(body, reach.organization) for body in namespaces.items},
        policies=policies.items,
        unread=(*namespaces.unread, *definitions.unread, *policies.unread),
    )


async def _nothing() -> Collected:
    return Collected()


async def _namespaces(cluster: Cluster, reach: Reach) -> Collected:
    """Return the metadata of all namespaces, of the one that is asked for, or of those that the person may read."""
    if reach.namespace is None:
        try:
            return Collected(await cluster.list_all(paths.namespaces(), metadata_only=True))
        except ForbiddenError:
            found = Collected(unread=["the labels of other namespaces"])
    else:
        found = Collected()
    for namespace in reach.known if reach.namespace is None else (reach.namespace,):
        try:
            body = await cluster.get(paths.namespaces(namespace), metadata_only=True)
        except ForbiddenError:
            found.unread.append(f"the labels of namespace '{namespace}'")
            continue
        if body is not None:
            found.items.append(body)
    return found


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
    if reach.namespace is None:
        try:
            return Collected(await _selected(cluster, collection(None), selectors, reach.selector))
        except ForbiddenError:
            found = Collected(unread=[f"the {what} of other namespaces"])
    else:
        found = Collected()
    for namespace in reach.known if reach.namespace is None else (reach.namespace,):
        try:
            found.items += await _selected(cluster, collection(namespace), selectors, reach.selector)
        except ForbiddenError:
            found.unread.append(f"the {what} of namespace '{namespace}'")
    return found


async def _selected(cluster: Cluster, path: str, selectors: Sequence[str], labels: str) -> list[Body]:
    lists = await gather(
        *(cluster.list_all(path, field_selector=selector, label_selector=labels) for selector in selectors)
    )
    return list({location_of(body): body for items in lists for body in items}.values())
