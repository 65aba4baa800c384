"""The entries of all bundles in a grant: collected once, then used for every container of the pod."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from scoped_secrets.core.grant import Grant
from scoped_secrets.core.injection.bundle_entry import BundleEntry, data_key
from scoped_secrets.core.injection.file_paths import is_home_relative
from scoped_secrets.core.injection.optional_entries import has_ended, is_left_out
from scoped_secrets.core.memo import Memo
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["BundleEntries", "collect_entries", "overridden_bundles"]


@dataclass(frozen=True, slots=True)
class BundleEntries:
    """The entries of all bundles.

    Attributes:
        variables: For each variable name the entries of the bundles in the order of application: the last one wins.
            The entry is the variable, or a file whose path the variable holds.
        files: The files of the bundles in the order of application.
        fail_on_conflict: Whether equal keys of two bundles deny the pod.
        referenced: The data keys that the pod already references, as ``referenced_data_keys`` returns them.
        memo: Where results are kept that follow from these entries.
    """

    variables: Mapping[str, Sequence[BundleEntry]]
    files: Sequence[BundleEntry]
    fail_on_conflict: bool
    referenced: frozenset[str] | None
    memo: Memo = field(compare=False, repr=False)

    def __len__(self) -> int:
        """Return the number of variables and files."""
        return len(self.variables) + len(self.files)

    def variable(self, bundle: str, name: str) -> BundleEntry | None:
        """Return the variable of one bundle, even if a later bundle overrides it."""
        return next((entry for entry in self.variables.get(name, ()) if entry.bundle == bundle), None)

    @property
    def home_relative_path(self) -> str | None:
        """Return the first path that depends on the home directory; ``None`` when no file needs it."""
        paths = (entry.resolved.entry.path for entry in self.files)
        return next((path for path in paths if path is not None and is_home_relative(path)), None)

    def variables_under(self, data_keys: Iterable[str]) -> Iterator[BundleEntry]:
        """Yield the variables with these data keys, always in the same order."""
        searched = frozenset(data_keys)
        if searched:
            for providers in self.variables.values():
                yield from (entry for entry in providers if entry.data_key in searched)

    def leaves_out(self, entry: BundleEntry) -> bool:
        """Tell whether the job runs without an entry, because the entry is optional and its source is missing.

        Raises:
            DeniedError: It is not known yet whether the source exists.
        """
        return is_left_out(entry, self.referenced)

    def check_conflict(self, subject: str, providers: Sequence[BundleEntry]) -> None:
        """Deny equal keys of several bundles where key conflicts are not allowed.

        Raises:
            DeniedError: Two bundles have the key; the message names both.
        """
        if not self.fail_on_conflict or len(providers) == 1:
            return
        bundles = list(dict.fromkeys(entry.bundle for entry in providers))
        if len(bundles) > 1:
            raise DeniedError(
                Reason.KEY_CONFLICT,
                f"{subject} is in bundles '{bundles[-2]}' and '{bundles[-1]}' and key conflicts are refused here; "
                "rename one of the two or drop a reference",
            )


def collect_entries(grant: Grant, referenced: frozenset[str] | None = None) -> BundleEntries:
    """Return the entries of all bundles in a grant.

    Args:
        grant: What the pod gets.
        referenced: The data keys that the pod already references; ``None`` when it is not injected yet.

    Raises:
        DeniedError: Two bundles have the same variable and key conflicts are not allowed.
    """
    bundles = tuple((applied.name, applied.is_attached) for applied in grant.applied)
    key = "entries", grant.path, bundles, grant.fail_on_conflict, referenced, _ended(grant)
    return grant.memo.get(key, _collect, grant, referenced)


def _ended(grant: Grant) -> tuple[bool, ...]:
    """Return which former values have ended: all that a collection depends on and that time changes."""
    return tuple(
        grant.now >= end
        for applied in grant.applied
        for slotted in applied.resolution.contributors
        for end in slotted.definition.previous_end
    )


def _collect(grant: Grant, referenced: frozenset[str] | None) -> BundleEntries:
    variables: dict[str, list[BundleEntry]] = {}
    files: list[BundleEntry] = []
    for applied in grant.applied:
        bundle = applied.name
        for variable, resolved in applied.resolution.variables().items():
            key = data_key(bundle, resolved.entry)
            if has_ended(resolved.entry, key, referenced, grant.now):
                continue
            bundle_entry = BundleEntry(bundle, key, resolved, applied.is_attached)
            variables.setdefault(variable, []).append(bundle_entry)
        files += (
            BundleEntry(bundle, data_key(bundle, resolved.entry), resolved, applied.is_attached)
            for resolved in applied.resolution.files()
        )
    bundle_entries = BundleEntries(variables, files, grant.fail_on_conflict, referenced, grant.memo.part())
    for variable, providers in variables.items():
        bundle_entries.check_conflict(f"variable '{variable}'", providers)
    return bundle_entries


def overridden_bundles(providers: Sequence[BundleEntry]) -> tuple[str, ...]:
    """Return the bundles whose entry of one key is overridden by the last one's.

    Two spellings of one path in the same bundle do not count: the bundle does not override itself.
    """
    if len(providers) == 1:
        return ()
    return tuple(dict.fromkeys(entry.bundle for entry in providers if entry.bundle != providers[-1].bundle))
