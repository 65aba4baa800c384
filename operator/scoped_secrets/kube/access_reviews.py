"""Asks the API server for rights, and for the name of the user who asks.

The operator's own are for messages, never for decisions; whether a person may copy a definition is a decision.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from scoped_secrets import names
from scoped_secrets.errors import ClusterError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster

__all__ = ["Person", "may_copy", "may_copy_oneself", "may_get_secrets", "own_user"]


@dataclass(frozen=True, slots=True)
class Person:
    """Who makes a request, as the API server authenticated the person."""

    user: str
    uid: str = ""
    groups: Collection[str] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


async def may_copy(cluster: Cluster, person: Person, namespace: str, name: str) -> bool:
    """Tell whether a person has the verb `copy` on a ScopedSecret, which need not exist.

    Raises:
        ClusterError: The API server did not tell.
    """
    spec = {
        "user": person.user,
        "uid": person.uid,
        "groups": sorted(person.groups),
        "extra": {key: list(texts) for key, texts in person.extra.items()},
        "resourceAttributes": _copying(namespace, name),
    }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = await cluster.create(paths.subject_access_reviews(), review, dry_run=True)
    return (answer.get("status") or {}).get("allowed") is True


async def may_copy_oneself(cluster: Cluster, namespace: str, name: str) -> bool:
    """Tell whether the person of this connection has the verb `copy` on a ScopedSecret: to choose what to ask for.

    Raises:
        ClusterError: The API server did not tell.
    """
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": _copying(namespace, name)},
    }
    answer = await cluster.create(paths.self_subject_access_reviews(), review, dry_run=True)
    return (answer.get("status") or {}).get("allowed") is True


async def may_get_secrets(cluster: Cluster) -> bool | None:
    """Tell whether the operator may get the Secrets of every namespace, ``None`` when the API server refuses to tell.

    Every authenticated user may ask this about itself (Kubernetes' ClusterRole ``system:basic-user``).

    Raises:
        UnavailableError: The API server did not respond.
    """
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "secrets"}},
    }
    try:
        # Reviews are never stored; as a dry run, the request does not count as a write in audits and metrics.
        review_result = await cluster.create(paths.self_subject_access_reviews(), review, dry_run=True)
    except UnavailableError:
        raise
    except ClusterError:
        return None
    return (review_result.get("status") or {}).get("allowed") is True


async def own_user(cluster: Cluster) -> str:
    """Return the name of the user of this connection, as the API server authenticates it.

    Every authenticated user may ask this (Kubernetes' ClusterRole ``system:basic-user``).

    Raises:
        ClusterError: The API server did not tell.
    """
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await cluster.create(paths.self_subject_reviews(), review)
    return str(answer["status"]["userInfo"]["username"])


def _copying(namespace: str, name: str) -> dict[str, str]:
    return {
        "verb": names.COPY_VERB,
        "group": names.GROUP,
        "resource": names.SCOPED_SECRET_PLURAL,
        "namespace": namespace,
        "name": name,
    }
