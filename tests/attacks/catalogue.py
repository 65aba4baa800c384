"""All attacks, in the order of their ids."""

from __future__ import annotations

from typing import Final

from tests.attacks.admission import ADMISSION
from tests.attacks.bundles import BUNDLES
from tests.attacks.output import OUTPUT
from tests.attacks.tenants import TENANTS

# The attacks on admission, policy, tenants, output and rights of the list that the design started from. The others on
# that list are about cryptography (tests/crypto), the image and its supply chain (tests/packaging), and quotas.
LISTED: Final = tuple(f"A{number}" for number in (*range(1, 37), *range(45, 50)))

ATTACKS: Final = tuple(
    sorted(
        (*TENANTS, *OUTPUT, *ADMISSION, *BUNDLES),
        key=lambda attack: (attack.id not in LISTED, LISTED.index(attack.id) if attack.id in LISTED else 0, attack.id),
    )
)
