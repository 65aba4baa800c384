"""What a grant holds, entry by entry: gathered once, and then asked for every container of the pod."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scoped_secrets.core.grant import Grant
from scoped_secrets.core.optional import is_left_out
from scoped_secrets.core.plan import data_key
from scoped_secrets.core.resolve import Contribution
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["Offer", "Offered", "gather", "losers"]


@dataclass(frozen=True, slots=True)
class Offered:
    """One entry of one bundle that the job gets: its data key in the bundle Secret, and its origin."""

    bundle: str
    key: str
    contribution: Contribution


@dataclass(frozen=True, slots=True)
class Offer:
    """The entries of all bundles.

    Attributes:
        variables: For each name the bundles' entries in the order of application: the last one wins.
        files: The bundles' files in the order of application.
        fail_on_conflict: Whether equal keys of two bundles refuse the pod.
        referred: What the pod refers to already, as ``keys_referred_to`` returns it.
    """

    variables: Mapping[str, Sequence[Offered]]
    files: Sequence[Offered]
    fail_on_conflict: bool
    referred: frozenset[str] | None

    def variable(self, bundle: str, name: str) -> Offered | None:
        """Return one bundle's variable, whether or not another bundle's wins over it."""
        return next((offered for offered in self.variables.get(name, ()) if offered.bundle == bundle), None)

    def variables_under(self, keys: Iterable[str]) -> Iterator[Offered]:
        """Yield the variables with these data keys, always in the same order."""
        wanted = frozenset(keys)
        if wanted:
            for holders in self.variables.values():
                yield from (offered for offered in holders if offered.key in wanted)

    def leaves_out(self, offered: Offered) -> bool:
        """Tell whether the job goes without an entry, because it is optional and its source is missing.

        Raises:
            DeniedError: Nobody knows yet whether the source is there.
        """
        return is_left_out(offered.bundle, offered.key, offered.contribution, self.referred)

    def check_conflict(self, subject: str, holders: Sequence[Offered]) -> None:
        """Refuse equal keys of several bundles where that was asked for.

        Raises:
            DeniedError: With both bundles' names.
        """
        if not self.fail_on_conflict or len(holders) == 1:
            return
        bundles = list(dict.fromkeys(offered.bundle for offered in holders))
        if len(bundles) > 1:
            raise DeniedError(
                Reason.KEY_CONFLICT,
                f"{subject} is in bundles '{bundles[-2]}' and '{bundles[-1]}' and key conflicts are refused here; "
                "rename one of the two or drop a reference",
            )


def gather(grant: Grant, referred: frozenset[str] | None = None) -> Offer:
    """Return what a grant holds.

    Args:
        grant: What the pod gets.
        referred: What the pod refers to already, ``None`` when it is not injected yet.

    Raises:
        DeniedError: Two bundles hold the same variable and conflicts are refused.
    """
    variables: dict[str, list[Offered]] = {}
    files: list[Offered] = []
    for applied in grant.applied:
        name = applied.name
        for variable, contribution in applied.resolution.env().items():
            variables.setdefault(variable, []).append(Offered(name, data_key(name, contribution), contribution))
        files += (
            Offered(name, data_key(name, contribution), contribution)
            for contribution in applied.resolution.files().values()
        )
    offer = Offer(variables, files, grant.fail_on_conflict, referred)
    for variable, holders in variables.items():
        offer.check_conflict(f"variable '{variable}'", holders)
    return offer


def losers(holders: Sequence[Offered]) -> tuple[str, ...]:
    """Return the bundles that lose a key to the last one; two spellings in one bundle are no collision of bundles."""
    if len(holders) == 1:
        return ()
    return tuple(dict.fromkeys(offered.bundle for offered in holders if offered.bundle != holders[-1].bundle))
