"""Everything that lives in the admission loop: inventory, material, server and probes."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from scoped_secrets import names
from scoped_secrets.admission.connections import Limits
from scoped_secrets.admission.credentials import (
    AdmissionCredentials,
    CredentialsSource,
    FolderCredentials,
    OverriddenCredentials,
    SecretCredentials,
    parse_credentials,
)
from scoped_secrets.admission.metrics import ReviewRecorder
from scoped_secrets.admission.retry_unknown import retry_unknown
from scoped_secrets.admission.review import Review, render
from scoped_secrets.admission.server import ReviewServer
from scoped_secrets.admission.state import AdmissionState
from scoped_secrets.admission.tls import CertificateError, load_pair, server_context
from scoped_secrets.admission.webhooks import WEBHOOKS, Webhook, decide_review
from scoped_secrets.config import AdmissionSettings
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import ClusterError, ConfigurationError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.informer import Informer
from scoped_secrets.logs import context
from scoped_secrets.process import serve_metrics, serve_probes

__all__ = ["AdmissionService"]

_logger = logging.getLogger(__name__)

_MATERIAL_SECONDS: Final = 5.0
_FIRST_MATERIAL_SECONDS: Final = 0.5
_GRACE_SECONDS: Final = 10.0
# How long endpoints of a Service may still name a replica that is ending.
_DRAIN_SECONDS: Final = 5.0


class AdmissionService:
    """The admission process but for its watches; made, used and closed in one event loop.

    Attributes:
        informer: What fills the inventory; its loop is this one.
        port: The port of the webhooks; 0 until they are served.
        probe_port: The port of the probes.
        metrics_port: The port of the metrics; ``None`` while they are not served.
    """

    def __init__(self, settings: AdmissionSettings, cluster: Cluster, limits: Limits | None = None) -> None:
        """Take the settings and a client of this event loop."""
        shared = settings.cluster
        rules = DecisionSettings(Access(shared.default_access), shared.default_home)
        self._settings = settings
        self._cluster = cluster
        self.informer = Informer(Inventory(), default_organization=shared.organization, keep_sealed=False)
        self._state = AdmissionState(self.informer, rules, keep_unchanged=settings.keep_unchanged)
        self._tls = server_context()
        self._served: bytes | None = None
        self._witness = ReviewRecorder(self._state, self.informer, lambda: self._served)
        answers = {path: partial(self._answer, path, webhook) for path, webhook in WEBHOOKS.items()}
        documents = {names.CERTIFICATE_PATH: self._certificate}
        self._server = ReviewServer(answers, self._tls, limits, documents=documents, observe=self._witness.answered)
        self._probes = AsyncExitStack()
        self._source = _source(settings, cluster)
        self._following: asyncio.Task[None] | None = None
        self.port = 0
        self.probe_port = 0
        self.metrics_port: int | None = None

    async def start(self) -> None:
        """Open the ports of probes and metrics, and begin to read the material; with it the webhooks' port opens.

        Raises:
            ConfigurationError: A port cannot be opened.
        """
        try:
            self.probe_port = await self._probes.enter_async_context(
                serve_probes(self._settings.probe_host, self._settings.probe_port, tuple, self._state.problems)
            )
            self.metrics_port = await self._probes.enter_async_context(
                serve_metrics(self._settings.metrics, self._witness.metrics.render)
            )
        except ConfigurationError:
            await self._probes.aclose()
            raise
        self._following = asyncio.create_task(self._follow_material(), name="admission material")

    async def ended(self) -> None:
        """Return only when the service cannot go on.

        Raises:
            ConfigurationError: The webhooks' port cannot be opened.
        """
        if self._following is not None:
            await asyncio.shield(self._following)

    async def repair(self) -> None:
        """List everything, the first time and again.

        Raises:
            ClusterError: Nothing could be listed; what is known stays known.
        """
        await self.informer.relist(self._cluster)

    async def stop(self) -> None:
        """Become unready, finish what has begun, and close."""
        self._state.is_draining = True
        self._server.drain()
        if self.port and self._settings.material is not None:
            # A mounted Secret means a Service in front, which learns only after a while that this replica ends.
            await asyncio.sleep(_DRAIN_SECONDS)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._server.stop(_GRACE_SECONDS)
        await self._probes.aclose()

    async def _answer(self, path: str, webhook: Webhook, review: Review) -> bytes:
        outcome = await retry_unknown(lambda: decide_review(webhook, review, self._state.review_context()))
        self._witness.decided(path, review, outcome)
        return render(review, outcome)

    def _certificate(self) -> bytes | None:
        """Return what people seal with offline; ``None`` until it is known."""
        review_context = self._state.review_context()
        if review_context is None:
            return None
        return SealingCertificate(review_context.cluster_id, review_context.recipients).serialize()

    async def _follow_material(self) -> None:
        """Load certificate and keys, begin to serve with them, and load them again when they change."""
        loaded = None
        while True:
            loaded = await self._reload(loaded)
            await asyncio.sleep(_FIRST_MATERIAL_SECONDS if loaded is None else _MATERIAL_SECONDS)

    async def _reload(self, loaded: Mapping[str, bytes] | None) -> Mapping[str, bytes] | None:
        """Take over the material unless it is the one that is loaded, and return what is loaded then."""
        try:
            data = await self._source.read()
            if data is None or data == loaded:
                return loaded
            await self._use(parse_credentials(data))
        except (CertificateError, ClusterError, KeyMaterialError) as error:
            _logger.warning("the admission material cannot be used", extra=context(error=str(error)))
            return loaded
        return data

    async def _use(self, credentials: AdmissionCredentials) -> None:
        load_pair(self._tls, credentials.tls)
        self._served = credentials.tls.certificate
        self._state.credentials = credentials
        if not self.port:
            try:
                self.port = await self._server.start(self._settings.host, self._settings.port)
            except OSError:
                raise ConfigurationError("--host and --port name no address that can be opened") from None
        _logger.info("certificate and keys are loaded", extra=context(key_id=credentials.recipients.active.key_id))


def _source(settings: AdmissionSettings, cluster: Cluster) -> CredentialsSource:
    source: CredentialsSource
    if settings.material is not None:
        source = FolderCredentials(settings.material)
    else:
        source = SecretCredentials(cluster, settings.cluster.namespace, settings.material_secret or "")
    return source if settings.tls is None else OverriddenCredentials(source, settings.tls)
