"""The rules for storing a ScopedSecret beyond the CRD's schema (DESIGN sections 3, 5 and 7).

Only what an update changes is checked: an object that was stored under other rules can still be corrected step by step,
and relabelled or deleted as it is.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from scoped_secrets import names
from scoped_secrets.api.entries import EnvEntryModel, FileEntryModel
from scoped_secrets.api.parsing import check_scoped_secret
from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.api.sealed_text_rules import check_data_keys, check_sealed_texts
from scoped_secrets.api.storage_state import StorageState, slot_of
from scoped_secrets.core.entry import PREVIOUS_DAYS
from scoped_secrets.core.injection.file_paths import (
    MAX_COMPONENT,
    check_paths,
    collapse,
    is_below,
    is_home_relative,
    normalise,
)
from scoped_secrets.core.resolution.definitions import Attach, is_reserved_source
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.core.scope.trust import Trust
from scoped_secrets.errors import DeniedError, InvalidObjectError, UserError
from scoped_secrets.names import Reason

__all__ = [
    "attach_warnings",
    "check_changes",
    "check_values",
    "creation_errors",
    "expiry_warnings",
    "has_same_slot",
    "source_warnings",
]

_Entry = TypeVar("_Entry", EnvEntryModel, FileEntryModel)

_LONGEST_PREVIOUS: Final = timedelta(days=PREVIOUS_DAYS)
# Stands for a home directory that is not known yet; no real path has such segments.
_UNKNOWN_HOME: Final = "/\0" * 256


def check_changes(
    model: ScopedSecret,
    old: ScopedSecret | None,
    namespace: str,
    state: StorageState,
    just_sealed: AbstractSet[str] = frozenset(),
) -> None:
    """Check whether a definition may be stored.

    Args:
        model: The object as it would be stored.
        old: The stored object that it replaces; ``None`` on creation, or when the stored object is invalid.
        namespace: The namespace of the request.
        state: What the rules depend on beside the object.
        just_sealed: Texts that this process has sealed for their entries in this write, whose values and all others it
            has checked with `check_values` before.

    Raises:
        UserError: It may not be stored; the message has the field and the remedy.
    """
    changed = model if old is None else _changes(model, old)
    _check_sources(changed)
    if old is None:
        _check_expiry(model, state.now)
    _check_former_values(changed, state.now)
    if not just_sealed:
        check_values(model, old)
    _unless_before(_check_path_components, model, old)
    _unless_before(_check_paths, model, old)
    if old is None or not has_same_slot(model, old):
        slot = slot_of(model, namespace, state)
        _check_environment_is_the_projects(slot, namespace, state)
        _check_slot_is_free(model, slot, namespace, state)
    if model.spec.final and not (old is not None and old.spec.final):
        _check_final_is_at_home(namespace, state)
    check_sealed_texts(model, changed, old, namespace, state, just_sealed)


def creation_errors(model: ScopedSecret, namespace: str, state: StorageState) -> Iterator[UserError]:
    """Yield why a new definition may not be stored: one error for each rule that it breaks.

    The rules are those of `check_changes`, except that sealed texts are not compared with the cluster's
    keys, and that `expireTime` may have passed: the object may be stored already.

    Args:
        model: The object as it would be created.
        namespace: Its namespace.
        state: What the rules depend on beside the object.
    """
    checks: list[Callable[[], None]] = [
        partial(_check_sources, model),
        partial(check_scoped_secret, model),
        partial(check_data_keys, model),
        partial(_check_path_components, model),
        partial(_check_paths, model),
    ]
    try:
        slot = slot_of(model, namespace, state)
    except UserError as error:
        yield error
    else:
        checks.append(partial(_check_environment_is_the_projects, slot, namespace, state))
        checks.append(partial(_check_slot_is_free, model, slot, namespace, state))
    if model.spec.final:
        checks.append(partial(_check_final_is_at_home, namespace, state))
    for check in checks:
        try:
            check()
        except UserError as error:
            yield error


def source_warnings(model: ScopedSecret, old: ScopedSecret | None, namespace: str, state: StorageState) -> list[str]:
    """Return a warning for an author who begins to use `valueFrom` where the role for it may be missing.

    Admission does not know whether the operator has the role in one namespace, so it warns instead of denying. The
    controller finds out, and reports it in condition Ready.
    """
    if state.may_read_sources is not False:
        return []
    changed = model if old is None else _changes(model, old)
    first = next((position for position, entry in changed.enumerate_entries() if entry.value_from is not None), None)
    if first is None:
        return []
    warning = (
        f"`{first.field}.valueFrom` needs a role that the operator does not have for all namespaces; unless it has it "
        f"for '{namespace}', set `valueFrom.enabled` of the chart or apply manifests/optional/value-from.yaml, or jobs "
        "are refused with SourceMissing"
    )
    return [warning]


def expiry_warnings(model: ScopedSecret, old: ScopedSecret | None, _namespace: str, state: StorageState) -> list[str]:
    """Return a warning for an author who changes the expiry of a stored definition to a time in the past.

    A denial would protect nothing: no value is lost, and the conditions Expired and Ready say what happens. It would
    only make `kubectl` print the update, with its plain text.
    """
    if old is None or not _is_past(_changes(model, old), state.now):
        return []
    return ["`spec.expireTime` is not in the future, so every new job that names the bundle is denied (Expired)"]


def attach_warnings(model: ScopedSecret, _old: ScopedSecret | None, namespace: str, state: StorageState) -> list[str]:
    """Return a warning for an author of an attached bundle with a file that the organization's home does not allow.

    A namespace may allow it for its own jobs, so it is no denial.
    """
    if model.spec.attach is not Attach.ALWAYS:
        return []
    binding = state.inventory.binding(namespace)
    allowed = () if binding is None else state.inventory.home_attach_paths(binding.organization)
    for position, file in model.enumerate_entries():
        if not isinstance(file, FileEntryModel) or file.path is None or is_home_relative(file.path):
            continue
        if not is_below(collapse(file.path) or "/", allowed):
            warning = (
                f"`{position.field}.path` lies outside of the home directory, so `attach: Always` denies jobs "
                f"(PathNotAllowed) unless annotation {names.ALLOW_ATTACH_PATHS_ANNOTATION} of their namespace or of "
                "the organization's home allows its folder"
            )
            return [warning]
    return []


def check_values(model: ScopedSecret, old: ScopedSecret | None) -> None:
    """Check the sizes and forms of the values; if the old object was invalid too, only those of changed entries.

    Raises:
        InvalidObjectError: A value breaks a rule; the message has the path of the entry.
    """
    try:
        check_scoped_secret(model)
    except InvalidObjectError:
        if old is None or _passes(check_scoped_secret, old):
            raise
        check_scoped_secret(_changes(model, old))


def has_same_slot(model: ScopedSecret, old: ScopedSecret) -> bool:
    """Tell whether two states of an object have the same slot, so that an update cannot cause a conflict."""
    one, other = model.spec, old.spec
    return (one.scope, one.project, one.environment, model.secret_name) == (
        other.scope,
        other.project,
        other.environment,
        old.secret_name,
    )


def _changes(model: ScopedSecret, old: ScopedSecret) -> ScopedSecret:
    """Return the object with every unchanged entry emptied and every unchanged field removed; indexes stay the same."""
    spec, before = model.spec, old.spec
    update: dict[str, object] = {
        "env": _blanked(spec.env, before.env, {"value": ""}),
        "files": _blanked(spec.files, before.files, {"content": "", "content_base64": None}),
    }
    if spec.expire_time == before.expire_time:
        update["expire_time"] = None
    return model.model_copy(update={"spec": spec.model_copy(update=update)})


def _blanked(entries: tuple[_Entry, ...], before: tuple[_Entry, ...], empty: dict[str, object]) -> tuple[_Entry, ...]:
    blank = {"sealed": None, "value_from": None, "sensitive": True, **empty}
    return tuple(entry.model_copy(update=blank) if entry in before else entry for entry in entries)


def _is_past(model: ScopedSecret, now: datetime) -> bool:
    expires = model.spec.expire_time
    return expires is not None and expires <= now


def _check_expiry(created: ScopedSecret, now: datetime) -> None:
    """Deny a time in the past in a new definition, which is a mistake such as a wrong year."""
    if _is_past(created, now):
        raise InvalidObjectError("`spec.expireTime` must be in the future; give a later time, or leave it out")


def _check_former_values(changed: ScopedSecret, now: datetime) -> None:
    """Deny a former value that would stay for long: it is there for jobs that still need it for some time."""
    for index, entry in enumerate(changed.spec.env):
        if entry.sealed is not None and entry.expire_time is not None and entry.expire_time - now > _LONGEST_PREVIOUS:
            raise InvalidObjectError(
                f"`spec.env[{index}].expireTime` must be at most {_LONGEST_PREVIOUS.days} days ahead; "
                "give an earlier time"
            )


def _check_sources(changed: ScopedSecret) -> None:
    """Deny sources with reserved names; the controller checks the Secrets themselves."""
    for position, entry in changed.enumerate_entries():
        if entry.value_from is not None and is_reserved_source(entry.value_from.secret_key_ref.name):
            raise DeniedError(
                Reason.RESERVED_NAME,
                f"`{position.field}.valueFrom` names a Secret that is a job's bundle or the operator's own; name "
                "another one",
            )


def _check_environment_is_the_projects(slot: Slot, namespace: str, state: StorageState) -> None:
    """Deny a definition in a project's namespace for an environment that has namespaces of its own.

    A pattern is stored, and does not apply to such environments.
    """
    binding = state.inventory.binding(namespace)
    if slot.scope is not Scope.ENVIRONMENT or binding is None or binding.trust is not Trust.PROJECT:
        return
    environments = state.inventory.environments(slot.organization, slot.project)
    own = sorted(environments.get(slot.environment or "", ()))
    if own:
        raise DeniedError(
            Reason.NOT_TRUSTED,
            f"`spec.environment` '{slot.environment}' has namespaces of its own, such as '{own[0]}', which are trusted "
            "more than the project's; define the bundle there or in the organization's home",
        )


def _check_final_is_at_home(namespace: str, state: StorageState) -> None:
    binding = state.inventory.binding(namespace)
    if binding is not None and binding.trust is not Trust.HOME:
        raise DeniedError(
            Reason.NOT_TRUSTED,
            f"`spec.final` counts only in the home of organization '{binding.organization}', because it overrules "
            "narrower definitions; take it out, or define the bundle there",
        )


def _check_slot_is_free(model: ScopedSecret, slot: Slot, namespace: str, state: StorageState) -> None:
    location = f"{namespace}/{model.metadata.name}"
    binding = state.inventory.binding(namespace)
    trust = Trust.PROJECT if binding is None else binding.trust
    for other in state.inventory.overlap_candidates(slot):
        # A definition in a namespace that is trusted less makes way: its condition Conflicted says so.
        if other.slot == slot and other.definition.location != location and other.trust >= trust:
            raise DeniedError(
                Reason.SLOT_TAKEN,
                f"'{other.definition.location}' has the same organization, scope, project, environment and "
                "`spec.secretName`; change that one, or choose another `spec.secretName`",
            )


def _check_path_components(model: ScopedSecret) -> None:
    """Deny a path with a component that no file system of a container can hold.

    Raises:
        DeniedError: A component is too long; the message has the field, because the path would fill it.
    """
    for position, file in model.enumerate_entries():
        if isinstance(file, FileEntryModel) and any(
            len(component.encode()) > MAX_COMPONENT for component in (file.path or "").split("/")
        ):
            raise DeniedError(
                Reason.PATH_CONFLICT,
                f"`{position.field}.path` has a component of more than {MAX_COMPONENT} bytes between two '/', "
                "which file systems do not allow; shorten it",
            )


def _check_paths(model: ScopedSecret) -> None:
    """Check whether paths conflict with each other, as far as that is known without the job's home directory.

    Raises:
        DeniedError: Two paths conflict; the message names both.
    """
    seen: dict[str, str] = {}
    for written in (file.path for file in model.spec.files if file.path is not None):
        path = normalise(written, _UNKNOWN_HOME)
        if not is_home_relative(written):
            check_paths([path], (), "")
        other = seen.setdefault(path, written)
        if other != written:
            raise DeniedError(
                Reason.PATH_CONFLICT,
                f"`spec.files` has '{other}' and '{written}', which are the same file; remove one of the two",
            )
    for path, written in seen.items():
        inner = next((seen[longer] for longer in seen if longer.startswith(f"{path}/")), None)
        if inner is not None:
            raise DeniedError(
                Reason.PATH_CONFLICT,
                f"`spec.files` has '{written}' and, below it, '{inner}'; a path cannot be both file and directory",
            )


def _unless_before(check: Callable[[ScopedSecret], None], model: ScopedSecret, old: ScopedSecret | None) -> None:
    """Raise what the check raises, unless the old object fails the same check."""
    try:
        check(model)
    except UserError:
        if old is None or _passes(check, old):
            raise


def _passes(check: Callable[[ScopedSecret], None], model: ScopedSecret) -> bool:
    try:
        check(model)
    except UserError:
        return False
    return True
