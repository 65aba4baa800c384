"""Asks the API server for the operator's own rights: for messages, never for decisions."""

from scoped_secrets.errors import ClusterError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster

__all__ = ["may_get_secrets"]


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
