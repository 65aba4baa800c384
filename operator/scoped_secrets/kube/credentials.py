"""Reads kubeconfigs as kubectl does: several files, relative paths, the context, and the common credentials.

An explicitly given kubeconfig comes first, then the variable KUBECONFIG. The person's default kubeconfig is never read:
a program that finds a cluster by accident writes to the wrong one.
"""

import base64
import os
from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.plain_yaml import parse_plain
from scoped_secrets.kube.proxies import environment_proxy, unsupported_proxy
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = [
    "NO_IMPERSONATION",
    "VARIABLE",
    "Access",
    "ChosenUser",
    "Connection",
    "Impersonation",
    "chosen_kubeconfig",
    "current_namespace",
    "impersonation_of",
    "read_access",
    "read_kubeconfig",
    "refuse_impersonation",
    "unreadable",
]

VARIABLE: Final = "KUBECONFIG"

_NAMESPACE: Final = "default"
_IMPERSONATION: Final = ("as", "as-uid", "as-groups", "as-user-extra")
_LISTS: Final = ("clusters", "contexts", "users")
# What only the client library does: the providers of former versions.
_BY_LIBRARY: Final = "auth-provider"


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


@dataclass(frozen=True, slots=True)
class Access:
    """Address and credentials, all in memory.

    Attributes:
        server: The address of the API server, without a slash at its end.
        proxy: The URL of the HTTP proxy; ``None`` for none.
        authority: The certificates that vouch for the server, as PEM; ``None`` for those of the machine.
        is_verified: Whether the server's certificate is verified.
        server_name: The name in the server's certificate; ``None`` for the one of the address.
        authorization: The header Authorization; ``None`` for none.
        certificate: The client's certificate and its key, as PEM; ``None`` for none.
    """

    server: str
    proxy: str | None = None
    authority: str | None = None
    is_verified: bool = True
    server_name: str | None = None
    authorization: SecretValue | None = None
    certificate: tuple[SecretValue, SecretValue] | None = None


@dataclass(frozen=True, slots=True)
class ChosenUser:
    """What the client library needs to know of a kubeconfig, and reads in another way than kubectl.

    Attributes:
        paths: The files that exist and are not empty, joined as in the variable KUBECONFIG.
        context: The name of the context.
        user: The user of the context, with its credentials.
    """

    paths: str
    context: str
    user: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Named:
    """A cluster, context or user, and the folder of its file, from which its relative paths begin."""

    content: Mapping[str, Any]
    folder: str


@dataclass(slots=True)
class _Merged:
    """Several files as one: of equal names, the first file's counts, and so does the first current context."""

    current: str | None = None
    paths: list[str] = field(default_factory=list)
    lists: dict[str, dict[str, _Named]] = field(default_factory=lambda: {name: {} for name in _LISTS})

    def add(self, document: Mapping[str, Any], folder: str) -> None:
        self.current = self.current or document.get("current-context")
        for name in _LISTS:
            for item in document.get(name) or ():
                # "clusters" holds a "cluster", and so on.
                self.lists[name].setdefault(item["name"], _Named(item.get(name[:-1]) or {}, folder))

    def context(self, name: str | None) -> Mapping[str, Any]:
        """Return a context, by default the current one; raise KeyError without it."""
        return self.lists["contexts"][name or self.current or ""].content


def chosen_kubeconfig(kubeconfig: str | None) -> str | None:
    """Return the given kubeconfig or the one that the variable KUBECONFIG names, ``None`` when there is neither."""
    return kubeconfig or os.environ.get(VARIABLE) or None


def current_namespace(kubeconfig: str | None = None, context: str | None = None) -> str:
    """Return the namespace of a context of the kubeconfig, ``default`` where it names none, as kubectl does.

    Args:
        kubeconfig: Path of the file to use, or several joined as in the variable KUBECONFIG.
        context: The context; by default the current one.

    Raises:
        ConfigurationError: There is no kubeconfig that can be read.
    """
    chosen = chosen_kubeconfig(kubeconfig)
    if chosen is None:
        raise ConfigurationError(f"there is no cluster to talk to; name a kubeconfig with --kubeconfig or {VARIABLE}")
    problem = _missing_file(chosen)
    if problem is None:
        try:
            return str(_read(chosen).context(context).get("namespace") or _NAMESPACE)
        except Exception:  # noqa: BLE001 - the file may hold anything, and YAML has exceptions of its own.
            problem = unreadable(chosen)
    # Raised outside the handler: the exceptions may quote what they could not read.
    raise ConfigurationError(problem)


def read_access(kubeconfig: str, context: str | None = None) -> Access | None:
    """Return address and credentials, ``None`` when only the client library can get them.

    Args:
        kubeconfig: Path of the file to use, or several joined as in the variable KUBECONFIG.
        context: The context of the file; by default its current one.

    Raises:
        ConfigurationError: The file cannot be used.
    """
    problem = _missing_file(kubeconfig)
    if problem is None:
        try:
            access = _access(_read(kubeconfig), context)
            problem = unsupported_proxy(None if access is None else access.proxy)
            if problem is None:
                return access
        except ConfigurationError:
            raise
        except Exception:  # noqa: BLE001 - the file may hold anything, and YAML and base64 have exceptions of their own.
            problem = unreadable(kubeconfig)
    # Raised outside the handler, as above.
    raise ConfigurationError(problem)


def read_kubeconfig(kubeconfig: str, context: str | None = None) -> ChosenUser:
    """Return the files that count, the context in use and its user; arguments and errors are those of `read_access`."""
    problem = _missing_file(kubeconfig)
    if problem is None:
        try:
            merged = _read(kubeconfig)
            chosen = merged.context(context)
            user = merged.lists["users"].get(chosen.get("user") or "", _Named({}, ""))
            return ChosenUser(os.pathsep.join(merged.paths), context or str(merged.current), user.content)
        except Exception:  # noqa: BLE001 - as in `read_access`.
            problem = unreadable(kubeconfig)
    # Raised outside the handler, as above.
    raise ConfigurationError(problem)


def impersonation_of(connection: Connection) -> Impersonation:
    """Return whom requests impersonate: what a person states, otherwise what the kubeconfig says of its user.

    Raises:
        ConfigurationError: A group or a UID is given without a user, or the kubeconfig cannot be read.
    """
    stated, kubeconfig = connection.identity, chosen_kubeconfig(connection.kubeconfig)
    user = {} if kubeconfig is None else read_kubeconfig(kubeconfig, connection.context).user
    identity = Impersonation(
        stated.user or user.get("as") or None,
        stated.groups or tuple(user.get("as-groups") or ()),
        stated.uid or user.get("as-uid") or None,
        tuple((key, text) for key, texts in (user.get("as-user-extra") or {}).items() for text in texts),
    )
    if identity.user is None and (identity.groups or identity.uid or identity.extra):
        raise ConfigurationError("groups and a UID belong to a user; give --as, or `as` in the kubeconfig")
    return identity


def refuse_impersonation(kubeconfig: str | None) -> None:
    """Refuse a kubeconfig whose user impersonates another one, for processes whose watches do not.

    Raises:
        ConfigurationError: It does, or the kubeconfig cannot be read.
    """
    chosen = chosen_kubeconfig(kubeconfig)
    user = {} if chosen is None else read_kubeconfig(chosen).user
    stated = next((field for field in _IMPERSONATION if user.get(field)), None)
    if stated is not None:
        raise ConfigurationError(
            f"the kubeconfig '{chosen}' has `{stated}` in its user, and the operator's processes do not impersonate; "
            "give the rights to the user itself, or name another kubeconfig with --kubeconfig"
        )


def _missing_file(kubeconfig: str) -> str | None:
    """Return the error message about files of which none exists; kubectl passes over some that do not."""
    named = [path for path in kubeconfig.split(os.pathsep) if path]
    if any(os.path.isfile(path) for path in named):  # noqa: PTH113 - the variable joins paths as text.
        return None
    missing = named[0] if named else kubeconfig
    return f"the kubeconfig '{missing}' does not exist; name a file with --kubeconfig or {VARIABLE}"


def unreadable(kubeconfig: str) -> str:
    """Return the error message about a file that cannot be used."""
    return f"the kubeconfig '{kubeconfig}' cannot be read; check its contexts, the one in use and its format"


# A command asks for the namespace, and then for the access.
@lru_cache(maxsize=1)
def _parse(path: str, _version: tuple[int, int]) -> Mapping[str, Any] | None:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as in `missing_file`.
        text = file.read()
    plain = parse_plain(text)
    if plain is not None:
        return plain
    import yaml  # noqa: PLC0415 - see `plain_yaml`.

    # The loader in C, where PyYAML has it, reads a file of many contexts ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: Mapping[str, Any] | None = yaml.load(text, loader)  # noqa: S506 - a safe loader, in C or not.
    return document


def _read(kubeconfig: str) -> _Merged:
    merged = _Merged()
    for path in kubeconfig.split(os.pathsep):
        if not os.path.isfile(path):  # noqa: PTH113 - as above.
            continue
        state = os.stat(path)  # noqa: PTH116 - as above.
        document = _parse(path, (state.st_mtime_ns, state.st_size))
        if document:
            merged.paths.append(path)
            merged.add(document, os.path.dirname(os.path.abspath(path)))  # noqa: PTH100, PTH120 - as above.
    return merged


def _access(merged: _Merged, context: str | None) -> Access | None:
    chosen = merged.context(context)
    cluster = merged.lists["clusters"][chosen["cluster"]]
    user = merged.lists["users"].get(chosen.get("user") or "", _Named({}, ""))
    if _BY_LIBRARY in user.content:
        return None
    server = str(cluster.content["server"]).rstrip("/")
    authority = _content(cluster, "certificate-authority")
    authorization, certificate = _authorization(user), _certificate(user)
    # As in kubectl, a token of the file comes before one of a program.
    if user.content.get("exec") and authorization is None:
        from scoped_secrets.kube.exec_plugin import run_plugin  # noqa: PLC0415 - few kubeconfigs need it.

        printed = run_plugin(user.content["exec"], cluster.content, user.folder)
        authorization = None if printed.token is None else _bearer(printed.token.reveal())
        certificate = printed.certificate or certificate
    return Access(
        server=server,
        proxy=cluster.content.get("proxy-url") or environment_proxy(server),
        authority=None if authority is None else authority.decode("ascii"),
        is_verified=not cluster.content.get("insecure-skip-tls-verify"),
        server_name=cluster.content.get("tls-server-name"),
        authorization=authorization,
        certificate=certificate,
    )


def _content(named: _Named, name: str) -> bytes | None:
    """Return what a field holds, in base64 in the file or in a file of its own, as in kubectl in this order."""
    data = named.content.get(f"{name}-data")
    if data:
        return base64.standard_b64decode(data)
    path = named.content.get(name)
    return _file(named, path) if path else None


def _certificate(user: _Named) -> tuple[SecretValue, SecretValue] | None:
    certificate, key = _content(user, "client-certificate"), _content(user, "client-key")
    return None if certificate is None or key is None else (SecretValue(certificate), SecretValue(key))


def _bearer(token: bytes) -> SecretValue:
    return SecretValue(b"Bearer " + token)


def _authorization(user: _Named) -> SecretValue | None:
    """Return the header; a file with a token comes before a token, as in kubectl."""
    path = user.content.get("tokenFile")
    token = _file(user, path).strip() if path else str(user.content.get("token") or "").encode()
    if token:
        return _bearer(token)
    if "username" in user.content and "password" in user.content:
        pair = f"{user.content['username']}:{user.content['password']}"
        return SecretValue(b"Basic " + base64.b64encode(pair.encode()))
    return None


def _file(named: _Named, path: str) -> bytes:
    with open(os.path.join(named.folder, path), "rb") as file:  # noqa: PTH118, PTH123 - as above.
        return file.read()
