"""The state that a webhook decides from, beside the review itself."""

from dataclasses import dataclass
from datetime import datetime

from scoped_secrets.admission.comparison_limit import ComparisonLimit
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.policy.issuers import TrustedIssuer
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import PublicKeyRing

__all__ = ["ReviewContext"]


@dataclass(frozen=True, slots=True)
class ReviewContext:
    """The state at one moment. Webhooks read it and change nothing but the count of `comparisons`.

    Attributes:
        inventory: Complete bindings, definitions and policies.
        fingerprint_key: The cluster's key for fingerprints and names of bundles.
        recipients: The keys to seal for.
        cluster_id: What sealed texts are bound to: the UID that namespace ``kube-system`` had where the keys were made.
        settings: The operator's configuration.
        now: The present time, with its zone.
        comparisons: The limit on values that are compared with stored ones.
        keep_unchanged: Whether a stored sealed text stays when the same value is applied again (DESIGN section 7).
        former_fingerprint_keys: Keys before a rotation; they may have made names of bundles.
        gate: Whether pods are gated until their bundle exists.
        may_read_sources: Whether the controller may get Secrets in every namespace, as of a minute or two ago; ``None``
            when unknown.
        issuers: The trusted issuers, in the order of the configuration.
    """

    inventory: Inventory
    fingerprint_key: FingerprintKey
    recipients: PublicKeyRing
    cluster_id: str
    settings: DecisionSettings
    now: datetime
    comparisons: ComparisonLimit
    keep_unchanged: bool = True
    former_fingerprint_keys: tuple[FingerprintKey, ...] = ()
    may_read_sources: bool | None = None
    gate: bool = False
    issuers: tuple[TrustedIssuer, ...] = ()
