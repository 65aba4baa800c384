"""Loads the address of the API server and the credentials, for our own client and for kopf's.

An explicitly given kubeconfig comes first, then the variable KUBECONFIG, then the pod's ServiceAccount. The person's
default kubeconfig is never read: a program that finds a cluster by accident writes to the wrong one.
"""

import os
import urllib.request
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.kubeconfig import Entry, Kubeconfig, read_kubeconfig, unreadable

__all__ = [
    "NO_IMPERSONATION",
    "Connection",
    "Impersonation",
    "current_namespace",
    "impersonation_of",
    "load_configuration",
]

_VARIABLE: Final = "KUBECONFIG"
_BEARER: Final = "BearerToken"
_PROXIES: Final = ("", "http", "https")
_NAMESPACE: Final = "default"


@dataclass(frozen=True, slots=True)
class Impersonation:
    """Whom requests impersonate, if the role of the person allows it.

    Attributes:
        user: The user; ``None`` for none.
        groups: The groups; none for those of the user alone.
        uid: The user's UID; ``None`` for none.
        extra: Further attributes of the user, with the values of each.
    """

    user: str | None = None
    groups: tuple[str, ...] = ()
    uid: str | None = None
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of requests; there is one for each group."""
        if self.user is None:
            return []
        uid = [] if self.uid is None else [("Impersonate-Uid", self.uid)]
        groups = [("Impersonate-Group", group) for group in self.groups]
        # Names of headers are not case-sensitive and have few characters; the API server decodes percent signs.
        extra = [(f"Impersonate-Extra-{quote(key, safe='')}", text) for key, text in self.extra]
        return [("Impersonate-User", self.user), *uid, *groups, *extra]


NO_IMPERSONATION: Final = Impersonation()
"""Requests of the person's own."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How a person reaches the cluster, as in kubectl.

    Attributes:
        kubeconfig: Path of the kubeconfig; ``None`` for the variable KUBECONFIG or the pod's ServiceAccount.
        context: The context of the kubeconfig; ``None`` for its current one.
        identity: Whom the requests impersonate, instead of whom the kubeconfig says.
    """

    kubeconfig: str | None = None
    context: str | None = None
    identity: Impersonation = NO_IMPERSONATION


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
    return str(_context_of(read_kubeconfig(chosen), chosen, context).get("namespace") or _NAMESPACE)


def impersonation_of(connection: Connection) -> Impersonation:
    """Return whom requests impersonate: what a person states, otherwise what the kubeconfig says of its user.

    Raises:
        ConfigurationError: A group or a UID is given without a user, or the kubeconfig cannot be read.
    """
    stated, chosen = connection.identity, connection.kubeconfig or os.environ.get(_VARIABLE)
    user = _user_of(chosen, connection.context) if chosen else {}
    identity = Impersonation(
        stated.user or user.get("as") or None,
        stated.groups or tuple(user.get("as-groups") or ()),
        stated.uid or user.get("as-uid") or None,
        tuple((key, text) for key, texts in (user.get("as-user-extra") or {}).items() for text in texts),
    )
    if identity.user is None and (identity.groups or identity.uid or identity.extra):
        raise ConfigurationError("groups and a UID belong to a user; give --as, or `as` in the kubeconfig")
    return identity


def _user_of(kubeconfig: str, context: str | None) -> Entry:
    content = read_kubeconfig(kubeconfig)
    name = _context_of(content, kubeconfig, context).get("user")
    return content.users.get(str(name), {})


def _context_of(content: Kubeconfig, kubeconfig: str, context: str | None) -> Entry:
    found = content.contexts.get(context or content.current)
    if found is None:
        raise ConfigurationError(unreadable(kubeconfig))
    return found


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
    content = read_kubeconfig(kubeconfig)
    try:
        # Refreshed tokens stay in memory: the operator does not write to the person's file. The library takes the
        # current context of the last file, kubectl that of the first.
        await load_kube_config(  # type: ignore[no-untyped-call]  # The library has no types there.
            config_file=content.paths,
            context=context or content.current or None,
            client_configuration=configuration,
            persist_config=False,
        )
    except Exception:  # noqa: BLE001 - the loader raises the exceptions of YAML, base64 and plugins.
        return unreadable(kubeconfig)
    token = configuration.api_key.get(_BEARER)
    if token is not None:
        # Files of tokens end with a line break, which no header may hold.
        configuration.api_key[_BEARER] = token.strip()
    user = _user_of(kubeconfig, context)
    if "exec" in user and token is None and configuration.cert_file is None:
        # The library logs the failure of a plugin and goes on without credentials.
        command = str((user["exec"] or {}).get("command", ""))
        return f"the credential plugin '{command}' of the kubeconfig gives no credentials; run it to see why"
    if urlsplit(configuration.proxy or "").scheme not in _PROXIES:
        return "`proxy-url` of the kubeconfig must begin with http:// or https://; other proxies are not supported"
    return None


def _load_service_account(configuration: Configuration) -> str | None:
    """Load the pod's own credentials; return the error message, None when they can be used."""
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # The library has no types there.
    except ConfigException:
        return f"there is no cluster to talk to; name a kubeconfig with --kubeconfig or {_VARIABLE}, or run in a pod"
    return None
