"""The list of definitions, by name; no value is ever read."""

from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.kube.client import Body
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.operations.cluster_view import ClusterView
from scoped_secrets.operations.place import PlaceRequest, matches_place

__all__ = ["Row", "listed"]


@dataclass(frozen=True, slots=True)
class Row:
    """One definition in a list.

    Attributes:
        location: Its `namespace/name`.
        secret_name: The name of the bundle.
        scope: The scope.
        project: The project; empty at organization scope, or when it is not known.
        environment: The environment or pattern; empty at other scopes.
        variables: The number of variables.
        files: The number of files.
        uid: The identity of the object.
        created: When it was created, as the API server writes it.
        ready: The condition Ready: `True`, `False` with the reason, or `Unknown` before the controller has seen it.
    """

    location: str
    secret_name: str
    scope: str
    project: str
    environment: str
    variables: int
    files: int
    uid: str
    created: str
    ready: str


def listed(view: ClusterView, request: PlaceRequest) -> list[Row]:
    """Return the definitions at a place, in the order of their names."""
    return [
        _row(location, body, binding)
        for location, body in sorted(view.bodies.items())
        if matches_place(body, binding := view.binding(body["metadata"]["namespace"]), request)
    ]


def _row(location: str, body: Body, binding: Binding | None) -> Row:
    metadata, spec = body["metadata"], body["spec"]
    bound = "" if binding is None or spec["scope"] == "Organization" else binding.project or ""
    return Row(
        location=location,
        secret_name=spec.get("secretName") or metadata["name"],
        scope=spec["scope"],
        project=spec.get("project") or bound,
        environment=spec.get("environment") or "",
        variables=len(spec.get("env") or ()),
        files=len(spec.get("files") or ()),
        uid=str(metadata.get("uid", "")),
        created=str(metadata.get("creationTimestamp", "")),
        ready=_ready(body),
    )


def _ready(body: Body) -> str:
    conditions = (body.get("status") or {}).get("conditions") or ()
    for condition in conditions:
        if condition.get("type") == "Ready":
            status = str(condition.get("status", "Unknown"))
            return status if status == "True" else f"{status} ({condition.get('reason', '')})"
    return "Unknown"
