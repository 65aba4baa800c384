"""The options of the commands that ask about jobs, of a cluster or of files, and the state that they lead to."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from scoped_secrets import names
from scoped_secrets.cli.offline_options import CLAIM_OPTIONS, MOMENT_OPTION, take_moment
from scoped_secrets.cli.options import CONNECTION_OPTIONS, OPERATOR_NAMESPACE_OPTION
from scoped_secrets.cli.session import Session, connection
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.credentials import Connection, current_namespace
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.operations.cluster_view import ClusterState, Unread, read_cluster
from scoped_secrets.operations.given_scope import parse_given_scope
from scoped_secrets.operations.jobs import JobDescription, JobPod, Question, described_pod
from scoped_secrets.operations.operator_settings import GivenSettings

if TYPE_CHECKING:
    from scoped_secrets.operations.manifests import Manifests

__all__ = [
    "JOB_OPTIONS",
    "SOURCE_OPTIONS",
    "Source",
    "job_of",
    "print_unread",
    "question_about",
    "read_job",
    "take_source",
]

SOURCE_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "-f",
        "--filename",
        "files",
        metavar="PATH",
        multiple=True,
        help="Answer from these files or directories instead of a cluster; several times.",
    ),
    click.option(
        "--namespace-scope",
        "scopes",
        metavar="NAMESPACE=ORGANIZATION[/PROJECT[/ENVIRONMENT]]",
        multiple=True,
        help="With -f: scope path of a namespace that is not in the files; several times.",
    ),
    click.option(
        "--default-access",
        type=click.Choice([access.value for access in Access]),
        help="Access to a bundle that no policy selects; by default as the operator's Deployment says.",
    ),
    click.option(
        "--default-home",
        metavar="PATH",
        help="Home of containers that declare none; by default as the operator's Deployment says.",
    ),
    click.option(
        "--default-organization",
        help="Organization of namespaces that have only a project; by default as the operator's Deployment says.",
    ),
    MOMENT_OPTION,
    *CONNECTION_OPTIONS,
    OPERATOR_NAMESPACE_OPTION,
)
"""Where the answer comes from."""

JOB_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option("-n", "--namespace", help="Namespace of the job, instead of organization, project and environment."),
    click.option("--organization", help="Organization of the job, where projects of several have one name."),
    click.option("-p", "--project", help="Project of the job."),
    click.option("--environment", help="Environment of the job."),
    *CLAIM_OPTIONS,
)
"""Where the job stands, and what admission would vouch for."""


@dataclass(frozen=True, slots=True)
class Source:
    """A cluster, or files."""

    files: tuple[str, ...]
    scopes: tuple[str, ...]
    person: Connection
    settings: GivenSettings

    def namespace(self, given: str | None) -> str:
        """Return a namespace: the given one, by default that of the kubeconfig.

        Raises:
            ConfigurationError: There is none by default.
        """
        if given is not None:
            return given
        if self.files:
            raise ConfigurationError("--namespace must be given with -f")
        return current_namespace(self.person.kubeconfig, self.person.context)

    def read(self, namespaces: Sequence[str] = ()) -> ClusterState:
        """Return the state, from the files or from the cluster."""
        if self.files:
            return self._read_files(self.manifests())
        with Session(self.person) as session:
            return session.run(lambda cluster: read_cluster(cluster, self.settings, namespaces))

    def manifests(self) -> "Manifests":
        """Return the objects of the files."""
        from scoped_secrets.operations.manifests import read_manifests  # noqa: PLC0415 - a cluster needs no files.

        return read_manifests(self.files)

    def _read_files(self, manifests: "Manifests") -> ClusterState:
        from scoped_secrets.operations.offline_cluster import build_cluster  # noqa: PLC0415 - as above.

        given = self.settings
        organization = given.organization or names.DEFAULT_ORGANIZATION
        scopes = tuple(map(parse_given_scope, self.scopes))
        cluster = build_cluster(manifests, scopes, default_organization=organization)
        settings = DecisionSettings(
            given.default_access or Access.ALLOW_IN_SCOPE, given.default_home or names.DEFAULT_HOME
        )
        unread = tuple(
            Unread(f"namespace '{each}', which is not in the files", each) for each in sorted(cluster.unbound)
        )
        return ClusterState(cluster.inventory, settings, unread)


def take_source(flags: dict[str, Any]) -> Source:
    """Remove the flags of `SOURCE_OPTIONS`, except the time, from a command's flags and return them."""
    access = flags.pop("default_access")
    settings = GivenSettings(
        flags.pop("operator_namespace"),
        flags.pop("default_organization"),
        None if access is None else Access(access),
        flags.pop("default_home"),
    )
    person = connection(flags)
    for flag in ("kubeconfig", "context", "as_user", "as_groups", "as_uid"):
        del flags[flag]
    return Source(flags.pop("files"), flags.pop("scopes"), person, settings)


def question_about(flags: dict[str, Any], state: ClusterState) -> Question:
    """Remove the time and the claims from a command's flags and return them with the settings of the operator."""
    claims = {name: flags.pop(name, "") for name in ("creator", "ref", "event")}
    return Question(take_moment(flags), state.settings, AdmissionRecord(**claims))


def job_of(name: str, flags: dict[str, Any], source: Source, account: str = "default") -> JobDescription:
    """Remove the place of a job from a command's flags and return the job that names one bundle.

    Without a place, it is the namespace of the kubeconfig.

    Raises:
        ConfigurationError: No place is given, and there is none by default.
    """
    place = {field: flags.pop(field) for field in ("namespace", "organization", "project", "environment")}
    if place["namespace"] is None and place["organization"] is None and place["project"] is None:
        if source.files:
            raise ConfigurationError("the job needs a place: give --project or --organization, or --namespace")
        place["namespace"] = source.namespace(None)
    return JobDescription(secrets=name, service_account=account, **place)


def read_job(job: JobDescription, source: Source) -> tuple[ClusterState, JobPod]:
    """Return the state that decides about a job, and the pod of the job; print what could not be read.

    Without the right to list namespaces, that of the kubeconfig is read, which is often the job's.

    Raises:
        ConfigurationError: No namespace, or more than one, is the job's; the message names what could not be read.
        ClusterError: The API server does not answer.
    """
    known = job.namespace or ("" if source.files else source.namespace(None))
    state = source.read([known] if known else [])
    try:
        pod = described_pod(job, state.inventory)
    except ConfigurationError as error:
        if not state.unread:
            raise
        unread = " and ".join(each.what for each in state.unread)
        raise ConfigurationError(f"{error}; not read, because your role does not allow it: {unread}") from None
    print_unread(state, pod.namespace)
    return state, pod


def print_unread(state: ClusterState, namespace: str) -> None:
    """Print what the answer about the jobs of a namespace does not know."""
    for unread in state.unread_about(namespace):
        click.echo(
            f"Warning: not read: {unread.what}; the answer does not know it. To ask admission, create a pod with "
            "`kubectl apply --dry-run=server`",
            err=True,
        )
    if state.assumed:
        click.echo(
            f"Warning: the operator's Deployment cannot be read; the defaults of {', '.join(state.assumed)} are used",
            err=True,
        )
