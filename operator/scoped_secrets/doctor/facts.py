"""The facts about an installation: `gather` reads them, `checks` judges them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import TypeAlias, TypeVar

from scoped_secrets import names
from scoped_secrets.doctor.guard import GuardPolicy
from scoped_secrets.doctor.opt_in_facts import Marks, OptIn, Overlap, WarningPolicy
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
    "OptInFacts",
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
    """A fact that could not be read.

    Attributes:
        needs: The right that is missing, such as `list on namespaces`; empty after another failure.
        failure: What went wrong when no right is missing, in our own words.
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
        wanted: The desired number of pods.
        ready: The number of ready pods.
        is_rolled_out: Whether all pods have the current template.
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
        """Return the value of a flag, written with `=` or as two arguments."""
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
        holder: The identity of the leader; empty when there is none.
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
        path: The URL path that the API server calls.
        is_strict: Whether a failed call denies the request.
        is_selective: Whether it receives only objects with our label.
        has_bundle: Whether there is a caBundle.
        bundle_end: When the last certificate in the caBundle expires; None when it holds none.
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
    """The result of a connection to the admission server."""

    TRUSTED = auto()
    UNTRUSTED = auto()
    UNREACHABLE = auto()


@dataclass(frozen=True, slots=True)
class Served:
    """What the admission server serves to a client that trusts the caBundle.

    Attributes:
        address: The address of the server.
        reach: The result of the connection.
        problem: Why its certificate is not trusted.
        end: When its certificate expires.
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
        key_created: When the active key was generated.
        cluster_id: The cluster that values are sealed for.
    """

    is_there: bool
    checksum: str = ""
    key_created: datetime | None = None
    cluster_id: str = ""


@dataclass(frozen=True, slots=True)
class NamespaceLabels:
    """The labels of a namespace that define its scope; None for a missing label, empty for a label without a value.

    Attributes:
        marks: All labels and annotations with our prefix.
    """

    name: str
    organization: str | None = None
    project: str | None = None
    environment: str | None = None
    allows_environments: bool = False
    marks: Marks = field(default_factory=Marks)


@dataclass(frozen=True, slots=True)
class Readiness:
    """A ScopedSecret or a SecretPolicy.

    Attributes:
        kind: Which of the two.
        location: Its `namespace/name`.
        reason: Why it is not Ready; empty when it is Ready or has no status.
        is_observed: Whether its status describes the stored generation.
        age: Seconds since it was created.
    """

    kind: str
    location: str
    reason: str
    is_observed: bool
    age: float


@dataclass(frozen=True, slots=True)
class RightAnswer:
    """Whether a ServiceAccount has a right."""

    account: str
    right: Right
    is_allowed: bool


class Injected(Enum):
    """The result of creating a pod as a dry run."""

    YES = auto()
    """The pod has our volume."""
    NO = auto()
    """The pod was admitted without a change."""
    REFUSED = auto()
    """The API server denied the pod because none of our webhooks injected it."""
    DENIED = auto()
    """One of our webhooks denied the pod."""
    NOT_ANSWERED = auto()
    """The API server could not call one of our webhooks."""
    STOPPED = auto()
    """Another component denied the pod."""


@dataclass(frozen=True, slots=True)
class Injection:
    """A pod created as a dry run.

    Attributes:
        namespace: The namespace of the pod.
        outcome: The result.
        reason: The reason of a denial, or why the webhook was not called, in our own words.
        is_chosen: Whether a person chose the namespace.
    """

    namespace: str
    outcome: Injected
    reason: str = ""
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class OptInFacts:
    """How pods and workloads opt in.

    Attributes:
        policy: The policy that warns of mistakes.
        objects: Pods and workloads that have something of ours, one answer for each kind.
        overlaps: Variables that injected pods have from a ConfigMap too, one answer for each ConfigMap.
        not_compared: How many ConfigMaps of injected pods were too many to read.
    """

    policy: Answer[WarningPolicy]
    objects: tuple[Answer[tuple[OptIn, ...]], ...] = ()
    overlaps: tuple[Answer[tuple[Overlap, ...]], ...] = ()
    not_compared: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts that the checks judge.

    Attributes:
        now: When the facts were gathered.
        version: The version of this program.
        namespace: The operator's namespace.
        shipped_hooks: The webhook configurations that this program ships, which `hooks` are compared with.
        guard: The policies of the guard that are on by default, and the one about pods that were not injected.
    """

    now: datetime
    version: str
    namespace: str
    server: Answer[ServerVersion]
    crds: Answer[tuple[Crd, ...]]
    workloads: Answer[tuple[Workload, ...]]
    lease: Answer[Lease | None]
    hooks: tuple[Answer[Hooks], ...]
    shipped_hooks: tuple[Hooks, ...]
    served: Served | None
    published: Answer[Published]
    namespaces: Answer[tuple[NamespaceLabels, ...]]
    objects: tuple[Answer[tuple[Readiness, ...]], ...]
    rights: Answer[tuple[RightAnswer, ...]]
    injection: Answer[Injection]
    opt_in: OptInFacts
    guard: Answer[tuple[GuardPolicy, ...]] = ()

    def workload(self, component: str) -> Workload | None:
        """Return the Deployment of a component, None when it does not exist or could not be read."""
        if isinstance(self.workloads, Unreadable):
            return None
        return next((each for each in self.workloads if each.component == component), None)

    def flag(self, component: str, name: str, default: str) -> str:
        """Return the value of a component's flag, the default when the flag or the component is unknown."""
        workload = self.workload(component)
        return default if workload is None else workload.flag(name, default)

    @property
    def default_organization(self) -> str:
        """Return the organization of namespaces that name only a project."""
        return self.flag("controller", "--organization", names.DEFAULT_ORGANIZATION)
