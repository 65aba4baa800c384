"""What a grant holds, entry by entry: gathered once, and then asked for every container of the pod."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scoped_secrets.core.grant import Grant
from scoped_secrets.core.injection.layout import data_key
from scoped_secrets.core.injection.optional_entries import is_left_out
from scoped_secrets.core.resolution.resolve import Contribution
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["BundleEntries", "BundleEntry", "collect_entries", "overridden_bundles"]


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One entry of one bundle that the job gets: its data key in the bundle Secret, and its origin."""

    bundle: str
    key: str
    contribution: Contribution


@dataclass(frozen=True, slots=True)
class BundleEntries:
    """The entries of all bundles.

    Attributes:
        variables: For each name the bundles' entries in the order of application: the last one wins.
        files: The bundles' files in the order of application.
        fail_on_conflict: Whether equal keys of two bundles refuse the pod.
        referred: What the pod refers to already, as ``keys_referred_to`` returns it.
    """

    variables: Mapping[str, Sequence[BundleEntry]]
    files: Sequence[BundleEntry]
    fail_on_conflict: bool
    referred: frozenset[str] | None

    def variable(self, bundle: str, name: str) -> BundleEntry | None:
        """Return one bundle's variable, whether or not another bundle's wins over it."""
        return next(
            (bundle_entry for bundle_entry in self.variables.get(name, ()) if bundle_entry.bundle == bundle), None
        )

    def variables_under(self, keys: Iterable[str]) -> Iterator[BundleEntry]:
        """Yield the variables with these data keys, always in the same order."""
        searched = frozenset(keys)
        if searched:
            for providers in self.variables.values():
                yield from (bundle_entry for bundle_entry in providers if bundle_entry.key in searched)

    def leaves_out(self, bundle_entry: BundleEntry) -> bool:
        """Tell whether the job goes without an entry, because it is optional and its source is missing.

        Raises:
            DeniedError: Nobody knows yet whether the source is there.
        """
        return is_left_out(bundle_entry.bundle, bundle_entry.key, bundle_entry.contribution, self.referred)

    def check_conflict(self, subject: str, providers: Sequence[BundleEntry]) -> None:
        """Refuse equal keys of several bundles where that was asked for.

        Raises:
            DeniedError: With both bundles' names.
        """
        if not self.fail_on_conflict or len(providers) == 1:
            return
        bundles = list(dict.fromkeys(bundle_entry.bundle for bundle_entry in providers))
        if len(bundles) > 1:
            raise DeniedError(
                Reason.KEY_CONFLICT,
                f"{subject} is in bundles '{bundles[-2]}' and '{bundles[-1]}' and key conflicts are refused here; "
                "rename one of the two or drop a reference",
            )


def collect_entries(grant: Grant, referred: frozenset[str] | None = None) -> BundleEntries:
    """Return what a grant holds.

    Args:
        grant: What the pod gets.
        referred: What the pod refers to already, ``None`` when it is not injected yet.

    Raises:
        DeniedError: Two bundles hold the same variable and conflicts are refused.
    """
    variables: dict[str, list[BundleEntry]] = {}
    files: list[BundleEntry] = []
    for applied in grant.applied:
        name = applied.name
        for variable, contribution in applied.resolution.env().items():
            variables.setdefault(variable, []).append(BundleEntry(name, data_key(name, contribution), contribution))
        files += (
            BundleEntry(name, data_key(name, contribution), contribution)
            for contribution in applied.resolution.files().values()
        )
    bundle_entries = BundleEntries(variables, files, grant.fail_on_conflict, referred)
    for variable, providers in variables.items():
        bundle_entries.check_conflict(f"variable '{variable}'", providers)
    return bundle_entries


def overridden_bundles(providers: Sequence[BundleEntry]) -> tuple[str, ...]:
    """Return the bundles that lose a key to the last one; two spellings in one bundle are no collision of bundles."""
    if len(providers) == 1:
        return ()
    return tuple(
        dict.fromkeys(bundle_entry.bundle for bundle_entry in providers if bundle_entry.bundle != providers[-1].bundle)
    )
