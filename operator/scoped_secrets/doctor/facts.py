"""What is known of an installation, as values: gathered in one place and judged in another."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import TypeAlias, TypeVar

from scoped_secrets import names
from scoped_secrets.doctor.rights import Right

__all__ = [
    "Answer",
    "Crd",
    "Facts",
    "Hook",
    "Hooks",
    "Injected",
    "Injection",
    "Lease",
    "NamespaceLabels",
    "Published",
    "Reach",
    "Readiness",
    "RightAnswer",
    "Served",
    "ServerVersion",
    "Unreadable",
    "Workload",
]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that could not be asked for.

    Attributes:
        needs: The right that is missing, such as `list on namespaces`; empty when another failure kept it.
        failure: What went wrong when it was no right: our own words.
    """

    needs: str = ""
    failure: str = ""


Answer: TypeAlias = _T | Unreadable


@dataclass(frozen=True, slots=True)
class ServerVersion:
    """The version of the API server."""

    major: int
    minor: int


@dataclass(frozen=True, slots=True)
class Crd:
    """One of our CustomResourceDefinitions.

    Attributes:
        name: Its name.
        is_there: Whether it exists.
        is_established: Whether the API server serves it.
        is_ours: Whether its version and schema are those of this release.
    """

    name: str
    is_there: bool
    is_established: bool = False
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """One of our Deployments.

    Attributes:
        component: `controller` or `admission`.
        name: Its name.
        wanted: How many pods there should be.
        ready: How many are ready.
        is_rolled_out: Whether all pods are of the present template.
        image: The image of the container.
        account: The ServiceAccount.
        arguments: The container's arguments.
    """

    component: str
    name: str
    wanted: int
    ready: int
    is_rolled_out: bool
    image: str
    account: str
    arguments: tuple[str, ...] = ()

    def flag(self, name: str, default: str) -> str:
        """Return the value of a flag, in either way to write it."""
        found = default
        for index, argument in enumerate(self.arguments):
            if argument.startswith(f"{name}="):
                found = argument.partition("=")[2]
            elif argument == name and index + 1 < len(self.arguments):
                found = self.arguments[index + 1]
        return found


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads.

    Attributes:
        holder: Its identity; empty when nobody does.
        age: Seconds since it was renewed, by the clock of this machine.
        duration: For how many seconds a renewal counts.
    """

    holder: str
    age: float
    duration: float


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of a configuration.

    Attributes:
        name: Its name.
        path: Where it is called.
        is_strict: Whether a failure refuses the request.
        is_selective: Whether it sees only objects with our label.
        has_bundle: Whether there is a caBundle.
        bundle_end: When the last certificate in it ends; None when it holds none.
    """

    name: str
    path: str
    is_strict: bool
    is_selective: bool
    has_bundle: bool
    bundle_end: datetime | None


@dataclass(frozen=True, slots=True)
class Hooks:
    """A webhook configuration; `webhooks` is None when it does not exist."""

    kind: str
    name: str
    webhooks: tuple[Hook, ...] | None


class Reach(Enum):
    """How far a connection to the admission server came."""

    TRUSTED = auto()
    UNTRUSTED = auto()
    UNREACHABLE = auto()


@dataclass(frozen=True, slots=True)
class Served:
    """What the admission server shows to somebody who trusts the caBundle.

    Attributes:
        address: Where it was asked.
        reach: How far that came.
        problem: Why its certificate is not trusted.
        end: When its certificate ends.
        checksum: Of the sealing certificate that it publishes; empty when it has none.
    """

    address: str
    reach: Reach
    problem: str = ""
    end: datetime | None = None
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """The ConfigMap with the sealing certificate.

    Attributes:
        is_there: Whether it exists.
        checksum: Of the certificate; empty when it cannot be read.
        key_created: When the active key was made.
        cluster_id: What values are sealed for.
    """

    is_there: bool
    checksum: str = ""
    key_created: datetime | None = None
    cluster_id: str = ""


@dataclass(frozen=True, slots=True)
class NamespaceLabels:
    """What a namespace says about its scope; None for what it does not say, empty for what it says emptily."""

    name: str
    organization: str | None = None
    project: str | None = None
    environment: str | None = None
    allows_environments: bool = False


@dataclass(frozen=True, slots=True)
class Readiness:
    """A ScopedSecret or a SecretPolicy.

    Attributes:
        kind: Which of the two.
        location: Its `namespace/name`.
        reason: Why it is not Ready; empty when it is, or when nobody has said anything.
        is_observed: Whether its status is about what is stored.
        age: Seconds since it was created.
    """

    kind: str
    location: str
    reason: str
    is_observed: bool
    age: float


@dataclass(frozen=True, slots=True)
class RightAnswer:
    """Whether an account may do something."""

    account: str
    right: Right
    is_allowed: bool


class Injected(Enum):
    """What came of creating a pod as a dry run."""

    YES = auto()
    """It has our volume."""
    NO = auto()
    """It was let through as it was."""
    DENIED = auto()
    """A webhook of ours refused it."""
    NOT_ANSWERED = auto()
    """The API server could not ask a webhook of ours."""
    STOPPED = auto()
    """Something else refused it."""


@dataclass(frozen=True, slots=True)
class Injection:
    """A pod created as a dry run.

    Attributes:
        namespace: Where.
        outcome: What came of it.
        reason: The reason of a denial, or why the webhook was not asked, in a few words of ours.
        is_chosen: Whether a person chose the namespace.
    """

    namespace: str
    outcome: Injected
    reason: str = ""
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is judged.

    Attributes:
        now: When it was gathered.
        version: The version of this program.
        namespace: The operator's namespace.
    """

    now: datetime
    version: str
    namespace: str
    server: Answer[ServerVersion]
    crds: Answer[tuple[Crd, ...]]
    workloads: Answer[tuple[Workload, ...]]
    lease: Answer[Lease | None]
    hooks: tuple[Answer[Hooks], ...]
    served: Served | None
    published: Answer[Published]
    namespaces: Answer[tuple[NamespaceLabels, ...]]
    objects: tuple[Answer[tuple[Readiness, ...]], ...]
    rights: Answer[tuple[RightAnswer, ...]]
    injection: Answer[Injection]

    def workload(self, component: str) -> Workload | None:
        """Return the Deployment of a component, as far as it is known."""
        if isinstance(self.workloads, Unreadable):
            return None
        return next((each for each in self.workloads if each.component == component), None)

    def flag(self, component: str, name: str, default: str) -> str:
        """Return the value of a component's flag, the default where neither is known."""
        workload = self.workload(component)
        return default if workload is None else workload.flag(name, default)

    @property
    def default_organization(self) -> str:
        """Return the organization of namespaces that have only a project."""
        return self.flag("controller", "--organization", names.DEFAULT_ORGANIZATION)
