"""What the injections of all containers of one pod have in common."""

from scoped_secrets.core.grant import Grant
from scoped_secrets.core.injection.entries import BundleEntries
from scoped_secrets.core.pod import Pod
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """A pod and what it gets.

    Attributes:
        pod: The pod.
        grant: What it gets.
        bundle_entries: The entries of its bundles.
        base: The common name of its bundle Secrets.
        default_home: The home directory of containers that do not state theirs.
        stated_user: The user that an annotation states for containers that do not state theirs.
    """

    pod: Pod
    grant: Grant
    bundle_entries: BundleEntries
    base: str
    default_home: str
    stated_user: int | None
