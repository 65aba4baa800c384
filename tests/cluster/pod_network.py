"""The addresses of one cluster's Services and pods."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from random import SystemRandom
from typing import TYPE_CHECKING, Self

from tests.cluster.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

# RFC 2544 keeps 198.18.0.0/15 for tests, so it is nobody's network. Each cluster takes 512 addresses of it.
FIRST_OCTETS = ((198, 18), (198, 19))


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """A range whose first half is for Services and whose second half is for pods.

    The first address is that of the Service `kubernetes`, because Kubernetes takes the first one for it. It is the
    machine's end of every pod's network too, so pods reach the API server there without a kube-proxy.
    """

    prefix: str
    """The first two numbers of all addresses."""
    third: int
    """The third number of the addresses of Services; that of pods is the next one."""

    @classmethod
    def choose(cls, reserve: Callable[[str], bool]) -> Self:
        """Return one of 256 ranges that no other cluster of this machine has.

        Args:
            reserve: Reserves a range for this cluster, or tells that another cluster has it.

        Raises:
            StartError: Other clusters have all of them.
        """
        ranges = [cls(f"{first}.{second}", third) for (first, second), third in product(FIRST_OCTETS, range(0, 256, 2))]
        SystemRandom().shuffle(ranges)
        for network in ranges:
            if reserve(network.range):
                return network
        raise StartError("other clusters have all addresses of 198.18.0.0/15: end some of them")

    @property
    def range(self) -> str:
        """All addresses."""
        return f"{self.prefix}.{self.third}.0/23"

    @property
    def services(self) -> str:
        """The addresses of Services."""
        return f"{self.prefix}.{self.third}.0/24"

    @property
    def gateway(self) -> str:
        """The address at which pods reach the machine, and the API server at port 443."""
        return f"{self.prefix}.{self.third}.1"

    @property
    def first_pod(self) -> str:
        """The first address of a pod."""
        return f"{self.prefix}.{self.third + 1}.1"
