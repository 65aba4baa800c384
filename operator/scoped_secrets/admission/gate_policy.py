"""Whether pods may be gated: only while the policy is in force that limits what the controller may patch of a pod.

A gate must be removed again, and a role cannot limit `patch` to that. So no pod is gated before the API server has the
policy and its binding, nor after one of them is gone (DESIGN section 8). Pods that are gated already are still ungated.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from scoped_secrets.errors import ClusterError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.logs import context

__all__ = ["GatePolicy", "limits_the_controller"]

_logger = logging.getLogger(__name__)

_KIND: Final = "ValidatingAdmissionPolicy"
_CHECK_SECONDS: Final = 60.0
_MISSING_SECONDS: Final = 10.0
"""An installation that has just begun has the policy in a moment."""


class GatePolicy:
    """The policy and its binding as they were a minute ago.

    Attributes:
        is_in_force: Whether both exist and deny.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        """Take a client of this event loop, and the name of the policy and of its binding."""
        self._cluster = cluster
        self._name = name
        self._is_told = False
        self.is_in_force = False

    async def check(self) -> None:
        """Read both objects; an API server that does not answer changes nothing."""
        try:
            policy = await self._cluster.get(paths.object_path(_KIND, self._name))
            binding = await self._cluster.get(paths.object_path(f"{_KIND}Binding", self._name))
        except UnavailableError:
            return
        except ClusterError as error:
            self._set(is_in_force=False, problem=str(error))
            return
        problem = "the policy or its binding is missing, or does not deny"
        self._set(is_in_force=limits_the_controller(self._name, policy, binding), problem=problem)

    async def keep_checking(self, announce: Callable[[bool], None]) -> NoReturn:
        """Check for ever.

        Args:
            announce: Called after each check with whether pods may be gated.
        """
        while True:
            await self.check()
            announce(self.is_in_force)
            await asyncio.sleep(_CHECK_SECONDS if self.is_in_force else _MISSING_SECONDS)

    def _set(self, *, is_in_force: bool, problem: str) -> None:
        if is_in_force != self.is_in_force or not (is_in_force or self._is_told):
            fields = {"policy": self._name}
            if is_in_force:
                _logger.info("pods are gated", extra=context(**fields))
            else:
                _logger.warning("pods are not gated", extra=context(**fields, error=problem))
            self._is_told = not is_in_force
        self.is_in_force = is_in_force


def limits_the_controller(name: str, policy: Mapping[str, Any] | None, binding: Mapping[str, Any] | None) -> bool:
    """Tell whether a policy and its binding exist and deny; what the policy says, the doctor compares."""
    if policy is None or binding is None:
        return False
    bound = binding.get("spec") or {}
    limits = bound.get("matchResources") or {}
    return (
        (policy.get("spec") or {}).get("failurePolicy", "Fail") == "Fail"
        and not any("deletionTimestamp" in each["metadata"] for each in (policy, binding))
        and bound.get("policyName") == name
        and "Deny" in (bound.get("validationActions") or ())
        and not any(limits.get(field) for field in ("namespaceSelector", "objectSelector", "resourceRules"))
        and not limits.get("excludeResourceRules")
    )
