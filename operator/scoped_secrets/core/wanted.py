"""What each container of a pod must have to get what was granted: variables, files and expanded expressions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scoped_secrets import names
from scoped_secrets.core import paths
from scoped_secrets.core.definitions import FileEntry
from scoped_secrets.core.expressions import MARK, Expression, find_expressions, hidden_variable
from scoped_secrets.core.grant import Grant
from scoped_secrets.core.plan import data_key, part_base
from scoped_secrets.core.pod import Container, Pod
from scoped_secrets.core.provenance import Trace
from scoped_secrets.core.resolve import Contribution
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["MAX_FILES", "MAX_VARIABLES", "Wanted", "is_ours", "targets", "want"]

MAX_VARIABLES = 500
"""The most variables that one container gets (DESIGN section 5)."""

MAX_FILES = 500
"""The most files that one container gets: each is a mount of its own."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one container must have."""

    container: Container
    variables: tuple[tuple[str, str, Contribution], ...]
    """Name, data key and origin; hidden variables first, so that the container's own may expand them."""
    files: Mapping[str, tuple[str, Contribution]]
    """Data key and origin by absolute path."""
    expressions: Mapping[Expression, str]
    """The hidden variable of each expression in the container's texts."""


def targets(pod: Pod) -> list[Container]:
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
        if container.name not in chosen and any(MARK in text for _, text in container.texts()):
            raise DeniedError(
                Reason.INVALID_REFERENCE,
                f"container '{container.name}' uses {MARK}…}} and is not in annotation {names.CONTAINERS_ANNOTATION}; "
                "add it there",
            )
    return [container for container in pod.containers if container.name in chosen]


def want(pod: Pod, container: Container, grant: Grant, base: str, default_home: str, trace: Trace) -> Wanted:
    """Decide what one container must have, and note in the trace where each key comes from.

    Raises:
        DeniedError: The container cannot get it.
    """
    expressions = _expressions(container, grant)
    variables = _variables(container, grant, base, trace)
    hidden = _hidden(container, grant, base, expressions)
    if len(hidden) + len(variables) > MAX_VARIABLES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}' would get {len(hidden) + len(variables)} variables; at most {MAX_VARIABLES} "
            "are allowed, so reference fewer bundles",
        )
    return Wanted(
        container=container,
        variables=(*hidden, *variables),
        files=_files(pod, container, grant, base, default_home, trace),
        expressions={expression: hidden_variable(key) for expression, (key, _) in expressions.items()},
    )


def _expressions(container: Container, grant: Grant) -> dict[Expression, tuple[str, Contribution]]:
    found: dict[Expression, tuple[str, Contribution]] = {}
    for pointer, text in container.texts():
        for expression in find_expressions(text, field=pointer):
            if expression not in found:
                found[expression] = _look_up(expression, grant, container)
    return found


def _look_up(expression: Expression, grant: Grant, container: Container) -> tuple[str, Contribution]:
    applied = grant.bundle(expression.bundle)
    if applied is None:
        raise DeniedError(
            Reason.INVALID_REFERENCE,
            f"container '{container.name}' uses a variable of bundle '{expression.bundle}', which the job lacks; "
            f"name it in annotation {names.SECRETS_ANNOTATION}, without '?'",
        )
    contribution = applied.resolution.env().get(expression.key)
    if contribution is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"container '{container.name}' uses variable '{expression.key}', which bundle '{expression.bundle}' does "
            "not have; correct the expression or the definition",
        )
    return data_key(applied.name, contribution), contribution


def _hidden(
    container: Container, grant: Grant, base: str, expressions: Mapping[Expression, tuple[str, Contribution]]
) -> list[tuple[str, str, Contribution]]:
    """Return the hidden variables: those of expressions, and those that an earlier pass put in their place."""
    needed = dict(expressions.values())
    present = {
        variable.key
        for variable in container.env
        if variable.name.startswith(names.HIDDEN_VARIABLE_PREFIX) and is_ours(variable.secret, base)
    }
    for variable in container.env:
        if variable.name.startswith(names.HIDDEN_VARIABLE_PREFIX) and not is_ours(variable.secret, base):
            raise DeniedError(
                Reason.RESERVED_NAME,
                f"container '{container.name}': variable '{variable.name}' begins with the reserved "
                f"{names.HIDDEN_VARIABLE_PREFIX}; give it another name",
            )
    if present:
        for applied in grant.applied:
            for contribution in applied.resolution.env().values():
                key = data_key(applied.name, contribution)
                if key in present:
                    needed.setdefault(key, contribution)
    return [(hidden_variable(key), key, contribution) for key, contribution in needed.items()]


def _variables(container: Container, grant: Grant, base: str, trace: Trace) -> list[tuple[str, str, Contribution]]:
    own = {variable.name for variable in container.env if not is_ours(variable.secret, base)}
    chosen = []
    kept = []
    for name, holders in grant.variables().items():
        bundle, contribution = holders[-1]
        trace.variables[name] = bundle, contribution, tuple(loser for loser, _ in holders[:-1])
        if name in own:
            kept.append(name)
        else:
            chosen.append((name, data_key(bundle, contribution), contribution))
    trace.kept[container.name] = tuple(kept)
    return chosen


def _files(
    pod: Pod, container: Container, grant: Grant, base: str, default_home: str, trace: Trace
) -> dict[str, tuple[str, Contribution]]:
    found: dict[str, list[tuple[str, Contribution]]] = {}
    home: str | None = None
    for bundle, contribution in grant.files():
        path = contribution.entry.path if isinstance(contribution.entry, FileEntry) else ""
        if paths.is_home_relative(path):
            home = home or _home(pod, container, grant, base, path, default_home)
        found.setdefault(paths.normalise(path, home or "/"), []).append((bundle, contribution))
    if len(found) > MAX_FILES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}' would get {len(found)} files; at most {MAX_FILES} are allowed",
        )
    for path, holders in found.items():
        grant.check_conflict(f"file '{path}'", [bundle for bundle, _ in holders])
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
    trace.files[container.name] = {path: (*holders[-1], _losers(holders)) for path, holders in found.items()}
    return {path: (data_key(*holders[-1]), holders[-1][1]) for path, holders in found.items()}


def _losers(holders: Sequence[tuple[str, Contribution]]) -> tuple[str, ...]:
    """Return the bundles that lose a path to the last one; two spellings in one bundle are no collision of bundles."""
    winner, _ = holders[-1]
    return tuple(dict.fromkeys(bundle for bundle, _ in holders if bundle != winner))


def _home(pod: Pod, container: Container, grant: Grant, base: str, path: str, default_home: str) -> str:
    """Return the container's home: annotation, then its HOME variable, then the operator's default."""
    annotated = pod.annotations.get(names.HOME_ANNOTATION)
    if annotated is not None:
        if not annotated.startswith("/"):
            raise DeniedError(Reason.INVALID_ANNOTATION, f"annotation {names.HOME_ANNOTATION} must be an absolute path")
        return annotated
    own = next(
        (
            variable
            for variable in reversed(container.env)
            if variable.name == "HOME" and not is_ours(variable.secret, base)
        ),
        None,
    )
    if own is not None:
        # A "$" is an expansion or an expression: what it comes to is not known here.
        if own.value is not None and own.value.startswith("/") and "$" not in own.value:
            return own.value
    elif not container.security.is_non_root and not _brings_home(grant):
        return default_home
    raise DeniedError(
        Reason.HOME_UNKNOWN,
        f"file '{path}' is relative to the home directory, which container '{container.name}' does not tell; "
        f"set annotation {names.HOME_ANNOTATION} or the container's variable HOME to an absolute path",
    )


def _brings_home(grant: Grant) -> bool:
    """Tell whether a bundle sets HOME, to a value that nobody knows before the container starts."""
    return any("HOME" in applied.resolution.env() for applied in grant.applied)


def is_ours(secret: str | None, base: str) -> bool:
    """Tell whether a Secret is a part of this bundle."""
    return secret is not None and part_base(secret) == base
