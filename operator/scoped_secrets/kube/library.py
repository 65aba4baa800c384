"""The client library's connections and credentials, for every authentication that it knows.

It is imported only where it is needed: the models of all APIs, which it brings along, take half a second.
"""

from collections.abc import Sequence

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from scoped_secrets import names
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.credentials import (
    VARIABLE,
    chosen_kubeconfig,
    read_kubeconfig,
    unreadable,
)
from scoped_secrets.kube.proxies import ProxyRefusedError, environment_proxy, unsupported_proxy
from scoped_secrets.kube.response import Response
from scoped_secrets.kube.tls import verify_like_kubectl
from scoped_secrets.kube.transport import CONNECT_SECONDS, MAX_CONNECTIONS, Request

__all__ = ["LibraryTransport", "load_configuration"]

_AUTHENTICATION = ["BearerToken"]


async def load_configuration(kubeconfig: str | None = None, context: str | None = None) -> Configuration:
    """Return the client library's configuration.

    Args:
        kubeconfig: Path of the file to use, or several joined as in the variable KUBECONFIG.
        context: The context of the file; by default its current one.

    Raises:
        ConfigurationError: The file cannot be used, or there is neither a file nor a ServiceAccount.
    """
    configuration = Configuration()
    chosen = chosen_kubeconfig(kubeconfig)
    if chosen:
        problem = await _load_file(chosen, context, configuration)
    elif context is not None:
        problem = f"a context needs a kubeconfig; name one with --kubeconfig or {VARIABLE}"
    else:
        problem = _load_service_account(configuration)
    if problem is None:
        configuration.proxy = configuration.proxy or environment_proxy(configuration.host)
        problem = unsupported_proxy(configuration.proxy)
    # Raised outside the handlers: the library's exceptions may quote what they could not read.
    if problem is not None:
        raise ConfigurationError(problem)
    return configuration


class LibraryTransport:
    """Sends requests through the library's client, whose generated models and exceptions are not used.

    The models validate and copy every body, and the exceptions hold bodies: a message would quote a refused Secret.
    """

    def __init__(self, configuration: Configuration, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Take address and credentials; only requests need a running event loop.

        Args:
            configuration: Address and credentials.
            headers: Headers of every request, such as those of impersonation; a name may occur several times.
        """
        configuration.connection_pool_maxsize = MAX_CONNECTIONS
        # The caller decides whether and when a request is retried.
        configuration.retries = None
        # The proxy is known by now. Otherwise each request reads the environment, and a netrc file in a thread.
        configuration.client_session_kwargs = {"trust_env": False, "headers": list(headers)}
        self._client = ApiClient(configuration)
        verify_like_kubectl(self._client.rest_client.ssl_context)
        self._client.user_agent = names.DISTRIBUTION
        self._host = configuration.host

    async def send(self, request: Request) -> Response:
        """Send one request and read the whole response: see `Transport`."""
        headers = {**self._client.default_headers, **request.headers}
        timeout = aiohttp.ClientTimeout(total=request.seconds, connect=CONNECT_SECONDS)
        path = request.target.partition("?")[0]
        await self._client.update_params_for_auth(headers, [], _AUTHENTICATION, path, request.method, None)
        refusal: int | None = None
        try:
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]  # The library has no types there.
                request.method,
                f"{self._host}{request.target}",
                headers=headers,
                body=request.body,
                _request_timeout=timeout,
            )
        except aiohttp.ClientHttpProxyError as error:
            refusal = error.status
        # Raised outside the handler: the exception has the URL and the headers of the request to the proxy.
        if refusal is not None:
            raise ProxyRefusedError(refusal)
        return Response(
            response.status,
            SecretValue(await response.response.read()),
            response.headers.get("Retry-After"),
            tuple(response.response.headers.getall("Warning", ())),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]  # The library has no types there.


async def _load_file(kubeconfig: str, context: str | None, configuration: Configuration) -> str | None:
    """Load a kubeconfig; return the error message, None when it can be used."""
    chosen = read_kubeconfig(kubeconfig, context)
    try:
        # Refreshed tokens stay in memory: the operator does not write to the person's file. Of several files, the
        # library takes the current context of the last one, kubectl that of the first.
        await load_kube_config(  # type: ignore[no-untyped-call]  # The library has no types there.
            config_file=chosen.paths, context=chosen.context, client_configuration=configuration, persist_config=False
        )
    except Exception:  # noqa: BLE001 - the loader raises the exceptions of YAML, base64 and plugins.
        return unreadable(kubeconfig)
    token = configuration.api_key.get(_AUTHENTICATION[0])
    if token is not None:
        # Files of tokens end with a line break, which no header may hold.
        configuration.api_key[_AUTHENTICATION[0]] = token.strip()
    if "exec" in chosen.user and token is None and configuration.cert_file is None:
        # The library logs the failure of a plugin and goes on without credentials.
        command = str((chosen.user["exec"] or {}).get("command", ""))
        return f"the credential plugin '{command}' of the kubeconfig gives no credentials; run it to see why"
    return None


def _load_service_account(configuration: Configuration) -> str | None:
    """Load the pod's own credentials; return the error message, None when they can be used."""
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # The library has no types there.
    except ConfigException:
        return f"there is no cluster to talk to; name a kubeconfig with --kubeconfig or {VARIABLE}, or run in a pod"
    return None
