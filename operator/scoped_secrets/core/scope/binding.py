"""The scope path that administrators give to a namespace by its labels (DESIGN section 3)."""

from collections.abc import Mapping
from typing import Any

from scoped_secrets import names
from scoped_secrets.core.scope.trust import Trust
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["Binding", "bind", "binding_of"]

_SCOPE_LABELS = (names.ORGANIZATION_LABEL, names.PROJECT_LABEL, names.ENVIRONMENT_LABEL)


@dataclass(frozen=True, slots=True)
class Binding:
    """The scope path of a namespace, written by administrators."""

    namespace: str
    organization: str
    project: str | None = None
    environment: str | None = None
    allow_environments: tuple[str, ...] = ()
    secrets: str = ""
    """The namespace's references, which apply to each of its pods (DESIGN section 4, rule B)."""
    run_as_user: str | None = None
    """The annotation that states the user of containers which do not state it themselves."""
    home: str | None = None
    """The annotation that states the home directory of containers which do not state it themselves."""
    allows_project_attach: bool = False
    """Whether the jobs of an environment's namespace get what the project attaches to all of its jobs."""
    attach_paths: tuple[str, ...] = ()
    """The absolute paths below which attached bundles may have files: in its jobs or, of the home, in all jobs."""

    @property
    def trust(self) -> Trust:
        """Return how far the namespace is trusted."""
        if self.project is None:
            return Trust.HOME
        return Trust.PROJECT if self.environment is None else Trust.ENVIRONMENT


def binding_of(body: Mapping[str, Any], default_organization: str) -> Binding | None:
    """Return the scope path of a namespace, given as its body or its metadata's."""
    metadata = body["metadata"]
    return bind(
        str(metadata["name"]), metadata.get("labels") or {}, metadata.get("annotations") or {}, default_organization
    )


def bind(
    namespace: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    default_organization: str,
) -> Binding | None:
    """Return the scope path that a namespace's labels give it, ``None`` when it has none."""
    if any(labels.get(label) == "" for label in _SCOPE_LABELS):
        # An empty label comes from a template without its value. To ignore it would widen the namespace's scope.
        return None
    organization = labels.get(names.ORGANIZATION_LABEL)
    project = labels.get(names.PROJECT_LABEL)
    if organization is None and project is None:
        return None
    environment = None
    if project is not None:
        environment = labels.get(names.ENVIRONMENT_LABEL) or annotations.get(names.ENVIRONMENT_ANNOTATION) or None
    return Binding(
        namespace=namespace,
        organization=organization or default_organization,
        project=project,
        environment=environment,
        allow_environments=_items(annotations, names.ALLOW_ENVIRONMENTS_ANNOTATION),
        secrets=annotations.get(names.SECRETS_ANNOTATION, ""),
        run_as_user=annotations.get(names.RUN_AS_USER_ANNOTATION),
        home=annotations.get(names.HOME_ANNOTATION),
        allows_project_attach=annotations.get(names.ALLOW_PROJECT_ATTACH_ANNOTATION) == "true",
        attach_paths=tuple(path for path in _items(annotations, names.ALLOW_ATTACH_PATHS_ANNOTATION) if path[0] == "/"),
    )


def _items(annotations: Mapping[str, str], annotation: str) -> tuple[str, ...]:
    """Return the items of an annotation that holds a list with commas."""
    return tuple(item.strip() for item in annotations.get(annotation, "").split(",") if item.strip())
