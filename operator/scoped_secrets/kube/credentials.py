"""Loads the address of the API server and the credentials, for our own client and for kopf's.

An explicitly given kubeconfig comes first, then the variable KUBECONFIG, then the pod's ServiceAccount. The person's
default kubeconfig is never read: a program that finds a cluster by accident writes to the wrong one.
"""

import os
import urllib.request
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import (
    ConfigException,
    list_kube_config_contexts,
    load_incluster_config,
    load_kube_config,
)

from scoped_secrets.errors import ConfigurationError

__all__ = ["Connection", "current_namespace", "load_configuration"]

_VARIABLE: Final = "KUBECONFIG"
_NAMESPACE: Final = "default"


@dataclass(frozen=True, slots=True)
class Connection:
    """How a person reaches the cluster, as in kubectl.

    Attributes:
        kubeconfig: Path of the kubeconfig; ``None`` for the variable KUBECONFIG or the pod's ServiceAccount.
        context: The context of the kubeconfig; ``None`` for its current one.
        user: The user whom the requests impersonate; ``None`` for none.
    """

    kubeconfig: str | None = None
    context: str | None = None
    user: str | None = None


async def load_configuration(kubeconfig: str | None = None, context: str | None = None) -> Configuration:
    """Return the client library's configuration.

    Args:
        kubeconfig: Path of the file to use, or several joined as in the variable KUBECONFIG.
        context: The context of the file; by default its current one.

    Raises:
        ConfigurationError: The file cannot be used, or there is neither a file nor a ServiceAccount.
    """
    configuration = Configuration()
    chosen = kubeconfig or os.environ.get(_VARIABLE)
    if chosen:
        problem = await _load_file(chosen, context, configuration)
    elif context is not None:
        problem = f"a context needs a kubeconfig; name one with --kubeconfig or {_VARIABLE}"
    else:
        problem = _load_service_account(configuration)
    # Raised outside the handlers: the library's exceptions may quote what they could not read.
    if problem is not None:
        raise ConfigurationError(problem)
    configuration.proxy = configuration.proxy or _environment_proxy(configuration.host)
    return configuration


def current_namespace(kubeconfig: str | None = None, context: str | None = None) -> str:
    """Return the namespace of a context of the kubeconfig, ``default`` where it names none, as kubectl does.

    Args:
        kubeconfig: Path of the file to use, or several joined as in the variable KUBECONFIG.
        context: The context; by default the current one.

    Raises:
        ConfigurationError: There is no kubeconfig that can be read.
    """
    chosen = kubeconfig or os.environ.get(_VARIABLE)
    if not chosen:
        raise ConfigurationError(f"there is no cluster to talk to; name a kubeconfig with --kubeconfig or {_VARIABLE}")
    problem = _missing(chosen)
    if problem is None:
        try:
            contexts, active = list_kube_config_contexts(config_file=chosen)  # type: ignore[no-untyped-call]  # As below.
            if context is not None:
                active = next(each for each in contexts if each["name"] == context)
            return str(active["context"].get("namespace") or _NAMESPACE)
        except Exception:  # noqa: BLE001 - the loader raises the exceptions of YAML and of plugins.
            problem = _unreadable(chosen)
    # Raised outside the handler: the library's exceptions may quote what they could not read.
    raise ConfigurationError(problem)


def _missing(kubeconfig: str) -> str | None:
    """Return the error message about the first file that does not exist."""
    missing = [path for path in kubeconfig.split(os.pathsep) if path and not os.path.isfile(path)]  # noqa: PTH113 - the variable joins paths as text.
    if not missing:
        return None
    return f"the kubeconfig '{missing[0]}' does not exist; name a file with --kubeconfig or {_VARIABLE}"


def _unreadable(kubeconfig: str) -> str:
    return f"the kubeconfig '{kubeconfig}' cannot be read; check its contexts, the one in use and its format"


def _environment_proxy(server: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a server, None without one.

    They are read once: aiohttp would read them, and the person's netrc file in a thread, for each request.
    """
    address = urlsplit(server)
    if urllib.request.proxy_bypass_environment(address.netloc):  # type: ignore[attr-defined]  # typeshed lacks it.
        return None
    return urllib.request.getproxies_environment().get(address.scheme)


async def _load_file(kubeconfig: str, context: str | None, configuration: Configuration) -> str | None:
    """Load a kubeconfig; return the error message, None when it can be used."""
    problem = _missing(kubeconfig)
    if problem is not None:
        return problem
    try:
        # Refreshed tokens stay in memory: the operator does not write to the person's file.
        await load_kube_config(  # type: ignore[no-untyped-call]  # The library has no types there.
            config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
        )
    except Exception:  # noqa: BLE001 - the loader raises the exceptions of YAML, base64 and plugins.
        return _unreadable(kubeconfig)
    return None


def _load_service_account(configuration: Configuration) -> str | None:
    """Load the pod's own credentials; return the error message, None when they can be used."""
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # The library has no types there.
    except ConfigException:
        return f"there is no cluster to talk to; name a kubeconfig with --kubeconfig or {_VARIABLE}, or run in a pod"
    return None
