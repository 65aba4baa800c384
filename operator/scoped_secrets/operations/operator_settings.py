"""The settings of the operator that decide about jobs: as a person states them, or as its Deployment has them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.errors import ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["GivenSettings", "Settings", "read_settings"]

_COMPONENT: Final = "app.kubernetes.io/component=admission"
_READ_FLAGS: Final = frozenset({"--default-access", "--default-home", "--organization"})


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """The settings of the operator as far as the person states them; the others are read from its Deployment."""

    operator_namespace: str = names.DEFAULT_NAMESPACE
    organization: str | None = None
    default_access: Access | None = None
    default_home: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides.

    Attributes:
        decision: The settings of decisions.
        organization: The organization of namespaces that have only a project.
        assumed: The flags whose defaults are taken, because the operator's Deployment cannot be read.
    """

    decision: DecisionSettings
    organization: str
    assumed: tuple[str, ...]


async def read_settings(cluster: Cluster, given: GivenSettings) -> Settings:
    """Return the settings, with the defaults where the operator's Deployment cannot be read.

    Raises:
        ClusterError: The API server does not answer.
    """
    stated = {
        "--organization": given.organization,
        "--default-access": given.default_access,
        "--default-home": given.default_home,
    }
    arguments: Mapping[str, str] | None = {}
    if not all(stated.values()):
        arguments = await _arguments(cluster, given.operator_namespace)
    assumed = () if arguments is not None else tuple(flag for flag, value in stated.items() if value is None)
    texts = {**(arguments or {}), **{flag: value for flag, value in stated.items() if value is not None}}
    settings = DecisionSettings()
    if texts.get("--default-access") in tuple(Access):
        settings = replace(settings, access=Access(texts["--default-access"]))
    if "--default-home" in texts:
        settings = replace(settings, default_home=texts["--default-home"])
    return Settings(settings, texts.get("--organization", names.DEFAULT_ORGANIZATION), assumed)


async def _arguments(cluster: Cluster, namespace: str) -> Mapping[str, str] | None:
    """Return the flags of the admission server's Deployment; ``None`` when there is none that can be read."""
    try:
        bodies = await cluster.list_all(paths.deployments(namespace), label_selector=_COMPONENT)
    except ForbiddenError:
        return None
    if not bodies:
        return None
    return _flags(bodies[0])


def _flags(body: Mapping[str, Any]) -> Mapping[str, str]:
    containers = body["spec"]["template"]["spec"]["containers"]
    arguments = [str(argument) for argument in containers[0].get("args") or ()]
    pairs = (argument.split("=", 1) for argument in arguments if argument.startswith("--") and "=" in argument)
    return {flag: value for flag, value in pairs if flag in _READ_FLAGS}
