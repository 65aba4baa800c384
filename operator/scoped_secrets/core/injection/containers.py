"""What each container of a pod needs to get what was granted: variables, files and expanded expressions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from scoped_secrets import names
from scoped_secrets.core.grant import Grant
from scoped_secrets.core.injection.bundle_entry import BundleEntry
from scoped_secrets.core.injection.entries import BundleEntries
from scoped_secrets.core.injection.expressions import MARK, Expression, find_expressions, hidden_variable
from scoped_secrets.core.injection.file_paths import check_paths, collapse, is_home_relative, normalise
from scoped_secrets.core.injection.layout import part_base
from scoped_secrets.core.pod import Container, Pod, Variable
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["MAX_FILES", "MAX_VARIABLES", "ContainerInjection", "plan_container", "target_containers"]

MAX_VARIABLES = 500
"""The maximum number of variables that one container gets (DESIGN section 5)."""

MAX_FILES = 500
"""The maximum number of files that one container gets: each is a mount of its own."""


@dataclass(frozen=True, slots=True)
class ContainerInjection:
    """What one container needs, and how that was decided.

    Attributes:
        container: The container.
        injected_before: The variables of an earlier pass: those that refer to this bundle.
        variables: The entry of each variable by name; hidden variables first, so that the container's own variables
            can expand them.
        files: The entry of each file by absolute path.
        texts: The texts that hold expressions, by JSON pointer.
        expressions: The hidden variable of each expression.
        file_providers: All entries for each absolute path in the order of application; the last one wins.
        declared: The bundle variables that the container declares itself; its own declarations win.
        left_out: The variables and absolute paths that the container runs without, because their optional source is
            missing.
    """

    container: Container
    injected_before: tuple[Variable, ...]
    variables: Mapping[str, BundleEntry]
    files: Mapping[str, BundleEntry]
    texts: Mapping[str, str]
    expressions: Mapping[Expression, str]
    file_providers: Mapping[str, Sequence[BundleEntry]]
    declared: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Selection:
    """What a container gets of the entries that it could get, by variable name or by absolute path."""

    injected: Mapping[str, BundleEntry]
    left_out: tuple[str, ...]


def target_containers(pod: Pod) -> list[Container]:
    """Return the containers that get the job's secrets: all of them, or those that the annotation lists.

    Raises:
        DeniedError: The annotation lists no container of this pod, or omits one that uses an expression.
    """
    annotation = pod.annotations.get(names.CONTAINERS_ANNOTATION)
    if annotation is None:
        return list(pod.containers)
    listed = {name.strip() for name in annotation.split(",") if name.strip()}
    known = {container.name for container in pod.containers}
    if not listed or not listed <= known:
        raise DeniedError(
            Reason.INVALID_ANNOTATION,
            f"annotation {names.CONTAINERS_ANNOTATION} must list containers of this pod, separated by commas: "
            f"{', '.join(sorted(known))}",
        )
    for container in pod.containers:
        if container.name not in listed and any(container.texts_with(MARK)):
            raise DeniedError(
                Reason.INVALID_REFERENCE,
                f"container '{container.name}' uses {MARK}…}} and is not in annotation {names.CONTAINERS_ANNOTATION}; "
                "add it there",
            )
    return [container for container in pod.containers if container.name in listed]


def plan_container(
    pod: Pod, container: Container, grant: Grant, bundle_entries: BundleEntries, base: str, default_home: str
) -> ContainerInjection:
    """Decide what one container needs.

    Raises:
        DeniedError: The container cannot get what was granted.
    """
    injected_before: list[Variable] = []
    own: list[Variable] = []
    for variable in container.env:
        (injected_before if _is_in_bundle(variable.secret, base) else own).append(variable)
    texts = dict(container.texts_with(MARK))
    expressions = {
        expression: _find_variable(expression, grant, bundle_entries, container)
        for pointer, text in texts.items()
        for expression in find_expressions(text, field=pointer)
    }
    hidden = _hidden_variables(container, bundle_entries, injected_before, own, expressions)
    own_names = {variable.name for variable in own}
    variables = _select(bundle_entries, bundle_entries.variables, own_names)
    count = len(hidden) + len(variables.injected)
    if count > MAX_VARIABLES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}' would get {count} variables; at most {MAX_VARIABLES} are allowed, so "
            "reference fewer bundles",
        )
    file_providers = _file_providers(pod, container, bundle_entries, own, default_home)
    files = _select(bundle_entries, file_providers)
    return ContainerInjection(
        container=container,
        injected_before=tuple(injected_before),
        variables={**hidden, **variables.injected},
        files=files.injected,
        texts=texts,
        expressions={expression: hidden_variable(entry.data_key) for expression, entry in expressions.items()},
        file_providers=file_providers,
        declared=tuple(filter(own_names.__contains__, bundle_entries.variables)),
        left_out=(*variables.left_out, *files.left_out),
    )


def _find_variable(
    expression: Expression, grant: Grant, bundle_entries: BundleEntries, container: Container
) -> BundleEntry:
    if grant.bundle(expression.bundle) is None:
        raise DeniedError(
            Reason.INVALID_REFERENCE,
            f"container '{container.name}' uses a variable of bundle '{expression.bundle}', which the job lacks; "
            f"name it in annotation {names.SECRETS_ANNOTATION}, without '?'",
        )
    bundle_entry = bundle_entries.variable(expression.bundle, expression.key)
    if bundle_entry is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"container '{container.name}' uses variable '{expression.key}', which bundle '{expression.bundle}' does "
            "not have; correct the expression or the definition",
        )
    if bundle_entries.leaves_out(bundle_entry):
        raise DeniedError(
            Reason.SOURCE_MISSING,
            f"container '{container.name}' uses variable '{expression.key}' of bundle '{expression.bundle}', which is "
            "optional and whose Secret or key is missing; create it, or take the expression out",
        )
    return bundle_entry


def _hidden_variables(
    container: Container,
    bundle_entries: BundleEntries,
    injected_before: Sequence[Variable],
    own: Sequence[Variable],
    expressions: Mapping[Expression, BundleEntry],
) -> dict[str, BundleEntry]:
    """Return the hidden variables: those of expressions, and those that replaced expressions in an earlier pass."""
    for variable in own:
        if variable.name.startswith(names.HIDDEN_VARIABLE_PREFIX):
            raise DeniedError(
                Reason.RESERVED_NAME,
                f"container '{container.name}': variable '{variable.name}' begins with the reserved "
                f"{names.HIDDEN_VARIABLE_PREFIX}; give it another name",
            )
    data_keys = {bundle_entry.data_key for bundle_entry in expressions.values()}
    data_keys |= {
        variable.key
        for variable in injected_before
        if variable.key is not None and variable.name.startswith(names.HIDDEN_VARIABLE_PREFIX)
    }
    # In the order of the bundles' entries: the result must not depend on whether an earlier pass has already replaced
    # the expressions.
    return {hidden_variable(entry.data_key): entry for entry in bundle_entries.variables_under(data_keys)}


def _select(
    bundle_entries: BundleEntries, providers: Mapping[str, Sequence[BundleEntry]], declared: Collection[str] = ()
) -> _Selection:
    """Choose the last provider of each name or path, and leave out optional entries whose source is missing.

    Args:
        bundle_entries: The entries of all bundles.
        providers: The entries for each name or path; the last one wins.
        declared: The names to skip, because the container declares them itself.
    """
    injected: dict[str, BundleEntry] = {}
    left_out: list[str] = []
    for key, candidates in providers.items():
        if key in declared:
            continue
        winner = candidates[-1]
        if bundle_entries.leaves_out(winner):
            left_out.append(key)
        else:
            injected[key] = winner
    return _Selection(injected, tuple(left_out))


def _file_providers(
    pod: Pod, container: Container, bundle_entries: BundleEntries, own: Sequence[Variable], default_home: str
) -> dict[str, list[BundleEntry]]:
    """Return the entries for each absolute path, in the order of application.

    Raises:
        DeniedError: The files conflict with each other or with the container, or its home directory is unknown.
    """
    found: dict[str, list[BundleEntry]] = {}
    home: str | None = None
    for bundle_entry in bundle_entries.files:
        path = bundle_entry.resolved.entry.name
        if is_home_relative(path):
            home = home or _home(pod, container, bundle_entries, own, path, default_home)
        found.setdefault(normalise(path, home or "/"), []).append(bundle_entry)
    if len(found) > MAX_FILES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}' would get {len(found)} files; at most {MAX_FILES} are allowed",
        )
    for path, providers in found.items():
        bundle_entries.check_conflict(f"file '{path}'", providers)
    own_mounts = {collapse(mount.path) or mount.path for mount in container.mounts if mount.volume != names.VOLUME_NAME}
    check_paths(found, own_mounts, container.name)
    if names.MOUNT_PATH in own_mounts:
        raise DeniedError(
            Reason.PATH_CONFLICT,
            f"container '{container.name}' mounts a volume at {names.MOUNT_PATH}, where the job's secrets go; "
            "choose another path",
        )
    return found


def _home(
    pod: Pod, container: Container, bundle_entries: BundleEntries, own: Sequence[Variable], path: str, default_home: str
) -> str:
    """Return the container's home directory: the annotation, else its variable HOME, else the operator's default."""
    annotated = pod.annotations.get(names.HOME_ANNOTATION)
    if annotated is not None:
        if not annotated.startswith("/"):
            raise DeniedError(Reason.INVALID_ANNOTATION, f"annotation {names.HOME_ANNOTATION} must be an absolute path")
        return annotated
    variable = next((variable for variable in reversed(own) if variable.name == "HOME"), None)
    if variable is not None:
        # A "$" begins an expansion or an expression, whose result is not known here.
        if variable.value is not None and variable.value.startswith("/") and "$" not in variable.value:
            return variable.value
    # A bundle may also set HOME, to a value that is not known before the container starts.
    elif not container.security.is_non_root and "HOME" not in bundle_entries.variables:
        return default_home
    raise DeniedError(
        Reason.HOME_UNKNOWN,
        f"file '{path}' is relative to the home directory, which container '{container.name}' does not state; "
        f"set annotation {names.HOME_ANNOTATION} or the container's variable HOME to an absolute path",
    )


def _is_in_bundle(secret: str | None, base: str) -> bool:
    """Tell whether a Secret is a part of this bundle."""
    return secret is not None and secret.startswith(base) and part_base(secret) == base
