"""Everything that runs in the admission event loop: inventory, credentials, server, probes and metrics."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Final, NoReturn

from scoped_secrets import names
from scoped_secrets.admission.audit import ReviewAuditor
from scoped_secrets.admission.connection_limits import Limits
from scoped_secrets.admission.copy_rights import CopyRights, requests_copy
from scoped_secrets.admission.credentials import (
    AdmissionCredentials,
    ClientAuthorityCredentials,
    CredentialsSource,
    FolderCredentials,
    OverriddenCredentials,
    SecretCredentials,
    parse_credentials,
)
from scoped_secrets.admission.gate_policy import GatePolicy
from scoped_secrets.admission.issuers import IssuersFile
from scoped_secrets.admission.metrics import ReviewRecorder
from scoped_secrets.admission.owners import Owners
from scoped_secrets.admission.retry_unknown import (
    RETRY_SECONDS,
    InventoryChanges,
    depends_on_unknown,
    retry_unknown,
)
from scoped_secrets.admission.review import Outcome, Review, render
from scoped_secrets.admission.server import ReviewServer
from scoped_secrets.admission.state import AdmissionState
from scoped_secrets.admission.stored_pods import StoredPods
from scoped_secrets.admission.tls import CertificateError, ClientAuthorityError, load_pair, server_context
from scoped_secrets.admission.webhooks import (
    ASKS_ABOUT_COPIES,
    FOLLOWED,
    READS_OWNERS,
    READS_POD,
    WEBHOOKS,
    FollowUp,
    Webhook,
    decide_review,
    prepare_following,
)
from scoped_secrets.audit import AuditLog
from scoped_secrets.config import AdmissionSettings, AuditLevel
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

_RELOAD_SECONDS: Final = 5.0
_FIRST_RELOAD_SECONDS: Final = 0.5
_GRACE_SECONDS: Final = 10.0
# How long the endpoints of a Service may still name a replica that is stopping.
_DRAIN_SECONDS: Final = 5.0
# Reviews of unknown objects are decided again for a second. Together they may have this size, of which each has a part
# at least, so that forged ones fill neither the memory nor the time of the process; others are denied at once.
_MAX_RETRIED_BYTES: Final = 4 * 1024 * 1024
_MIN_RETRIED_BYTES: Final = 64 * 1024


class AdmissionService:
    """The admission process without its watches; created, used and closed in one event loop.

    Attributes:
        informer: Fills the inventory in this event loop.
        port: The port of the webhooks; 0 until they are served.
        probe_port: The port of the probes.
        metrics_port: The port of the metrics; ``None`` while they are not served.
    """

    def __init__(self, settings: AdmissionSettings, cluster: Cluster, limits: Limits | None = None) -> None:
        """Take the settings and a client of this event loop."""
        shared = settings.cluster
        decision_settings = DecisionSettings(Access(shared.default_access), shared.default_home)
        self._settings = settings
        self._cluster = cluster
        self._changes = InventoryChanges()
        self.informer = Informer(
            Inventory(),
            default_organization=shared.organization,
            keep_sealed=False,
            on_change=self._changes.announce,
        )
        self._state = AdmissionState(
            self.informer,
            decision_settings,
            keep_unchanged=settings.keep_unchanged,
            issuers=IssuersFile(settings.trusted_issuers_file),
        )
        # Replaced with the first credentials, before the port opens.
        self._tls = server_context()
        self._served: bytes | None = None
        self._gate_policy = GatePolicy(cluster, settings.gate_policy) if settings.gate else None
        self._recorder = ReviewRecorder(self._state, self.informer, lambda: self._served, gates=settings.gate)
        self._auditor = ReviewAuditor(AuditLog(AuditLevel(shared.audit_log)))
        answers = {path: partial(self._answer, path, webhook) for path, webhook in WEBHOOKS.items()}
        self._server = ReviewServer(
            answers,
            lambda: self._tls,
            limits,
            documents={names.CERTIFICATE_PATH: self._certificate},
            observe=self._recorder.answered,
            answers_at_once={
                path: partial(self._answer_at_once, path, webhook)
                for path, webhook in WEBHOOKS.items()
                if path not in READS_POD
            },
        )
        self._retried_bytes = 0
        self._stored_pods = StoredPods(cluster)
        self._owners = Owners(cluster)
        self._copy_rights = CopyRights(cluster)
        self._probes = AsyncExitStack()
        self._source = _source(settings, cluster)
        self._reloading: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[NoReturn] | None = None
        self.port = 0
        self.probe_port = 0
        self.metrics_port: int | None = None

    async def start(self) -> None:
        """Open the ports of probes and metrics, and start to read the credentials; the webhooks' port opens with them.

        Raises:
            ConfigurationError: A port cannot be opened.
        """
        try:
            self.probe_port = await self._probes.enter_async_context(
                serve_probes(self._settings.probe_host, self._settings.probe_port, tuple, self._state.problems)
            )
            self.metrics_port = await self._probes.enter_async_context(
                serve_metrics(self._settings.metrics, self._recorder.metrics.render)
            )
        except ConfigurationError:
            await self._probes.aclose()
            raise
        await self._state.issuers.reload()
        if self._gate_policy is not None:
            self._checking = asyncio.create_task(self._gate_policy.keep_checking(self._set_gating), name="gate policy")
        self._reloading = asyncio.create_task(self._reload_credentials(), name="admission credentials")

    async def ended(self) -> None:
        """Return only when the service cannot continue.

        Raises:
            ConfigurationError: The webhooks' port cannot be opened.
        """
        if self._reloading is not None:
            await asyncio.shield(self._reloading)

    async def repair(self) -> None:
        """Relist everything.

        Raises:
            ClusterError: A list failed; the inventory keeps what it has.
        """
        await self.informer.relist(self._cluster)

    async def stop(self) -> None:
        """Become unready, finish the reviews that have begun, and close."""
        self._state.is_draining = True
        self._server.drain()
        if self.port and self._settings.material is not None:
            # A mounted Secret implies a Service, whose endpoints learn only after a while that this replica stops.
            await asyncio.sleep(_DRAIN_SECONDS)
        tasks = [task for task in (self._reloading, self._checking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.stop(_GRACE_SECONDS)
        await self._probes.aclose()

    async def _answer(self, path: str, webhook: Webhook, review: Review) -> bytes:
        if path in READS_POD:
            review = replace(review, stored_pod=await self._stored_pods.read(review.namespace, review.name))
        issuers = self._state.issuers.issuers
        if issuers and path in READS_OWNERS:
            review = replace(review, owners=await self._owners.read(review, issuers))
        if path in ASKS_ABOUT_COPIES:
            review = replace(review, copy_right=await self._copy_rights.read(review))
        size = max(review.size, _MIN_RETRIED_BYTES)
        self._retried_bytes += size
        seconds = RETRY_SECONDS if self._retried_bytes <= _MAX_RETRIED_BYTES else 0.0
        try:
            outcome = await retry_unknown(
                lambda: decide_review(webhook, review, self._state.review_context()), self._changes, seconds
            )
        finally:
            self._retried_bytes -= size
        return self._conclude(path, review, outcome)

    def _answer_at_once(self, path: str, webhook: Webhook, review: Review) -> bytes | None:
        """Return the answer; ``None`` when the API server has to be asked, or another decision may soon follow."""
        if path in READS_OWNERS and self._state.issuers.issuers:
            return None
        if path in ASKS_ABOUT_COPIES and requests_copy(review):
            return None
        outcome = decide_review(webhook, review, self._state.review_context())
        return None if depends_on_unknown(outcome) else self._conclude(path, review, outcome)

    def _conclude(self, path: str, review: Review, outcome: Outcome) -> bytes:
        """Record an outcome, and return the answer."""
        self._recorder.decided(path, review, outcome)
        self._auditor.decided(path, review, outcome)
        following = FOLLOWED.get(path)
        if following is not None:
            # After the answer is sent, while the API server works on it.
            asyncio.get_running_loop().call_soon(self._expect, following, review, outcome)
        return render(review, outcome)

    def _expect(self, following: FollowUp, review: Review, outcome: Outcome) -> None:
        review_context = self._state.review_context()
        if review_context is not None:
            prepare_following(following, review, outcome, review_context)

    def _set_gating(self, is_in_force: bool) -> None:
        self._state.is_gating = is_in_force

    def _certificate(self) -> bytes | None:
        """Return the certificate to seal with offline; ``None`` until it is known."""
        review_context = self._state.review_context()
        if review_context is None:
            return None
        return SealingCertificate(review_context.cluster_id, review_context.recipients).serialize()

    async def _reload_credentials(self) -> None:
        """Load certificate and keys, start to serve with them, and reload them and the issuers when they change."""
        loaded = None
        while True:
            loaded = await self._reload(loaded)
            await asyncio.sleep(_FIRST_RELOAD_SECONDS if loaded is None else _RELOAD_SECONDS)
            await self._state.issuers.reload()

    async def _reload(self, loaded: Mapping[str, bytes] | None) -> Mapping[str, bytes] | None:
        """Use the credentials if they differ from the loaded ones, and return what is loaded afterwards."""
        try:
            data = await self._source.read()
            if data is None or data == loaded:
                return loaded
            await self._use(parse_credentials(data))
        except (CertificateError, ClientAuthorityError, ClusterError, KeyMaterialError) as error:
            _logger.warning("admission credentials rejected", extra=context(error=str(error)))
            return loaded
        return data

    async def _use(self, credentials: AdmissionCredentials) -> None:
        tls = server_context(credentials.client_authority)
        load_pair(tls, credentials.tls)
        self._tls = tls
        self._served = credentials.tls.certificate
        self._state.credentials = credentials
        if not self.port:
            try:
                self.port = await self._server.start(self._settings.host, self._settings.port)
            except OSError:
                raise ConfigurationError("--host and --port do not name an address that can be opened") from None
        _logger.info("admission credentials loaded", extra=context(key_id=credentials.recipients.active.key_id))


def _source(settings: AdmissionSettings, cluster: Cluster) -> CredentialsSource:
    source: CredentialsSource
    if settings.material is not None:
        source = FolderCredentials(settings.material)
    else:
        source = SecretCredentials(cluster, settings.cluster.namespace, settings.material_secret or "")
    if settings.tls is not None:
        source = OverriddenCredentials(source, settings.tls)
    return source if settings.client_ca_file is None else ClientAuthorityCredentials(source, settings.client_ca_file)
