"""The registry: every kind of work of the controller, one line each.

A new kind of work (publishing a native Secret to many namespaces, counting usage) is a module with a `Reconciler` and
one line here. The order is the order of a full resync: what jobs wait for comes first.
"""

from typing import Final

from scoped_secrets.controller.bundles import BundleReconciler
from scoped_secrets.controller.copying import CopyReconciler
from scoped_secrets.controller.pod_starts import PodStartReconciler
from scoped_secrets.controller.reconciler import Reconciler
from scoped_secrets.controller.resealing import ResealReconciler
from scoped_secrets.controller.scopedsecret_status import ScopedSecretStatusReconciler
from scoped_secrets.controller.secretpolicy_status import SecretPolicyStatusReconciler
from scoped_secrets.controller.sweeping import SweepReconciler

__all__ = ["RECONCILERS"]

RECONCILERS: Final[tuple[type[Reconciler], ...]] = (
    BundleReconciler,
    PodStartReconciler,
    CopyReconciler,
    ResealReconciler,
    ScopedSecretStatusReconciler,
    SecretPolicyStatusReconciler,
    SweepReconciler,
)
