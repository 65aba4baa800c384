"""What the operator itself may do, as the API server says: for messages, never for decisions."""

from scoped_secrets.errors import ClusterError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster

__all__ = ["may_get_secrets"]


async def may_get_secrets(cluster: Cluster) -> bool | None:
    """Tell whether we may get the Secrets of every namespace, ``None`` when nobody says.

    Everybody who is logged in may ask this about oneself (Kubernetes' role ``system:basic-user``).

    Raises:
        UnavailableError: There was no answer this time.
    """
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "secrets"}},
    }
    try:
        # Nothing is stored either way; as a dry run it is no write for anybody who counts those.
        answer = await cluster.create(paths.self_subject_access_reviews(), review, dry_run=True)
    except UnavailableError:
        raise
    except ClusterError:
        return None
    return (answer.get("status") or {}).get("allowed") is True
