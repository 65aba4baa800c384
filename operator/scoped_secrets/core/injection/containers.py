"""What each container of a pod must have to get what was granted: variables, files and expanded expressions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scoped_secrets import names
from scoped_secrets.core.grant import Grant
from scoped_secrets.core.injection import file_paths as paths
from scoped_secrets.core.injection.entries import BundleEntries, BundleEntry
from scoped_secrets.core.injection.expressions import MARK, Expression, find_expressions, hidden_variable
from scoped_secrets.core.injection.layout import part_base
from scoped_secrets.core.injection.report import InjectionTrace
from scoped_secrets.core.pod import Container, Pod, Variable
from scoped_secrets.core.resolution.definitions import FileEntry
from scoped_secrets.core.resolution.resolve import Contribution
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["MAX_FILES", "MAX_VARIABLES", "ContainerInjection", "plan_container", "target_containers"]

MAX_VARIABLES = 500
"""The most variables that one container gets (DESIGN section 5)."""

MAX_FILES = 500
"""The most files that one container gets: each is a mount of its own."""


@dataclass(frozen=True, slots=True)
class ContainerInjection:
    """What one container must have."""

    container: Container
    present: tuple[Variable, ...]
    """What an earlier pass gave to it: the variables that refer to this bundle."""
    variables: tuple[tuple[str, str, Contribution], ...]
    """Name, data key and origin; hidden variables first, so that the container's own may expand them."""
    files: Mapping[str, tuple[str, Contribution]]
    """Data key and origin by absolute path."""
    texts: tuple[tuple[str, str], ...]
    """The pointers and texts that hold expressions."""
    expressions: Mapping[Expression, str]
    """The hidden variable of each of them."""


def target_containers(pod: Pod) -> list[Container]:
    """Return the containers that get the job's secrets: all of them, or those that the annotation lists.

    Raises:
        DeniedError: The annotation lists no container of this pod, or leaves out one that uses an expression.
    """
    listed = pod.annotations.get(names.CONTAINERS_ANNOTATION)
    if listed is None:
        return list(pod.containers)
    chosen = {name.strip() for name in listed.split(",") if name.strip()}
    known = {container.name for container in pod.containers}
    if not chosen or not chosen <= known:
        raise DeniedError(
            Reason.INVALID_ANNOTATION,
            f"annotation {names.CONTAINERS_ANNOTATION} must list containers of this pod, separated by commas: "
            f"{', '.join(sorted(known))}",
        )
    for container in pod.containers:
        if container.name not in chosen and any(container.texts_with(MARK)):
            raise DeniedError(
                Reason.INVALID_REFERENCE,
                f"container '{container.name}' uses {MARK}…}} and is not in annotation {names.CONTAINERS_ANNOTATION}; "
                "add it there",
            )
    return [container for container in pod.containers if container.name in chosen]


def plan_container(
    pod: Pod,
    container: Container,
    grant: Grant,
    bundle_entries: BundleEntries,
    base: str,
    default_home: str,
    trace: InjectionTrace,
) -> ContainerInjection:
    """Decide what one container must have, and note in the trace where each key comes from.

    Raises:
        DeniedError: The container cannot get it.
    """
    present: list[Variable] = []
    own: list[Variable] = []
    for variable in container.env:
        (present if _is_ours(variable.secret, base) else own).append(variable)
    texts = tuple(container.texts_with(MARK))
    expressions = {
        expression: _look_up(expression, grant, bundle_entries, container)
        for pointer, text in texts
        for expression in find_expressions(text, field=pointer)
    }
    hidden = _hidden(container, bundle_entries, present, own, expressions)
    variables = _variables(container, bundle_entries, own, trace)
    if len(hidden) + len(variables) > MAX_VARIABLES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}' would get {len(hidden) + len(variables)} variables; at most {MAX_VARIABLES} "
            "are allowed, so reference fewer bundles",
        )
    return ContainerInjection(
        container=container,
        present=tuple(present),
        variables=(*hidden, *variables),
        files=_files(pod, container, bundle_entries, own, default_home, trace),
        texts=texts,
        expressions={expression: hidden_variable(bundle_entry.key) for expression, bundle_entry in expressions.items()},
    )


def _look_up(expression: Expression, grant: Grant, bundle_entries: BundleEntries, container: Container) -> BundleEntry:
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


def _hidden(
    container: Container,
    bundle_entries: BundleEntries,
    present: Sequence[Variable],
    own: Sequence[Variable],
    expressions: Mapping[Expression, BundleEntry],
) -> list[tuple[str, str, Contribution]]:
    """Return the hidden variables: those of expressions, and those that an earlier pass put in their place."""
    for variable in own:
        if variable.name.startswith(names.HIDDEN_VARIABLE_PREFIX):
            raise DeniedError(
                Reason.RESERVED_NAME,
                f"container '{container.name}': variable '{variable.name}' begins with the reserved "
                f"{names.HIDDEN_VARIABLE_PREFIX}; give it another name",
            )
    needed = {bundle_entry.key for bundle_entry in expressions.values()}
    needed |= {
        variable.key
        for variable in present
        if variable.key is not None and variable.name.startswith(names.HIDDEN_VARIABLE_PREFIX)
    }
    # In the offer's order, because the plan must not depend on whether the expressions are still there to be read.
    return [
        (hidden_variable(bundle_entry.key), bundle_entry.key, bundle_entry.contribution)
        for bundle_entry in bundle_entries.variables_under(needed)
    ]


def _variables(
    container: Container, bundle_entries: BundleEntries, own: Sequence[Variable], trace: InjectionTrace
) -> list[tuple[str, str, Contribution]]:
    taken = {variable.name for variable in own}
    chosen = []
    kept = []
    for name, providers in bundle_entries.variables.items():
        if name in taken:
            kept.append(name)
        elif bundle_entries.leaves_out(providers[-1]):
            trace.missing.add(name)
        else:
            chosen.append((name, providers[-1].key, providers[-1].contribution))
    trace.kept[container.name] = tuple(kept)
    return chosen


def _files(
    pod: Pod,
    container: Container,
    bundle_entries: BundleEntries,
    own: Sequence[Variable],
    default_home: str,
    trace: InjectionTrace,
) -> dict[str, tuple[str, Contribution]]:
    found: dict[str, list[BundleEntry]] = {}
    home: str | None = None
    for bundle_entry in bundle_entries.files:
        entry = bundle_entry.contribution.entry
        path = entry.path if isinstance(entry, FileEntry) else ""
        if paths.is_home_relative(path):
            home = home or _home(pod, container, bundle_entries, own, path, default_home)
        found.setdefault(paths.normalise(path, home or "/"), []).append(bundle_entry)
    if len(found) > MAX_FILES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}' would get {len(found)} files; at most {MAX_FILES} are allowed",
        )
    for path, providers in found.items():
        bundle_entries.check_conflict(f"file '{path}'", providers)
    own_mounts = {
        paths.collapse(mount.path) or mount.path for mount in container.mounts if mount.volume != names.VOLUME_NAME
    }
    paths.check_paths(found, own_mounts, container.name)
    if names.MOUNT_PATH in own_mounts:
        raise DeniedError(
            Reason.PATH_CONFLICT,
            f"container '{container.name}' mounts a volume at {names.MOUNT_PATH}, where the job's secrets go; "
            "choose another path",
        )
    trace.files[container.name] = found
    files: dict[str, tuple[str, Contribution]] = {}
    for path, providers in found.items():
        if bundle_entries.leaves_out(providers[-1]):
            trace.missing.add(path)
        else:
            files[path] = providers[-1].key, providers[-1].contribution
    return files


def _home(
    pod: Pod, container: Container, bundle_entries: BundleEntries, own: Sequence[Variable], path: str, default_home: str
) -> str:
    """Return the container's home: annotation, then its HOME variable, then the operator's default."""
    annotated = pod.annotations.get(names.HOME_ANNOTATION)
    if annotated is not None:
        if not annotated.startswith("/"):
            raise DeniedError(Reason.INVALID_ANNOTATION, f"annotation {names.HOME_ANNOTATION} must be an absolute path")
        return annotated
    told = next((variable for variable in reversed(own) if variable.name == "HOME"), None)
    if told is not None:
        # A "$" is an expansion or an expression: what it comes to is not known here.
        if told.value is not None and told.value.startswith("/") and "$" not in told.value:
            return told.value
    # A bundle may set HOME too, to a value that nobody knows before the container starts.
    elif not container.security.is_non_root and "HOME" not in bundle_entries.variables:
        return default_home
    raise DeniedError(
        Reason.HOME_UNKNOWN,
        f"file '{path}' is relative to the home directory, which container '{container.name}' does not tell; "
        f"set annotation {names.HOME_ANNOTATION} or the container's variable HOME to an absolute path",
    )


def _is_ours(secret: str | None, base: str) -> bool:
    """Tell whether a Secret is a part of this bundle."""
    return secret is not None and secret.startswith(base) and part_base(secret) == base
