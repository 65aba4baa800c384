"""Where a definition goes: its scope and its namespace, from what a person states and the labels of namespaces.

A person names an organization, a project and an environment, as in a CI system. The labels of the namespaces tell which
namespace that is, so that a person states a namespace only to choose between several (DESIGN section 3).
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import Scope, Slot, assign_slot
from scoped_secrets.core.scope.trust import Trust
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.messages import quoted_names

__all__ = ["Place", "PlaceRequest", "choose_place", "matches_place", "object_name"]

_NAMED: Final = 5
_NO_LABEL: Final = re.compile(r"[^a-z0-9]+")
_OWN_SCOPES: Final = {
    Trust.HOME: Scope.ORGANIZATION,
    Trust.PROJECT: Scope.PROJECT,
    Trust.ENVIRONMENT: Scope.ENVIRONMENT,
}


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """What a person states about the place of a definition.

    Attributes:
        organization: The organization; ``None`` for the one that the labels tell.
        project: The project; ``None`` for none, or for the one of the namespace.
        environment: The environment or a pattern; ``None`` for none, or for the one of the namespace.
        namespace: The namespace; ``None`` for the one that the labels tell.
        current: The namespace of the kubeconfig's context: it decides between several that the labels allow.
    """

    organization: str | None = None
    project: str | None = None
    environment: str | None = None
    namespace: str | None = None
    current: str = ""

    @property
    def known(self) -> tuple[str, ...]:
        """Return the namespace to read where the person may not read the whole cluster."""
        namespace = self.namespace or self.current
        return (namespace,) if namespace else ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a definition goes.

    Attributes:
        binding: The scope path of the namespace.
        scope: The scope.
        project: The project; ``None`` at organization scope.
        environment: The environment or pattern; ``None`` at other scopes.
    """

    binding: Binding
    scope: Scope
    project: str | None
    environment: str | None

    @property
    def namespace(self) -> str:
        """Return the namespace."""
        return self.binding.namespace

    def slot(self, secret_name: str) -> Slot:
        """Return the slot of a definition here.

        Raises:
            DeniedError: The namespace may not define this.
        """
        return assign_slot(self.binding, self.scope, self.project, self.environment, secret_name)

    def __str__(self) -> str:
        """Return the words for the place in a message."""
        parts = [f"organization '{self.binding.organization}'"]
        if self.project is not None:
            parts.append(f"project '{self.project}'")
        if self.environment is not None:
            parts.append(f"environment '{self.environment}'")
        return ", ".join(parts)


def choose_place(request: PlaceRequest, bindings: Collection[Binding]) -> Place:
    """Return the place that a person means.

    Args:
        request: What the person states.
        bindings: The scope paths of the namespaces that the person may read.

    Raises:
        ConfigurationError: No namespace fits, or several do.
    """
    if request.namespace is not None:
        return _place(_stated(request, request.namespace, bindings), request)
    fitting = _fitting(request, _of_organization(request, bindings))
    chosen = [binding for binding in fitting if binding.namespace == request.current] or fitting
    if len(chosen) > 1:
        listed = quoted_names((binding.namespace for binding in chosen), _NAMED)
        raise ConfigurationError(f"several namespaces can hold it: {listed}; choose one with -n")
    if not chosen:
        raise ConfigurationError(f"{_missing(request)}; give the namespace with -n, or the labels of one to its owner")
    return _place(chosen[0], request)


def object_name(secret_name: str, place: Place) -> str:
    """Return the name of the object for a bundle: unique in a namespace that holds definitions of several scopes.

    It is the bundle's name where the namespace has the scope of the definition, and ends with project and environment
    elsewhere: `aws` of project web in the organization's home is `aws-web`.
    """
    parts = [secret_name.lower().replace("_", "-")]
    if place.scope is not _OWN_SCOPES[place.binding.trust]:
        if place.binding.project is None and place.project is not None:
            parts.append(_as_name(place.project))
        if place.environment is not None:
            parts.append(_as_name(place.environment))
    return "-".join(parts)


def matches_place(body: Mapping[str, Any], binding: Binding | None, request: PlaceRequest) -> bool:
    """Tell whether an object is where a person looks for it.

    Args:
        body: The ScopedSecret.
        binding: The scope path of its namespace.
        request: What the person states.
    """
    return all(_matching(body, binding, request))


def _matching(body: Mapping[str, Any], binding: Binding | None, request: PlaceRequest) -> Iterator[bool]:
    metadata, spec = body["metadata"], body["spec"]
    yield request.namespace in (None, metadata["namespace"])
    yield request.environment in (None, spec.get("environment"))
    if request.organization is not None:
        yield binding is not None and binding.organization == request.organization
    if request.project is not None:
        project = spec.get("project") or (None if binding is None else binding.project)
        yield spec["scope"] != "Organization" and project == request.project


def _stated(request: PlaceRequest, namespace: str, bindings: Collection[Binding]) -> Binding:
    """Return the scope path of the namespace that a person states."""
    for binding in bindings:
        if binding.namespace == namespace:
            if request.organization not in (None, binding.organization):
                raise ConfigurationError(
                    f"--organization must be '{binding.organization}', as the label of namespace '{namespace}' says; "
                    "leave it out"
                )
            return binding
    if request.organization is None:
        raise ConfigurationError(
            f"namespace '{namespace}' has no scope path, or you may not read it; ask an administrator for its labels, "
            "or state them with --organization, --project and --environment"
        )
    # Admission compares what was stated with the labels: a text that is sealed for another place is denied.
    return Binding(namespace, request.organization, request.project)


def _place(binding: Binding, request: PlaceRequest) -> Place:
    environment = request.environment or binding.environment
    project = request.project or binding.project
    if environment is not None:
        if project is None:
            raise ConfigurationError("--project must name the project of --environment")
        return Place(binding, Scope.ENVIRONMENT, project, environment)
    return Place(binding, Scope.ORGANIZATION if project is None else Scope.PROJECT, project, None)


def _of_organization(request: PlaceRequest, bindings: Collection[Binding]) -> Sequence[Binding]:
    """Return the namespaces of the stated organization; by default of the present namespace's, or all."""
    present = next((binding.organization for binding in bindings if binding.namespace == request.current), None)
    organization = request.organization or present
    return [binding for binding in bindings if organization in (None, binding.organization)]


def _fitting(request: PlaceRequest, bindings: Sequence[Binding]) -> list[Binding]:
    homes = [binding for binding in bindings if binding.trust is Trust.HOME]
    if request.project is None:
        if request.environment is not None:
            raise ConfigurationError("--project must name the project of --environment")
        return homes
    of_project = [binding for binding in bindings if binding.project == request.project]
    if request.environment is not None:
        own = [binding for binding in of_project if binding.environment == request.environment]
        if own:
            return own
    plain = [binding for binding in of_project if binding.environment is None]
    # A project whose namespaces all have environments: only the home can define for all of it.
    return plain or (homes if of_project else [])


def _missing(request: PlaceRequest) -> str:
    if request.project is not None:
        return f"no namespace that you may read has the label of project '{request.project}'"
    return "no namespace that you may read is the home of an organization; give --project for a project's secret"


def _as_name(text: str) -> str:
    return _NO_LABEL.sub("-", text.lower()).strip("-") or "any"
