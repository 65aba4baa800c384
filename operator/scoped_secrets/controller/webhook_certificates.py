"""Maintains the admission server's certificate and the CA bundle of the webhooks, so that the API server trusts it."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from scoped_secrets.clock import utc_now
from scoped_secrets.config import ControllerSettings
from scoped_secrets.crypto.certificates import only_certificates
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.keys import Keys, hand_over_keys
from scoped_secrets.kube.webhook_certificates import has_bundle, maintain_certificates, publish_bundle, service_names

__all__ = ["WebhookCertificates"]

_EXTERNAL_SECONDS: Final = 10.0
"""How often the file of an external CA is read again; the kubelet needs up to a minute to update it."""

_MAX_BYTES: Final = 256 * 1024


class WebhookCertificates:
    """Maintains the certificate, or publishes the CA bundle of an external one, as the settings say."""

    def __init__(self, cluster: Cluster, settings: ControllerSettings, now: Callable[[], datetime] = utc_now) -> None:
        """Take the client and the settings."""
        self._cluster = cluster
        self._settings = settings
        self._now = now

    async def is_complete(self) -> bool:
        """Tell whether the webhooks have their CA bundle; always true if the controller does not publish it.

        Raises:
            ClusterError: The webhook configuration could not be read.
        """
        settings = self._settings
        is_published = settings.certificates != "external" or settings.ca_file is not None
        return not is_published or await has_bundle(self._cluster, settings.webhook_configuration)

    async def maintain(self, keys: Keys) -> float:
        """Take the next step, and return the seconds until the next one.

        Args:
            keys: The keys that the admission process gets with its certificate.

        Raises:
            ClusterError: Something could not be read or written; the next step continues from there.
            KeyMaterialError: The file with the CA bundle cannot be read or has no certificate.
        """
        settings, namespace = self._settings, self._settings.cluster.namespace
        if settings.certificates == "external":
            # The keys come first: they do not wait for the external CA.
            await hand_over_keys(self._cluster, namespace, keys)
            if settings.ca_file is not None:
                bundle = await asyncio.to_thread(_read_bundle, settings.ca_file)
                await publish_bundle(self._cluster, settings.webhook_configuration, bundle)
            return _EXTERNAL_SECONDS
        return await maintain_certificates(
            self._cluster,
            namespace,
            (*service_names(namespace, settings.admission_service), *settings.admission_names),
            keys,
            self._now,
            configuration=settings.webhook_configuration,
        )


def _read_bundle(file: str) -> bytes:
    """Return the certificates of a file.

    Raises:
        KeyMaterialError: The file has none.
    """
    content = b""
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(_MAX_BYTES)
    except OSError:
        pass
    bundle = only_certificates(content)
    if not bundle:
        raise KeyMaterialError("the file of --ca-file has no certificate; mount the Secret that holds ca.crt")
    return bundle
