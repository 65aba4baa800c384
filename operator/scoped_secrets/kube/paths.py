"""URL paths of the API, one function per resource; without a name, the path of the collection."""

from typing import Final
from urllib.parse import quote, unquote

from scoped_secrets import names

__all__ = [
    "config_maps",
    "custom_resource_definitions",
    "deployments",
    "events",
    "in_words",
    "leases",
    "mutating_webhook_configurations",
    "namespaces",
    "object_path",
    "of_version",
    "pods",
    "scoped_secret_status",
    "scoped_secrets",
    "secret_policies",
    "secret_policy_status",
    "secrets",
    "self_subject_access_reviews",
    "self_subject_reviews",
    "subject_access_reviews",
    "validating_webhook_configurations",
    "workloads",
]

_CORE: Final = "/api/v1"
# `namespaces/NAME` alone is the namespace itself.
_NAMESPACED_FROM: Final = 2
_ROLES: Final = "/apis/rbac.authorization.k8s.io/v1"
_OURS: Final = f"/apis/{names.GROUP}/{names.VERSION}"
_LEASES: Final = "/apis/coordination.k8s.io/v1"
_WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1"

# The kinds of the installation's manifests: the prefix of their API and the plural.
_KINDS: Final[dict[str, tuple[str, str]]] = {
    "ClusterRole": (_ROLES, "clusterroles"),
    "ClusterRoleBinding": (_ROLES, "clusterrolebindings"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "MutatingWebhookConfiguration": (_WEBHOOKS, "mutatingwebhookconfigurations"),
    "Namespace": (_CORE, "namespaces"),
    "Role": (_ROLES, "roles"),
    "RoleBinding": (_ROLES, "rolebindings"),
    names.SCOPED_SECRET_KIND: (_OURS, names.SCOPED_SECRET_PLURAL),
    "Secret": (_CORE, "secrets"),
    names.SECRET_POLICY_KIND: (_OURS, names.SECRET_POLICY_PLURAL),
    "Service": (_CORE, "services"),
    "ServiceAccount": (_CORE, "serviceaccounts"),
    "ValidatingAdmissionPolicy": (_WEBHOOKS, "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": (_WEBHOOKS, "validatingadmissionpolicybindings"),
    "ValidatingWebhookConfiguration": (_WEBHOOKS, "validatingwebhookconfigurations"),
}

# The kinds with a pod template.
_WORKLOADS: Final[dict[str, tuple[str, str]]] = {
    "CronJob": ("/apis/batch/v1", "cronjobs"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Job": ("/apis/batch/v1", "jobs"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
}


def object_path(kind: str, name: str, namespace: str | None = None) -> str:
    """Return the path of an object of a manifest.

    Raises:
        KeyError: The installation's manifests have no such kind.
    """
    prefix, plural = _KINDS[kind]
    return _join(prefix, plural, name) if namespace is None else _namespaced(prefix, plural, namespace, name)


def of_version(api_version: str, resource: str, namespace: str, name: str) -> str:
    """Return the path of one object of any namespaced resource.

    Args:
        api_version: The version as in a manifest, such as ``tekton.dev/v1``.
        resource: The plural of the kind.
        namespace: The namespace.
        name: The name.
    """
    prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    return _namespaced(prefix, resource, namespace, name)


def in_words(path: str) -> str:
    """Return what a path is of, as messages about rights name it: `deployments.apps 'web' in namespace 'ci'`."""
    root, *parts = path.strip("/").split("/")
    group = f".{parts[0]}" if root == "apis" else ""
    rest = parts[2:] if root == "apis" else parts[1:]
    if not rest:
        return path
    place = ""
    if len(rest) > _NAMESPACED_FROM and rest[0] == "namespaces":
        place, rest = f" in namespace '{unquote(rest[1])}'", rest[2:]
    resource, *named = rest
    name = f" '{unquote(named[0])}'" if named else ""
    subresource = f"/{named[1]}" if len(named) > 1 else ""
    return f"{resource}{subresource}{group}{name}{place}"


def namespaces(name: str | None = None) -> str:
    """Return the path of all namespaces or of one."""
    return _join(_CORE, "namespaces", name)


def secrets(namespace: str, name: str | None = None) -> str:
    """Return the path of a namespace's Secrets or of one."""
    return _namespaced(_CORE, "secrets", namespace, name)


def config_maps(namespace: str, name: str | None = None) -> str:
    """Return the path of a namespace's ConfigMaps or of one."""
    return _namespaced(_CORE, "configmaps", namespace, name)


def pods(namespace: str | None = None, name: str | None = None) -> str:
    """Return the path of all pods, of a namespace's pods or of one."""
    return _namespaced(_CORE, "pods", namespace, name)


def events(namespace: str | None = None, name: str | None = None) -> str:
    """Return the path of all Events, of a namespace's or of one."""
    return _namespaced(_CORE, "events", namespace, name)


def scoped_secrets(namespace: str | None = None, name: str | None = None) -> str:
    """Return the path of all ScopedSecrets, of a namespace's or of one."""
    return _namespaced(_OURS, names.SCOPED_SECRET_PLURAL, namespace, name)


def scoped_secret_status(namespace: str, name: str) -> str:
    """Return the path of a ScopedSecret's status."""
    return f"{scoped_secrets(namespace, name)}/status"


def secret_policies(namespace: str | None = None, name: str | None = None) -> str:
    """Return the path of all SecretPolicies, of a namespace's or of one."""
    return _namespaced(_OURS, names.SECRET_POLICY_PLURAL, namespace, name)


def secret_policy_status(namespace: str, name: str) -> str:
    """Return the path of a SecretPolicy's status."""
    return f"{secret_policies(namespace, name)}/status"


def deployments(namespace: str) -> str:
    """Return the path of a namespace's Deployments."""
    return _namespaced("/apis/apps/v1", "deployments", namespace, None)


def workloads(kind: str, namespace: str | None = None) -> str:
    """Return the path of the objects of a kind that has a pod template: those of a namespace, or all.

    Raises:
        KeyError: The kind has none, or is not supported.
    """
    return _namespaced(*_WORKLOADS[kind], namespace, None)


def custom_resource_definitions(name: str) -> str:
    """Return the path of a CustomResourceDefinition."""
    return _join("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", name)


def subject_access_reviews() -> str:
    """Return the path for reviews of another user's rights."""
    return _join("/apis/authorization.k8s.io/v1", "subjectaccessreviews", None)


def self_subject_access_reviews() -> str:
    """Return the path for reviews of the caller's own rights."""
    return _join("/apis/authorization.k8s.io/v1", "selfsubjectaccessreviews", None)


def self_subject_reviews() -> str:
    """Return the path for questions who the caller is."""
    return _join("/apis/authentication.k8s.io/v1", "selfsubjectreviews", None)


def leases(namespace: str, name: str | None = None) -> str:
    """Return the path of a namespace's Leases or of one."""
    return _namespaced(_LEASES, "leases", namespace, name)


def mutating_webhook_configurations(name: str | None = None) -> str:
    """Return the path of all MutatingWebhookConfigurations or of one."""
    return _join(_WEBHOOKS, "mutatingwebhookconfigurations", name)


def validating_webhook_configurations(name: str | None = None) -> str:
    """Return the path of all ValidatingWebhookConfigurations or of one."""
    return _join(_WEBHOOKS, "validatingwebhookconfigurations", name)


def _namespaced(prefix: str, plural: str, namespace: str | None, name: str | None) -> str:
    if namespace is None:
        if name is not None:
            raise ValueError("a namespaced object has no path without its namespace")
        return f"{prefix}/{plural}"
    # With an empty name, the path of one namespace would be that of all namespaces.
    return _join(_join(prefix, "namespaces", _required(namespace)), plural, name)


def _join(prefix: str, plural: str, name: str | None) -> str:
    path = f"{prefix}/{plural}"
    return path if name is None else f"{path}/{quote(_required(name), safe='')}"


def _required(name: str) -> str:
    if not name or name in {".", ".."}:
        raise ValueError("an object's path needs its name")
    return name
