"""What the rules for storing a ScopedSecret depend on beside the object."""

from datetime import datetime
from typing import Protocol

from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.scope.slot import Slot, assign_slot
from scoped_secrets.crypto.keys import PublicKeyRing

__all__ = ["StorageState", "slot_of"]


class StorageState(Protocol):
    """What the rules depend on beside the object; admission's `ReviewContext` is one."""

    @property
    def inventory(self) -> Inventory:
        """Return all bindings, definitions and policies."""

    @property
    def now(self) -> datetime:
        """Return the present time, with its zone."""

    @property
    def cluster_id(self) -> str:
        """Return what sealed texts are bound to."""

    @property
    def recipients(self) -> PublicKeyRing:
        """Return the keys that values are sealed for."""

    @property
    def may_read_sources(self) -> bool | None:
        """Tell whether the controller may get Secrets in every namespace; ``None`` when unknown."""


def slot_of(model: ScopedSecret, namespace: str, state: StorageState) -> Slot:
    """Return the slot of the definition.

    Raises:
        DeniedError: Its namespace may not define it.
    """
    spec = model.spec
    binding = state.inventory.binding(namespace)
    return assign_slot(binding, spec.scope, spec.project, spec.environment, model.secret_name)
