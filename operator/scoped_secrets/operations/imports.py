"""Bring bundles of another system into the cluster: plan their places, seal their values, store all or nothing.

Each source has a parser of its own that returns `ImportedBundle`s. A value that the source does not show is ``None``
until a person gives it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.api.parsing import parse_secret_policy
from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import (
    ClusterError,
    ConfigurationError,
    ConflictError,
    DeniedError,
    ForbiddenError,
    InvalidObjectError,
)
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.pipelining import gather
from scoped_secrets.messages import quoted_names
from scoped_secrets.operations.admission_warnings import warning_texts
from scoped_secrets.operations.create import NewSecret, Plan, Stored, plan_create, sealed_body
from scoped_secrets.operations.place import PlaceRequest
from scoped_secrets.operations.sealing_plan import PlainEntry

__all__ = [
    "ImportedBundle",
    "ImportedEntry",
    "PlannedBundle",
    "Restriction",
    "hidden_entries",
    "objects_of",
    "plan_import",
    "require_unique",
    "store_import",
    "with_values",
    "without_hidden",
]

_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class ImportedEntry:
    """One entry of another system.

    Attributes:
        key: The entry.
        value: The value; ``None`` when the source does not show it.
        mode: The mode of a file as octal text; ``None`` for the default.
        env: The variable that holds the path of a file with a path of its own; ``None`` for no such variable.
    """

    key: EntryKey
    value: SecretValue | None = None
    mode: str | None = None
    env: str | None = None


@dataclass(frozen=True, slots=True)
class Restriction:
    """Who may use a bundle in the other system, as parts of a SecretPolicy.

    Attributes:
        rules: The rules; none allows no job.
        interactive: The sessions that are denied.
    """

    rules: tuple[Mapping[str, Any], ...]
    interactive: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportedBundle:
    """One bundle of another system.

    Attributes:
        title: The words for it in a message, with its place in the source.
        secret_name: The name by which jobs reference it.
        entries: The entries, each once.
        project: Its project; ``None`` at organization scope.
        environment: Its environment; ``None`` at other scopes.
        spec: Further fields of the spec.
        labels: The labels of the object.
        restriction: Who may use it; ``None`` for the operator's default.
        notes: What is not carried over, or differently, each with its reason.
    """

    title: str
    secret_name: str
    entries: tuple[ImportedEntry, ...]
    project: str | None = None
    environment: str | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    restriction: Restriction | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedBundle:
    """A bundle and the place that it goes to.

    Attributes:
        bundle: The bundle.
        request: What is asked for, as with `create`.
        plan: Where it goes.
    """

    bundle: ImportedBundle
    request: NewSecret
    plan: Plan

    @property
    def location(self) -> str:
        """Return `namespace/name` of the object."""
        return f"{self.plan.place.namespace}/{self.plan.name}"


def hidden_entries(bundle: ImportedBundle) -> list[EntryKey]:
    """Return the entries whose values are still to be given."""
    return [entry.key for entry in bundle.entries if entry.value is None]


def with_values(bundle: ImportedBundle, values: Mapping[EntryKey, SecretValue]) -> ImportedBundle:
    """Return a bundle with values for hidden entries."""
    return replace(
        bundle,
        entries=tuple(
            replace(entry, value=values.get(entry.key)) if entry.value is None else entry for entry in bundle.entries
        ),
    )


def without_hidden(bundle: ImportedBundle) -> ImportedBundle:
    """Return a bundle without its hidden entries, which its notes list."""
    hidden = hidden_entries(bundle)
    if not hidden:
        return bundle
    return replace(
        bundle,
        entries=tuple(entry for entry in bundle.entries if entry.value is not None),
        notes=(*bundle.notes, *(f"{key} is left out: the source does not show its value" for key in hidden)),
    )


async def plan_import(
    cluster: Cluster, bundles: Sequence[ImportedBundle], place: PlaceRequest, operator_namespace: str
) -> list[PlannedBundle]:
    """Choose the place of each bundle, before any value is asked for.

    Args:
        cluster: The client.
        bundles: The bundles.
        place: What a person states; it goes before what the source says.
        operator_namespace: The operator's own namespace, which publishes the certificate.

    Raises:
        ConfigurationError: A bundle has no place, or two have the same one.
        DeniedError: A namespace may not define a bundle.
        ConflictError: An object exists.
        ClusterError: A request failed.
    """
    planned: list[PlannedBundle] = []
    for bundle in bundles:
        request = NewSecret(
            secret_name=bundle.secret_name,
            place=replace(
                place,
                project=place.project or bundle.project,
                environment=place.environment or bundle.environment,
            ),
            operator_namespace=operator_namespace,
            spec=bundle.spec,
            labels=bundle.labels,
        )
        try:
            plan = await plan_create(cluster, request)
        except ConfigurationError as error:
            raise ConfigurationError(f"{bundle.title}: {error}; nothing is stored") from None
        except DeniedError as error:
            raise DeniedError(error.reason, f"{bundle.title}: {error.message}; nothing is stored") from None
        except ConflictError as error:
            raise ConflictError(
                f"{bundle.title}: a ScopedSecret has this place and name already, see `scoped-secrets get "
                f"{bundle.secret_name}`; delete it, or rename the bundle in the source; nothing is stored",
                status=error.status,
            ) from None
        planned.append(PlannedBundle(bundle, request, plan))
    locations = [each.location for each in planned]
    for each in planned:
        if locations.count(each.location) > 1:
            raise ConfigurationError(
                f"several bundles of the source become ScopedSecret '{each.location}'; import them one after another "
                "into different places, or rename one in the source; nothing is stored"
            )
    return planned


def objects_of(planned: PlannedBundle) -> list[Body]:
    """Return the objects of a bundle, with every value sealed: the policy first, so that no job is early.

    Raises:
        UserError: A name, a size or a limit is not valid.
        ConfigurationError: A value is missing, or the value of a variable is not UTF-8 text.
    """
    bundle = planned.bundle
    hidden = hidden_entries(bundle)
    if hidden:
        raise ConfigurationError(f"{bundle.title}: {hidden[0]} has no value; nothing is stored")
    entries = [
        PlainEntry(entry.key, entry.mode, entry.value, entry.env) for entry in bundle.entries if entry.value is not None
    ]
    try:
        secret = sealed_body(planned.plan, planned.request, entries)
        policy = _policy(planned)
    except InvalidObjectError as error:
        raise InvalidObjectError(f"{bundle.title}: {error.message}; nothing is stored") from None
    except DeniedError as error:
        raise DeniedError(error.reason, f"{bundle.title}: {error.message}; nothing is stored") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{bundle.title}: {error}; nothing is stored") from None
    return [secret] if policy is None else [policy, secret]


async def store_import(cluster: Cluster, objects: Sequence[Body], *, dry_run: bool) -> list[Stored]:
    """Create all objects, after admission has checked every one of them.

    Args:
        cluster: The client.
        objects: The objects.
        dry_run: Stop after the check.

    Raises:
        ClusterError: An object is refused, so that nothing is stored, or a later request failed; the message says what
            is stored.
    """
    checked = await gather(*(_create(cluster, body, dry_run=True) for body in objects), return_exceptions=True)
    answers: list[Stored] = []
    for answer in checked:
        if isinstance(answer, ClusterError):
            raise type(answer)(f"{answer}; nothing is stored", status=answer.status) from None
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    if dry_run:
        return answers
    stored: list[Stored] = []
    for position, body in enumerate(objects):
        try:
            stored.append(await _create(cluster, body, dry_run=False))
        except ClusterError as error:
            done = ", ".join(_words(each) for each in objects[:position]) or "nothing"
            left = ", ".join(_words(each) for each in objects[position:])
            raise ClusterError(f"{error}; stored: {done}; not stored: {left}", status=error.status) from None
    return stored


async def _create(cluster: Cluster, body: Body, *, dry_run: bool) -> Stored:
    """Create an object of either kind; the errors name it."""
    namespace = body["metadata"]["namespace"]
    is_policy = body["kind"] == names.SECRET_POLICY_KIND
    path = paths.secret_policies(namespace) if is_policy else paths.scoped_secrets(namespace)
    try:
        created, warnings = await cluster.submit("POST", path, body, dry_run=dry_run)
    except ConflictError as error:
        raise ConflictError(f"{_words(body)} exists; delete or rename it first", status=error.status) from None
    except ForbiddenError as error:
        raise ForbiddenError(f"{_words(body)} is not created: {error}", status=error.status) from None
    return Stored(created, warning_texts(warnings))


def _policy(planned: PlannedBundle) -> Body | None:
    """Return the policy of a bundle; ``None`` for no restriction."""
    restriction, place = planned.bundle.restriction, planned.plan.place
    if restriction is None:
        return None
    environments = {"environments": [place.environment]} if place.scope is Scope.ENVIRONMENT else {}
    body: Body = {
        "apiVersion": names.API_VERSION,
        "kind": names.SECRET_POLICY_KIND,
        "metadata": {"name": planned.plan.name, "namespace": place.namespace},
        "spec": {
            "secrets": {"names": [planned.bundle.secret_name], "scopes": [place.scope.value]},
            "rules": [{**environments, **rule} for rule in restriction.rules],
            **({"interactive": dict(restriction.interactive)} if restriction.interactive else {}),
        },
    }
    parse_secret_policy(body)
    return body


def _words(body: Body) -> str:
    return f"{body['kind']} '{body['metadata']['namespace']}/{body['metadata']['name']}'"


def require_unique(title: str, entries: Iterable[ImportedEntry]) -> tuple[ImportedEntry, ...]:
    """Return entries, each of which must be there once.

    Raises:
        ConfigurationError: An entry is repeated.
    """
    found = tuple(entries)
    repeated = set(_repeated(entry.key for entry in found))
    if repeated:
        listed = quoted_names((key.name for key in repeated), _NAMED)
        raise ConfigurationError(f"{title} must have each name once, but repeats {listed}")
    return found


def _repeated(keys: Iterable[EntryKey]) -> Iterator[EntryKey]:
    seen: set[EntryKey] = set()
    for key in keys:
        if key in seen:
            yield key
        seen.add(key)
