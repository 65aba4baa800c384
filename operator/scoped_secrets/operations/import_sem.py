"""Secrets, project secrets and deployment targets of Semaphore, in the YAML that `sem get` prints and `sem` reads.

A secret belongs to the organization, a project secret to a project; a deployment target is an environment of a
project, whose credentials every job of the environment gets without naming them. Restrictions become a SecretPolicy.
What has no counterpart is stated. Projects and Git refs that cannot be carried over are denied, not allowed to all.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.import_documents import Document, read_documents
from scoped_secrets.operations.imports import ImportedBundle, ImportedEntry, Restriction, require_unique

__all__ = ["parse_sem"]

_HASHED: Final = " [md5]"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BRANCHES: Final = "refs/heads/"
_TAGS: Final = "refs/tags/"
# A pattern stands for any text without a slash, so that each depth of a name needs one.
_DEPTHS: Final = ("*", "*/*", "*/*/*", "*/*/*/*")
_EVERYBODY: Final = {"name": "every-job"}
_BOOKKEEPING: Final = {"apiVersion", "kind", "metadata", "data", "spec", "org_config"}
_DENY: Final = "Deny"


def parse_sem(content: bytes, projects: Mapping[str, str], *, is_project_stated: bool = False) -> list[ImportedBundle]:
    """Return the bundles of a file.

    Args:
        content: The file; several documents are allowed.
        projects: The names of projects by their ids in Semaphore.
        is_project_stated: Whether the person states the project, so that the ids of projects do not matter.

    Raises:
        ConfigurationError: The file or a document does not have its form.
    """
    documents = read_documents(content, "the file")
    if not documents:
        raise ConfigurationError("the file must have a Secret, ProjectSecret or DeploymentTarget; it is empty")
    bundles = [_bundle(document, projects) for document in documents]
    for bundle in bundles:
        if not is_project_stated and bundle.project is not None and _UUID.fullmatch(bundle.project):
            raise ConfigurationError(
                f"{bundle.title} has the id of a project, and its name is not known; give --project-id "
                f"{bundle.project}=NAME, or --project"
            )
    return bundles


def _bundle(document: Document, projects: Mapping[str, str]) -> ImportedBundle:
    kind = document.text("kind")
    match kind:
        case "Secret":
            return _secret(document, projects)
        case "ProjectSecret":
            return _project_secret(document, projects)
        case "DeploymentTarget":
            return _target(document, projects)
        case _:
            raise document.error("kind", "must be Secret, ProjectSecret or DeploymentTarget")


def _secret(document: Document, projects: Mapping[str, str]) -> ImportedBundle:
    metadata = document.child("metadata")
    name = metadata.required("name")
    title = f"{document.title}, Secret '{name}'"
    notes: list[str] = [*_unknown(document)]
    restriction = _organization_policy(document, projects, notes)
    entries = require_unique(title, _entries(document.child("data"), keeps_empty=_shows_values(metadata)))
    return ImportedBundle(
        title=title,
        secret_name=name,
        entries=entries,
        spec=_description(metadata),
        restriction=restriction,
        notes=(*notes, *_about_files(entries)),
    )


def _project_secret(document: Document, projects: Mapping[str, str]) -> ImportedBundle:
    metadata = document.child("metadata")
    name = metadata.required("name")
    title = f"{document.title}, ProjectSecret '{name}'"
    entries = require_unique(title, _entries(document.child("data"), keeps_empty=_shows_values(metadata)))
    return ImportedBundle(
        title=title,
        secret_name=name,
        entries=entries,
        project=_project(metadata.required("project_id_or_name"), projects),
        spec=_description(metadata),
        notes=(*_unknown(document), *_about_files(entries)),
    )


def _target(document: Document, projects: Mapping[str, str]) -> ImportedBundle:
    metadata, spec = document.child("metadata"), document.child("spec")
    name = metadata.required("name")
    title = f"{document.title}, DeploymentTarget '{name}'"
    notes = [*_unknown(document), *_without_counterpart(metadata, spec)]
    entries = require_unique(title, _entries(spec, keeps_empty=False))
    return ImportedBundle(
        title=title,
        secret_name=name,
        entries=entries,
        project=_project(metadata.required("project_id"), projects),
        environment=name,
        # A job of the target gets its credentials without naming them.
        spec={**_description(metadata), "attach": "Always"},
        restriction=_target_policy(spec, notes),
        notes=(*notes, *_about_files(entries)),
    )


def _entries(holder: Document, *, keeps_empty: bool) -> Iterator[ImportedEntry]:
    for variable in holder.children("env_vars"):
        text = variable.text("value")
        is_hidden = text.endswith(_HASHED) or not (text or keeps_empty)
        key = EntryKey(EntryKind.ENV, variable.required("name"))
        yield ImportedEntry(key, None if is_hidden else SecretValue(text.encode()))
    for file in holder.children("files"):
        text = file.text("content")
        is_hidden = text.endswith(_HASHED) or not (text or keeps_empty)
        key = EntryKey(EntryKind.FILE, file.required("path"))
        yield ImportedEntry(key, None if is_hidden else SecretValue(_decoded(file, text)))


def _decoded(file: Document, text: str) -> bytes:
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        content = None
    # Raised outside of the handler: the exception has the text.
    if content is None:
        raise file.error("content", "must be base64")
    return content


def _shows_values(metadata: Document) -> bool:
    """Tell whether the export has values, so that an empty one is an empty value."""
    return metadata.text("content_included") == "true"


def _organization_policy(document: Document, projects: Mapping[str, str], notes: list[str]) -> Restriction | None:
    settings = document.child("org_config")
    access = settings.text("projects_access") or "ALL"
    rules: tuple[Mapping[str, Any], ...] = (_EVERYBODY,)
    match access:
        case "ALL":
            pass
        case "NONE":
            rules = ()
        case "ALLOWED":
            ids = settings.texts("projects_ids") or settings.texts("project_ids")
            unknown = [each for each in ids if each not in projects and _UUID.fullmatch(each)]
            notes += [
                f"project {each} is not allowed, because its name is not known: give --project-id {each}=NAME"
                for each in unknown
            ]
            allowed = [projects.get(each, each) for each in ids if each not in unknown]
            rules = ({"name": "projects", "projects": allowed},) if allowed else ()
        case _:
            raise settings.error("projects_access", "must be ALL, ALLOWED or NONE")
    sessions: dict[str, str] = {}
    if settings.text("debug_access") == "JOB_DEBUG_NO":
        sessions["ephemeralContainers"] = _DENY
        notes.append(
            "debug_access: `kubectl debug` containers are denied; a debug job is a job of its own here, so let a rule "
            "of the policy name the `creators` that may use the secret"
        )
    if settings.text("attach_access") == "JOB_ATTACH_NO":
        sessions |= {"exec": _DENY, "attach": _DENY, "portForward": _DENY}
        notes.append(
            "attach_access: sessions in the pods of jobs are denied to all users; add the account of a CI engine that "
            "runs its jobs through exec or attach to `interactive.exemptSubjects`"
        )
    is_open = rules == (_EVERYBODY,) and not sessions
    return None if is_open else Restriction(rules, sessions)


def _target_policy(spec: Document, notes: list[str]) -> Restriction | None:
    if spec.text("state") == "CORDONED":
        notes.append("the target is cordoned: its policy has no rules and allows no job; add the rules to lift it")
        return Restriction(())
    if "object_rules" not in spec:
        return None
    refs: list[str] = []
    for rule in spec.children("object_rules"):
        refs += _refs(rule, notes)
    is_open = {_BRANCHES + "*", _TAGS + "*", "refs/pull/*/*"} <= set(refs)
    if is_open:
        return None
    notes.append("object_rules: Git refs are known only of jobs of a trusted issuer; others are denied")
    return Restriction(({"name": "refs", "refs": list(dict.fromkeys(refs))},) if refs else ())


def _refs(rule: Document, notes: list[str]) -> Sequence[str]:
    kind, mode, pattern = rule.text("type"), rule.text("match_mode") or "ALL", rule.text("pattern")
    if kind == "PR":
        return ("refs/pull/*/*",)
    if kind not in ("BRANCH", "TAG"):
        raise rule.error("type", "must be BRANCH, TAG or PR")
    prefix = _BRANCHES if kind == "BRANCH" else _TAGS
    match mode:
        case "ALL":
            return [prefix + depth for depth in _DEPTHS]
        case "EXACT":
            return (prefix + rule.required("pattern"),)
        case "REGEX":
            notes.append(
                f"object_rules: the regular expression '{pattern}' of a {kind} has no counterpart, so that its refs "
                "are denied; add patterns such as 'refs/heads/release-*' to the policy"
            )
            return ()
        case _:
            raise rule.error("match_mode", "must be ALL, EXACT or REGEX")


def _without_counterpart(metadata: Document, spec: Document) -> Iterator[str]:
    subjects = [rule.text("type") for rule in spec.children("subject_rules")]
    if subjects and "ANY" not in subjects:
        yield (
            "subject_rules: who starts a deployment is not known of a pod; let a rule of the policy name the "
            "`creators` or `serviceAccounts` of the jobs"
        )
    if metadata.text("url"):
        yield "url: an environment has no address here"
    if any(spec.text(f"bookmark_parameter{number}") for number in (1, 2, 3)):
        yield "bookmark_parameter: there is no history of deployments here"
    if any(file.text("source") for file in spec.children("files")):
        yield "source: files of your machine are not read; give their content when asked, or with --values"


def _unknown(document: Document) -> Iterator[str]:
    yield from (f"{name}: this field is not known" for name in document.members() if name not in _BOOKKEEPING)


def _about_files(entries: Sequence[ImportedEntry]) -> Iterator[str]:
    if any(entry.key.kind is EntryKind.FILE for entry in entries):
        yield "files have mode 0600 here, 0644 in Semaphore; a job needs no chmod"


def _description(metadata: Document) -> dict[str, str]:
    text = metadata.text("description")
    return {"description": text} if text else {}


def _project(id_or_name: str, projects: Mapping[str, str]) -> str:
    return projects.get(id_or_name, id_or_name)
