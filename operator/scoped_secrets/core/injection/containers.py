"""What each container of a pod needs to get what was granted: variables, files and expanded expressions."""

from collections.abc import Collection, Mapping, Sequence

from scoped_secrets import names
from scoped_secrets.core.entry import EntryKind
from scoped_secrets.core.injection.bundle_entry import BundleEntry
from scoped_secrets.core.injection.entries import BundleEntries
from scoped_secrets.core.injection.exec_limits import check_exec_limits, exec_bound
from scoped_secrets.core.injection.expressions import Expression, escape, find_expressions, hidden_variable, rewrite
from scoped_secrets.core.injection.file_modes import ContainerUser, container_user
from scoped_secrets.core.injection.files import PlacedFiles, place_files, swap_folder
from scoped_secrets.core.injection.job import Job
from scoped_secrets.core.injection.layout import part_base
from scoped_secrets.core.pod import Container, Pod, Variable
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["MAX_VARIABLES", "ContainerInjection", "plan_container", "target_containers"]

MAX_VARIABLES = 500
"""The maximum number of variables that one container gets (DESIGN section 5)."""


@dataclass(frozen=True, slots=True)
class ContainerInjection:
    """What one container needs, and how that was decided.

    Attributes:
        container: The container.
        user: What is known of the user that it runs as.
        injected_before: The variables of an earlier pass: those that refer to this bundle or hold the path of a file.
        moved_variables: The positions in ``env`` of variables of an earlier pass whose path is not right any more.
        variables: The entry of each variable that refers to the bundle, by name; hidden variables first, so that the
            container's own variables can expand them.
        file_variables: The text of each variable that holds the path of a file, by name.
        files: The files.
        texts: What replaces the texts that hold expressions, by JSON pointer.
        declared: The bundle variables that the container declares itself; its own declarations win.
        left_out: The variables and absolute paths that the container runs without, because their optional source is
            missing.
        exec_bound: An upper bound of what the variables take in bytes; ``None`` when all of this depends on what texts
            of the container say, beside `HOME`.
    """

    container: Container
    user: ContainerUser
    injected_before: tuple[Variable, ...]
    moved_variables: tuple[int, ...]
    variables: Mapping[str, BundleEntry]
    file_variables: Mapping[str, str]
    files: PlacedFiles
    texts: Mapping[str, str]
    declared: tuple[str, ...]
    left_out: tuple[str, ...]
    exec_bound: int | None


@dataclass(frozen=True, slots=True)
class _Variables:
    """What a container gets of the variables that it could get, by name.

    Attributes:
        values: The entries of variables.
        files: The texts of variables that hold the path of a file.
        declared: The names that the container declares itself.
        left_out: The names of optional entries whose source is missing.
        exec_bound: What `exec_bound` returns for values and files.
    """

    values: Mapping[str, BundleEntry]
    files: Mapping[str, str]
    declared: tuple[str, ...]
    left_out: tuple[str, ...]
    exec_bound: int | None

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.values) + len(self.files) + len(self.declared) + len(self.left_out)


def target_containers(pod: Pod) -> list[Container]:
    """Return the containers that get the job's secrets: all of them, or those that the annotation lists.

    Raises:
        DeniedError: The annotation lists no container of this pod, or omits one that uses an expression, or the pod has
            an expression where none is expanded.
    """
    if pod.unexpanded:
        raise DeniedError(
            Reason.INVALID_REFERENCE,
            f"{pod.unexpanded[0]}: {names.EXPRESSION_MARK}…}} is expanded only in the values of `env`, in `command` "
            "and in `args`, and would reach the job as text here; use a variable of the container instead",
        )
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
        if container.name not in listed and any(container.texts_with(names.EXPRESSION_MARK)):
            raise DeniedError(
                Reason.INVALID_REFERENCE,
                f"container '{container.name}' uses {names.EXPRESSION_MARK}…}} and is not in annotation "
                f"{names.CONTAINERS_ANNOTATION}; add it there",
            )
    return [container for container in pod.containers if container.name in listed]


def plan_container(job: Job, container: Container) -> ContainerInjection:
    """Decide what one container needs.

    Raises:
        DeniedError: The container cannot get what was granted.
    """
    user = container_user(container, job.stated_user)
    files = place_files(job, container, user, _home_variable(job, container))
    injected_before: list[Variable] = []
    moved: list[int] = []
    own: list[Variable] = []
    offered = job.bundle_entries.variables
    for index, variable in enumerate(container.env):
        if variable.secret is None and variable.name not in offered:
            own.append(variable)
        elif _is_injected(job, files, variable):
            injected_before.append(variable)
        elif _is_moved(job, files, variable):
            moved.append(index)
        else:
            own.append(variable)
    texts = dict(container.texts_with(names.EXPRESSION_MARK))
    expressions = {
        expression: _find_variable(job, container, expression)
        for pointer, text in texts.items()
        for expression in find_expressions(text, field=pointer)
    }
    replacements = {
        expression: _replacement(container, expression, entry, files) for expression, entry in expressions.items()
    }
    texts = {pointer: rewrite(text, replacements) for pointer, text in texts.items()}
    hidden = _hidden_variables(job, container, injected_before, own, expressions.values())
    declared = offered.keys() & {variable.name for variable in own}
    variables = files.memo.get(
        ("variables", frozenset(declared)), _select_variables, job.bundle_entries, files, declared
    )
    count = len(hidden) + len(variables.values) + len(variables.files)
    if count > MAX_VARIABLES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}' would get {count} variables; at most {MAX_VARIABLES} are allowed, so "
            "reference fewer bundles",
        )
    injected = {**hidden, **variables.values} if hidden else variables.values
    if not job.pod.is_windows:
        check_exec_limits(container, injected, variables.files, own, texts, None if hidden else variables.exec_bound)
    return ContainerInjection(
        container=container,
        user=user,
        injected_before=tuple(injected_before),
        moved_variables=tuple(moved),
        variables=injected,
        file_variables=variables.files,
        files=files,
        texts=texts,
        declared=variables.declared,
        left_out=(*variables.left_out, *files.left_out),
        exec_bound=None if texts or declared or injected_before or moved or hidden else variables.exec_bound,
    )


def _home_variable(job: Job, container: Container) -> Variable | None:
    """Return the variable HOME that the container itself has."""
    homes = (variable for variable in reversed(container.env) if variable.name == "HOME")
    return next((variable for variable in homes if not _is_in_bundle(variable.secret, job.base)), None)


def _is_injected(job: Job, files: PlacedFiles, variable: Variable) -> bool:
    """Tell whether an earlier pass has added a variable, or would have added exactly this one."""
    if variable.value is None:
        return _is_in_bundle(variable.secret, job.base)
    candidates = job.bundle_entries.variables.get(variable.name)
    return candidates is not None and _file_text(files, candidates[-1]) == variable.value


def _is_moved(job: Job, files: PlacedFiles, variable: Variable) -> bool:
    """Tell whether an earlier pass has added a variable with the path of a file in the other folder of the volume."""
    candidates = job.bundle_entries.variables.get(variable.name)
    text = None if candidates is None else _file_text(files, candidates[-1])
    return text is not None and variable.value == swap_folder(text)


def _file_text(files: PlacedFiles, bundle_entry: BundleEntry) -> str | None:
    """Return the text of the variable that holds the path of a file; ``None`` for another entry or a missing file."""
    if bundle_entry.resolved.entry.kind is not EntryKind.FILE:
        return None
    location = files.location(bundle_entry)
    return None if location is None else escape(location)


def _find_variable(job: Job, container: Container, expression: Expression) -> BundleEntry:
    if job.grant.bundle(expression.bundle) is None:
        raise DeniedError(
            Reason.INVALID_REFERENCE,
            f"container '{container.name}' uses a variable of bundle '{expression.bundle}', which the job lacks; "
            f"name it in annotation {names.SECRETS_ANNOTATION}, without '?'",
        )
    bundle_entry = job.bundle_entries.variable(expression.bundle, expression.key)
    if bundle_entry is None:
        raise DeniedError(
            Reason.KEY_NOT_FOUND,
            f"container '{container.name}' uses variable '{expression.key}', which bundle '{expression.bundle}' does "
            "not have; correct the expression or the definition",
        )
    if bundle_entry.resolved.entry.kind is EntryKind.ENV and job.bundle_entries.leaves_out(bundle_entry):
        raise _missing_source(container, expression)
    return bundle_entry


def _replacement(container: Container, expression: Expression, bundle_entry: BundleEntry, files: PlacedFiles) -> str:
    """Return what the kubelet expands to the value of a variable: the hidden variable, or the path of a file."""
    if bundle_entry.resolved.entry.kind is EntryKind.ENV:
        return f"$({hidden_variable(bundle_entry.data_key)})"
    text = _file_text(files, bundle_entry)
    if text is None:
        raise _missing_source(container, expression)
    return text


def _missing_source(container: Container, expression: Expression) -> DeniedError:
    return DeniedError(
        Reason.SOURCE_MISSING,
        f"container '{container.name}' uses variable '{expression.key}' of bundle '{expression.bundle}', which is "
        "optional and whose Secret or key is missing; create it, or take the expression out",
    )


def _hidden_variables(
    job: Job,
    container: Container,
    injected_before: Sequence[Variable],
    own: Sequence[Variable],
    used: Collection[BundleEntry],
) -> dict[str, BundleEntry]:
    """Return the hidden variables: those of expressions, and those that replaced expressions in an earlier pass."""
    for variable in own:
        if variable.name.startswith(names.HIDDEN_VARIABLE_PREFIX):
            raise DeniedError(
                Reason.RESERVED_NAME,
                f"container '{container.name}': variable '{variable.name}' begins with the reserved "
                f"{names.HIDDEN_VARIABLE_PREFIX}; give it another name",
            )
    data_keys = {entry.data_key for entry in used if entry.resolved.entry.kind is EntryKind.ENV}
    data_keys |= {
        variable.key
        for variable in injected_before
        if variable.key is not None and variable.name.startswith(names.HIDDEN_VARIABLE_PREFIX)
    }
    # In the order of the bundles' entries: the result must not depend on whether an earlier pass has already replaced
    # the expressions.
    return {hidden_variable(entry.data_key): entry for entry in job.bundle_entries.variables_under(data_keys)}


def _select_variables(bundle_entries: BundleEntries, files: PlacedFiles, declared: Collection[str]) -> _Variables:
    """Choose the last provider of each variable, and leave out optional entries whose source is missing.

    Args:
        bundle_entries: The entries of the job's bundles.
        files: The container's files.
        declared: The names to skip, because the container declares them itself.
    """
    values: dict[str, BundleEntry] = {}
    paths: dict[str, str] = {}
    left_out: list[str] = []
    for name, candidates in bundle_entries.variables.items():
        if name in declared:
            continue
        winner = candidates[-1]
        if winner.resolved.entry.kind is EntryKind.ENV:
            if bundle_entries.leaves_out(winner):
                left_out.append(name)
            else:
                values[name] = winner
        elif (text := _file_text(files, winner)) is None:
            left_out.append(name)
        else:
            paths[name] = text
    in_order = tuple(name for name in bundle_entries.variables if name in declared)
    return _Variables(values, paths, in_order, tuple(left_out), exec_bound(values, paths))


def _is_in_bundle(secret: str | None, base: str) -> bool:
    """Tell whether a Secret is a part of this bundle."""
    return secret is not None and secret.startswith(base) and part_base(secret) == base
