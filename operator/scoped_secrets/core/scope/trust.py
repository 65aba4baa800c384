"""Which namespace is trusted for which jobs.

An object changes nothing for a namespace that is trusted more than its own. The home is trusted for the whole
organization, an environment's own namespaces for the jobs of that environment, and a project's namespaces for the other
jobs of the project (DESIGN section 3).
"""

from enum import IntEnum

from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["Territory", "Trust"]


class Trust(IntEnum):
    """How far a namespace is trusted; the greater one is trusted more."""

    PROJECT = 1
    ENVIRONMENT = 2
    HOME = 3


@dataclass(frozen=True, slots=True)
class Territory:
    """Whose objects count for the jobs of one environment of a project.

    Attributes:
        is_own: Whether the environment has namespaces of its own. Its jobs then trust these and the home.
        admits_attached: Whether all of these namespaces consent to bundles that the project attaches.
    """

    is_own: bool = False
    admits_attached: bool = False
