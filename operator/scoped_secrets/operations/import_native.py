"""A native Secret as a bundle, read with the rights of the person."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Final

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ClusterError, ConfigurationError, ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.messages import quoted_names
from scoped_secrets.operations.imports import ImportedBundle, ImportedEntry

__all__ = ["bundle_of_secret", "read_native_secret"]

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMED: Final = 10
# The control plane maintains these: a copy is out of date soon.
_MAINTAINED: Final = {
    "kubernetes.io/service-account-token": "the token of a ServiceAccount",
    "bootstrap.kubernetes.io/token": "a bootstrap token",
}


async def read_native_secret(cluster: Cluster, namespace: str, name: str) -> Body:
    """Return a native Secret.

    Raises:
        ForbiddenError: The person may not read it.
        ClusterError: It is not there, or the request failed.
    """
    try:
        body = await cluster.get(paths.secrets(namespace, name))
    except ForbiddenError as error:
        raise ForbiddenError(
            f"you may not read Secret '{namespace}/{name}'; request the verb 'get'", status=error.status
        ) from None
    if body is None:
        raise ClusterError(f"Secret '{namespace}/{name}' does not exist; check its name")
    return body


def bundle_of_secret(body: Body, name: str | None, *, files: bool, folder: str) -> ImportedBundle:
    """Return a native Secret as a bundle.

    Keys that are names of variables become variables; others, and those whose values are no text, become files.

    Args:
        body: The Secret.
        name: The name of the bundle; ``None`` for the Secret's.
        files: Whether files are wanted.
        folder: The folder of the files in the job; empty for the job's home.

    Raises:
        ConfigurationError: The Secret has no keys, has files that are not wanted, or is maintained by Kubernetes.
    """
    metadata = body["metadata"]
    title = f"Secret '{metadata['namespace']}/{metadata['name']}'"
    maintained = _MAINTAINED.get(str(body.get("type")))
    if maintained is not None:
        raise ConfigurationError(f"{title} is {maintained}, which Kubernetes maintains; a copy would be out of date")
    values = _values(title, body.get("data") or {})
    if not values:
        raise ConfigurationError(f"{title} has no keys; there is nothing to import")
    of_files = [key for key, value in values.items() if not _is_variable(key, value)]
    if of_files and not files:
        raise ConfigurationError(
            f"{title} has keys that cannot be variables: {quoted_names(of_files, _NAMED)}; import them as files with "
            "--files, and --path for their folder"
        )
    delete = f"kubectl delete secret {metadata['name']} -n {metadata['namespace']}"
    return ImportedBundle(
        title=title,
        secret_name=name or str(metadata["name"]),
        entries=tuple(_entries(values, folder)),
        notes=(f"the Secret stays, and pods that name it keep using it; afterwards delete it with `{delete}`",),
    )


def _entries(values: Mapping[str, SecretValue], folder: str) -> Iterator[ImportedEntry]:
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    for key, value in values.items():
        is_variable = _is_variable(key, value)
        name = key if is_variable else f"{prefix}{key}"
        yield ImportedEntry(EntryKey(EntryKind.ENV if is_variable else EntryKind.FILE, name), value)


def _values(title: str, data: Mapping[str, str]) -> dict[str, SecretValue]:
    try:
        return {key: SecretValue(base64.b64decode(text, validate=True)) for key, text in data.items()}
    except (binascii.Error, ValueError):
        pass
    # Raised outside of the handler: the exception has the text.
    raise ClusterError(f"{title} cannot be read: its data is no base64")


def _is_variable(key: str, value: SecretValue) -> bool:
    if _VARIABLE.fullmatch(key) is None or b"\0" in value.reveal():
        return False
    try:
        value.reveal().decode()
    except UnicodeDecodeError:
        return False
    return True
