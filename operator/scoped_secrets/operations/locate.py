"""Find the stored object that a person means: by its name or by the name of its bundle, and by where it applies."""

from dataclasses import dataclass
from typing import Final

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.scope.slot import Slot
from scoped_secrets.errors import ClusterError, ConfigurationError
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.messages import quoted_names
from scoped_secrets.operations.cluster_view import ClusterView, Reach, read_view
from scoped_secrets.operations.place import PlaceRequest, matches_place

__all__ = ["Located", "locate", "locate_all", "slot_of"]

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Located:
    """A stored object, and the definitions and policies around it.

    Attributes:
        body: The object.
        view: What the person may see; it has the definitions of the same bundle.
    """

    body: Body
    view: ClusterView

    @property
    def namespace(self) -> str:
        """Return the object's namespace."""
        return str(self.body["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Return the object's name."""
        return str(self.body["metadata"]["name"])

    @property
    def location(self) -> str:
        """Return `namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def secret_name(self) -> str:
        """Return the name of the bundle."""
        return str(self.body["spec"].get("secretName") or self.name)


async def locate(cluster: Cluster, name: str, request: PlaceRequest, *, policies: bool = True) -> Located:
    """Return the one object that a person means.

    Args:
        cluster: The client.
        name: The name of the object or of its bundle.
        request: What is stated about its place.
        policies: Whether policies are read too.

    Raises:
        ConfigurationError: Several objects fit.
        ClusterError: No object fits, or a request failed.
    """
    view = await read_view(cluster, Reach(request.known, name, policies=policies))
    fitting = sorted(
        location
        for location, body in view.bodies.items()
        if name in (body["metadata"]["name"], body["spec"].get("secretName"))
        and matches_place(body, view.binding(body["metadata"]["namespace"]), request)
    )
    is_stated = request.organization or request.project or request.environment or request.namespace
    if len(fitting) > 1:
        # The name of an object is what kubectl takes, so it comes before that of a bundle.
        exact = [each for each in fitting if each.endswith(f"/{name}")]
        here = [each for each in exact or fitting if each.startswith(f"{request.current}/") and not is_stated]
        fitting = here or (exact if len(exact) == 1 and is_stated else fitting)
    if not fitting:
        unread = f"; you may not read {' and '.join(view.unread)}" if view.unread else ""
        raise ClusterError(f"no ScopedSecret '{name}' is there{unread}; see `scoped-secrets get -A` for what is")
    if len(fitting) > 1:
        raise ConfigurationError(
            f"several ScopedSecrets fit: {quoted_names(fitting, _NAMED)}; choose one with -n and its own name"
        )
    located = Located(view.bodies[fitting[0]], view)
    if located.secret_name == name:
        return located
    # The name was that of the object, so the other definitions of its bundle are still to be read.
    return Located(located.body, await read_view(cluster, Reach(request.known, located.secret_name, policies=policies)))


async def locate_all(cluster: Cluster, selector: str, request: PlaceRequest) -> tuple[list[Located], tuple[str, ...]]:
    """Return every object with labels, in the order of names, and what could not be read.

    Args:
        cluster: The client.
        selector: The labels, as in kubectl.
        request: What is stated about the place.

    Raises:
        ClusterError: No object fits, or a request failed.
    """
    reach = Reach(request.known, selector=selector, namespace=request.namespace, policies=False)
    view = await read_view(cluster, reach)
    found = [
        Located(body, view)
        for _, body in sorted(view.bodies.items())
        if matches_place(body, view.binding(body["metadata"]["namespace"]), request)
    ]
    if not found:
        unread = f"; you may not read {' and '.join(view.unread)}" if view.unread else ""
        raise ClusterError(f"no ScopedSecret there has the labels '{selector}'{unread}; see `scoped-secrets get -A`")
    return found, view.unread


def slot_of(location: str, inventory: Inventory) -> Slot | None:
    """Return the slot of a stored definition, ``None`` when its namespace may not hold it or cannot be read."""
    entry = inventory.get(location)
    return entry.slot if isinstance(entry, SlottedDefinition) else None
