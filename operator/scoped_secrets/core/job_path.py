"""Where a job stands (DESIGN section 3): its namespace's scope path, and an environment that is granted to it.

A claim of a trusted issuer never widens the path: another project than the namespace's denies the pod, and an
environment counts like one that the pod asks for.
"""

from datetime import datetime

from scoped_secrets import names
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.policy.evaluate import grants_environment
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.globs import matches
from scoped_secrets.core.scope.slot import ScopePath
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["job_path"]


def job_path(pod: Pod, binding: Binding, snapshot: ClusterSnapshot, now: datetime) -> ScopePath:
    """Return the job's scope path.

    Raises:
        DeniedError: The job asks for an environment that is not granted to it, or a trusted issuer states another
            project or environment than the namespace's.
    """
    record = pod.record
    if record.project and binding.project not in (None, record.project):
        raise DeniedError(
            Reason.PROJECT_NOT_ALLOWED,
            f"trusted issuer '{record.issuer}' states another project than the namespace's; run the job in a namespace "
            "of its project, or map the engine's project to this one in the issuer's `projects`",
        )
    requested = pod.annotations.get(names.ENVIRONMENT_ANNOTATION, "").strip()
    # In the home there is no project, and therefore no environment that an issuer could mean.
    stated = record.environment if binding.project is not None else ""
    if requested and stated not in ("", requested):
        raise DeniedError(
            Reason.ENVIRONMENT_NOT_ALLOWED,
            f"annotation {names.ENVIRONMENT_ANNOTATION} asks for an environment other than the one that trusted issuer "
            f"'{record.issuer}' states; remove the annotation",
        )
    environment = requested or stated
    who = (
        f"annotation {names.ENVIRONMENT_ANNOTATION} asks for"
        if requested
        else f"trusted issuer '{record.issuer}' states"
    )
    if not environment or environment == binding.environment:
        return ScopePath(binding.organization, binding.project, binding.environment)
    if binding.environment is not None or binding.project is None:
        remedy = "remove the annotation or create" if requested else "create"
        raise DeniedError(
            Reason.ENVIRONMENT_NOT_ALLOWED,
            f"{who} an environment other than the namespace's; {remedy} the pod in that environment's namespace",
        )
    path = ScopePath(binding.organization, binding.project, environment)
    if not _is_admitted(pod, binding, path, snapshot, now):
        raise DeniedError(
            Reason.ENVIRONMENT_NOT_ALLOWED,
            f"{who} an environment that this namespace does not allow; "
            f"an administrator must add it to the namespace's annotation {names.ALLOW_ENVIRONMENTS_ANNOTATION}, or a "
            "rule of a SecretPolicy in the organization's home or in the environment's namespace must grant it to the "
            "pod's service account",
        )
    return path


def _is_admitted(pod: Pod, binding: Binding, path: ScopePath, snapshot: ClusterSnapshot, now: datetime) -> bool:
    """Tell whether the job may run for the path's environment, which its namespace is not one of."""
    environment = path.environment or ""
    if any(matches(pattern, environment) for pattern in binding.allow_environments):
        return True
    policies = snapshot.policies(binding.organization, binding.project)
    if grants_environment(policies, binding, environment, pod.service_account, pod.record, now):
        return True
    # An environment with namespaces of its own decides itself who may enter: a setting of the operator is no consent.
    is_vouched = bool(pod.record.vouched) and pod.record.environment == environment
    return is_vouched and not snapshot.territory(path).is_own
