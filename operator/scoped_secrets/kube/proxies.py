"""The proxy between a client and the API server: which one, as in kubectl, and of which kinds.

kubectl takes `proxy-url` of the kubeconfig for every server. Without it, the variables of the environment decide, by
the rules of https://pkg.go.dev/golang.org/x/net/http/httpproxy, which differ from those of Python's standard library.
"""

import os
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    _IpAddress: TypeAlias = IPv4Address | IPv6Address

__all__ = ["ProxyRefusedError", "environment_proxy", "unsupported_proxy"]

_PORTS: Final = {"http": "80", "https": "443"}
_ANY_HOST: Final = "*"
# A CGI program gets the headers of a request as variables: the header `Proxy` would be HTTP_PROXY.
_CGI: Final = "REQUEST_METHOD"


class ProxyRefusedError(Exception):
    """The proxy does not pass the connection on; the message holds nothing of its URL, which may have a password."""

    def __init__(self, status: int) -> None:
        """Take the HTTP status code of the proxy's response."""
        super().__init__(
            f"the proxy does not pass the connection on ({status}); check `proxy-url` of the kubeconfig, or "
            "HTTPS_PROXY and NO_PROXY of the environment"
        )


def environment_proxy(server: str) -> str | None:
    """Return the proxy that HTTPS_PROXY or HTTP_PROXY names for a server, None without one or where NO_PROXY says so.

    They are read once: aiohttp would read them, and the person's netrc file in a thread, for each request.
    """
    address = urlsplit(server)
    default_port = _PORTS.get(address.scheme)
    if default_port is None or (address.scheme == "http" and os.environ.get(_CGI)):
        return None
    proxy = _variable(f"{address.scheme}_proxy")
    host = address.hostname or ""
    if not proxy or _is_excluded(host, _host_and_port(address.netloc)[1] or default_port):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def unsupported_proxy(proxy: str | None) -> str | None:
    """Return the error message about a proxy of a kind that no client here speaks."""
    if not proxy or _is_spoken(proxy):
        return None
    return (
        "the proxy must be a URL that begins with http:// or https:// and names a host; correct `proxy-url` of the "
        "kubeconfig, or HTTPS_PROXY or HTTP_PROXY of the environment"
    )


def _is_spoken(proxy: str) -> bool:
    try:
        address = urlsplit(proxy)
        # A port that is no number raises an error when it is read.
        return address.scheme in _PORTS and bool(address.hostname) and address.port != 0
    except ValueError:
        return False


def _variable(name: str) -> str:
    """Return a variable, whose name in upper case comes first, as in Go."""
    return os.environ.get(name.upper()) or os.environ.get(name) or ""


def _is_excluded(host: str, port: str) -> bool:
    """Tell whether no proxy of the environment is used for a server."""
    address = _ip_address(host.partition("%")[0])
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    entries = (entry.strip().lower() for entry in _variable("no_proxy").split(","))
    return any(_matches(entry, host, address, port) for entry in entries if entry)


def _matches(entry: str, host: str, address: "_IpAddress | None", port: str) -> bool:
    """Tell whether an entry of NO_PROXY names a server: a name is one of an address only if both are the same."""
    if entry == _ANY_HOST:
        return True
    if "/" in entry:
        return address is not None and _is_in_network(address, entry)
    name, only_port = _host_and_port(entry)
    if only_port not in ("", port):
        return False
    if address is not None:
        return _ip_address(name) == address
    name = name.removeprefix(_ANY_HOST) if name.startswith("*.") else name
    if not name:
        return False
    # With a dot in front, as in `.corp`, only the hosts below it.
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _host_and_port(text: str) -> tuple[str, str]:
    """Split `host:port` or `[address]:port`; the port is empty where there is none, as in an address of IPv6 alone."""
    host, colon, port = text.rpartition(":")
    if colon and host.startswith("[") and host.endswith("]"):
        return host[1:-1], port
    return (host, port) if colon and ":" not in host else (text, "")


def _ip_address(text: str) -> "_IpAddress | None":
    """Return an address; one of IPv4 that is written as one of IPv6 is the same as without."""
    from ipaddress import ip_address  # noqa: PLC0415 - most machines have no proxy.

    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_in_network(address: "_IpAddress", prefix: str) -> bool:
    """Tell whether an address begins with a prefix, such as `10.0.0.0/8`."""
    from ipaddress import ip_network  # noqa: PLC0415 - as above.

    try:
        # Python also takes masks for lengths.
        return prefix.rpartition("/")[2].isdecimal() and address in ip_network(prefix, strict=False)
    except ValueError:
        return False
