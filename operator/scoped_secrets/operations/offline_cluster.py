"""The state of a cluster that holds exactly the objects of some files, as decisions read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scoped_secrets import names
from scoped_secrets.api.parsing import parse_scoped_secret
from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.scope.binding import Binding, bind
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.decoding import Decoder
from scoped_secrets.operations.given_scope import GivenScope
from scoped_secrets.operations.manifests import Document, Manifests

__all__ = [
    "OfflineCluster",
    "build_cluster",
    "is_ours",
    "put_bindings",
    "with_namespace",
]


@dataclass(frozen=True, slots=True)
class OfflineCluster:
    """The objects of the files as one state of a cluster.

    Attributes:
        inventory: What decisions read.
        models: The ScopedSecrets, which hold the plain text of the files, by location.
        unbound: The namespaces of definitions and policies for which neither the files nor the flags say anything.
    """

    inventory: Inventory
    models: Mapping[str, ScopedSecret] = field(repr=False)
    unbound: frozenset[str]


def is_ours(document: Document, kind: str) -> bool:
    """Tell whether a document is an object of one of our kinds."""
    return document.group == names.GROUP and document.kind == kind


def build_cluster(
    manifests: Manifests,
    scopes: Sequence[GivenScope] = (),
    namespace: str | None = None,
    default_organization: str = names.DEFAULT_ORGANIZATION,
) -> OfflineCluster:
    """Return the state of a cluster with the objects of the files.

    Args:
        manifests: The files.
        scopes: The scope paths of namespaces that are not in the files.
        namespace: The namespace of objects that name none.
        default_organization: The organization of namespaces that have only a project.

    Raises:
        ConfigurationError: A file cannot be read, or an object of it cannot be stored; the message has the line.
    """
    manifests.require_readable()
    decoder = Decoder(default_organization, keep_sealed=False, seals=True)
    inventory = Inventory()
    known = put_bindings(manifests, scopes, default_organization, inventory)
    models: dict[str, ScopedSecret] = {}
    homes: set[str] = set()
    for document in manifests.documents:
        if not (is_ours(document, names.SCOPED_SECRET_KIND) or is_ours(document, names.SECRET_POLICY_KIND)):
            continue
        body = with_namespace(document, namespace)
        home, name = body["metadata"]["namespace"], document.name
        homes.add(home)
        if document.kind == names.SCOPED_SECRET_KIND:
            definition, invalid = decoder.definition(body)
            if definition is not None and invalid is None:
                inventory.put_definition(definition, 0.0)
                models[f"{home}/{name}"] = parse_scoped_secret(body)
        else:
            policy, invalid = decoder.policy(body)
            inventory.put_policy(policy)
        if invalid is not None:
            raise ConfigurationError(
                f"{document.path}:{document.line_of()}: {document.kind} '{name}': {invalid.message}; "
                f"run `{names.DISTRIBUTION} lint` for all findings"
            )
    return OfflineCluster(inventory, models, frozenset(homes - known))


def with_namespace(document: Document, namespace: str | None) -> dict[str, Any]:
    """Return the body of an object with the namespace that it has, or by default gets.

    Raises:
        ConfigurationError: It has no name or no namespace.
    """
    place = f"{document.path}:{document.line_of('metadata')}: {document.kind}"
    if not document.name:
        raise ConfigurationError(f"{place} must have a `metadata.name`")
    home = document.metadata.get("namespace") or namespace
    if not isinstance(home, str):
        raise ConfigurationError(
            f"{place} '{document.name}' must have a `metadata.namespace`; write it, or give --namespace for all "
            "objects without one"
        )
    return {**document.body, "metadata": {**document.metadata, "namespace": home}}


def put_bindings(
    manifests: Manifests, scopes: Sequence[GivenScope], default_organization: str, inventory: Inventory
) -> set[str]:
    """Set the scope paths of the files and the flags, and return the namespaces that they know.

    Raises:
        ConfigurationError: A Namespace has labels or annotations of another form.
    """
    decoder = Decoder(default_organization, keep_sealed=False)
    known: set[str] = set()
    for document in manifests.documents:
        if document.group == "" and document.kind == "Namespace" and document.name:
            inventory.put_binding(document.name, _binding(document, decoder), 0.0)
            known.add(document.name)
    for scope in scopes:
        inventory.put_binding(scope.namespace, _given(scope, default_organization), 0.0)
        known.add(scope.namespace)
    return known


def _binding(document: Document, decoder: Decoder) -> Binding | None:
    try:
        return decoder.binding(document.body)
    except (AttributeError, KeyError, TypeError):
        problem = f"{document.path}:{document.line_of('metadata')}: Namespace '{document.name}' must have labels and "
    raise ConfigurationError(f"{problem}annotations of texts")


def _given(scope: GivenScope, default_organization: str) -> Binding | None:
    labels = {
        names.ORGANIZATION_LABEL: scope.organization,
        **({names.PROJECT_LABEL: scope.project} if scope.project else {}),
    }
    annotations = {names.ENVIRONMENT_ANNOTATION: scope.environment} if scope.environment else {}
    return bind(scope.namespace, labels, annotations, default_organization)
