"""Lint: what the cluster would reject in files of definitions and policies, and what is valid and unwise.

The schema, the CEL rules and admission's rules are those of the cluster (`api/`); the state that they depend on is that
of the files.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from scoped_secrets import names
from scoped_secrets.api.entries import EntryModel, FileEntryModel
from scoped_secrets.api.parsing import parse_scoped_secret, parse_secret_policy, to_definition, to_policy
from scoped_secrets.api.policy_warnings import rule_warnings, session_warnings
from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.api.scopedsecret_rules import attach_warnings, creation_errors
from scoped_secrets.api.secretpolicy import SecretPolicy
from scoped_secrets.api.strictness import find_field_errors
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.policy.policy import Effect
from scoped_secrets.core.policy_effect import policy_effect
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.crypto.keys import PublicKeyRing
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.names import Reason
from scoped_secrets.operations.given_scope import GivenScope
from scoped_secrets.operations.hidden_definitions import hidden_by
from scoped_secrets.operations.manifests import Document, Manifests
from scoped_secrets.operations.offline_cluster import is_ours, put_bindings, with_namespace

__all__ = ["Finding", "LintSettings", "Severity", "lint"]

_PEM_BEGIN: Final = b"-----BEGIN "
_PEM_END: Final = b"-----"
_FIELD: Final = re.compile(r"`((?:spec|metadata)[^`]*)`")


class Severity(StrEnum):
    """Whether the cluster would reject the object."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; names only.

    Attributes:
        path: The file.
        line: The line of the field, or of the nearest one around it.
        severity: Whether the cluster would reject the object.
        rule: A CamelCase word for programs.
        subject: The object, such as `ScopedSecret web/aws`; empty for a file that cannot be read.
        field: The path of the field; empty for the whole object.
        message: One sentence with the remedy.
    """

    path: str
    line: int
    severity: Severity
    rule: str
    subject: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class LintSettings:
    """What the findings depend on beside the files.

    Attributes:
        now: The present time, with its zone.
        scopes: The scope paths of namespaces that are not in the files.
        namespace: The namespace of objects that name none.
        default_organization: The organization of namespaces that have only a project.
    """

    now: datetime
    scopes: Sequence[GivenScope] = ()
    namespace: str | None = None
    default_organization: str = names.DEFAULT_ORGANIZATION


@dataclass(frozen=True, slots=True)
class _State:
    """What admission's rules depend on, as far as files tell."""

    inventory: Inventory
    now: datetime
    cluster_id: str = ""
    may_read_sources: bool | None = None

    @property
    def recipients(self) -> PublicKeyRing:
        """Fail: no rule that reads the cluster's keys is asked."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Object:
    """One of our objects that the API server would accept."""

    document: Document
    namespace: str
    model: ScopedSecret | SecretPolicy

    @property
    def location(self) -> str:
        return f"{self.namespace}/{self.document.name}"

    def finding(self, severity: Severity, rule: str, message: str, field: str | None = None) -> Finding:
        """Return a finding about a field: by default the first one that the message names."""
        if field is None:
            named = _FIELD.search(message)
            field = named[1] if named else ""
        return Finding(
            self.document.path,
            self.document.line_of(field),
            severity,
            rule,
            f"{self.document.kind} {self.location}",
            field,
            message,
        )

    def warn(self, rule: str, message: str, field: str | None = None) -> Finding:
        """Return a warning."""
        return self.finding(Severity.WARNING, rule, message, field)


def lint(manifests: Manifests, settings: LintSettings) -> tuple[Finding, ...]:
    """Return every finding, in the order of files and lines."""
    findings = [
        Finding(problem.path, problem.line, Severity.ERROR, "Unreadable", "", "", f"the file {problem.message}")
        for problem in manifests.problems
    ]
    objects: list[_Object] = []
    for document in manifests.documents:
        if is_ours(document, names.SCOPED_SECRET_KIND) or is_ours(document, names.SECRET_POLICY_KIND):
            findings += _parse(document, settings, objects)
    inventory = Inventory()
    known = put_bindings(manifests, settings.scopes, settings.default_organization, inventory)
    for each in objects:
        if isinstance(each.model, ScopedSecret):
            inventory.put_definition(to_definition(each.model, keep_sealed=False, seals=True), 0.0)
        else:
            inventory.put_policy(to_policy(each.model, Binding(each.namespace, organization="")))
    findings += _repeated(objects)
    findings += _unknown_namespaces(objects, known)
    findings += _near_names(objects, inventory)
    for each in objects:
        if isinstance(each.model, ScopedSecret):
            findings += _definition(each, each.model, inventory, settings, is_bound=each.namespace in known)
        else:
            findings += _policy(each, each.model, inventory, settings)
    return tuple(sorted(set(findings), key=lambda each: (each.path, each.line, each.field, each.rule, each.message)))


def _parse(document: Document, settings: LintSettings, objects: list[_Object]) -> Iterator[Finding]:
    """Yield what the API server would reject; without that, keep the object."""
    errors = find_field_errors(document.kind, document.body)
    subject = f"{document.kind} {document.name}".rstrip()
    for error in errors:
        line = document.line_of(error.place or error.field)
        yield Finding(document.path, line, Severity.ERROR, Reason.INVALID, subject, error.field, error.message)
    if errors or not document.name:
        return
    try:
        body = with_namespace(document, settings.namespace)
    except ConfigurationError:
        line = document.line_of("metadata")
        message = "`metadata.namespace` must be given; write it, or give --namespace for all objects without one"
        yield Finding(document.path, line, Severity.ERROR, Reason.INVALID, subject, "metadata.namespace", message)
        return
    # The API server takes the status from the stored object, whatever a client sends.
    body.pop("status", None)
    parse = parse_scoped_secret if document.kind == names.SCOPED_SECRET_KIND else parse_secret_policy
    objects.append(_Object(document, body["metadata"]["namespace"], parse(body)))


def _repeated(objects: Sequence[_Object]) -> Iterator[Finding]:
    """Yield objects that stand in the files twice: the last one would win."""
    first: dict[tuple[str, str], _Object] = {}
    for each in objects:
        before = first.setdefault((each.document.kind, each.location), each)
        if before is not each:
            place = f"{before.document.path}:{before.document.line_of('metadata.name')}"
            message = f"the same object is in {place} too, and only one of the two is stored; remove one"
            yield each.finding(Severity.ERROR, "Repeated", message, "metadata.name")


def _unknown_namespaces(objects: Sequence[_Object], known: set[str]) -> Iterator[Finding]:
    """Yield the namespaces that nothing is known of, each once."""
    seen = set(known)
    for each in objects:
        if each.namespace not in seen:
            seen.add(each.namespace)
            yield each.warn(
                "NamespaceUnknown",
                f"namespace '{each.namespace}' is not in the files, so that scopes, slots and policies in it are not "
                "checked; add its manifest, or give --namespace-scope",
                "metadata.namespace",
            )


def _near_names(objects: Sequence[_Object], inventory: Inventory) -> Iterator[Finding]:
    """Yield bundles whose names differ only in case, which are two bundles."""
    first: dict[tuple[str, str], tuple[str, _Object]] = {}
    for each in objects:
        if not isinstance(each.model, ScopedSecret):
            continue
        binding = inventory.binding(each.namespace)
        name = each.model.secret_name
        key = ("" if binding is None else binding.organization, name.casefold())
        before, other = first.setdefault(key, (name, each))
        if before != name:
            yield each.warn(
                "NearDuplicate",
                f"bundle '{name}' differs from bundle '{before}' of {other.location} only in case, and names are "
                "case-sensitive; use one spelling",
                "spec.secretName" if each.model.spec.secret_name else "metadata.name",
            )


def _definition(
    each: _Object, model: ScopedSecret, inventory: Inventory, settings: LintSettings, *, is_bound: bool
) -> Iterator[Finding]:
    state = _State(inventory, settings.now)
    for error in creation_errors(model, each.namespace, state):
        if is_bound or error.reason is not Reason.NAMESPACE_OUTSIDE:
            yield each.finding(Severity.ERROR, error.reason, error.message)
    for warning in attach_warnings(model, None, each.namespace, state):
        yield each.warn(Reason.PATH_NOT_ALLOWED, warning)
    expires = model.spec.expire_time
    if expires is not None and expires <= settings.now:
        message = "`spec.expireTime` has passed, so that every job that names the bundle is denied; give a later time"
        yield each.warn(Reason.EXPIRED, message)
    yield from _entries(each, model)
    hiding = hidden_by(f"{each.namespace}/{model.metadata.name}", inventory)
    if hiding:
        yield each.warn(
            "Hidden",
            f"no job of the known namespaces gets this definition, because {_quoted(hiding)} hides it everywhere; "
            "remove it, or write `override: Merge` there",
            "spec",
        )


def _entries(each: _Object, model: ScopedSecret) -> Iterator[Finding]:
    """Yield what is unwise about single entries."""
    spelled: dict[str, str] = {}
    for position, entry in model.enumerate_entries():
        field = f"{position.field}.{entry.plain_field}"
        if entry.has_secret_plaintext:
            yield each.warn(
                "PlainText",
                f"`{field}` is a value in plain text; before the file goes into Git, replace it by `sealed` "
                "(`scoped-secrets seal`)",
            )
        if _lacks_final_newline(entry):
            yield each.warn(
                "NoFinalNewline",
                f"`{field}` is a PEM block without a line break at its end, which programs such as ssh refuse; end it "
                "with a line break (in YAML, a block with `|`)",
            )
        variable = entry.env if isinstance(entry, FileEntryModel) else entry.name
        if variable is None:
            continue
        before = spelled.setdefault(variable.casefold(), variable)
        if before != variable:
            name = "env" if isinstance(entry, FileEntryModel) else "name"
            yield each.warn(
                "NearDuplicate",
                f"`{position.field}.{name}`: variable '{variable}' differs from '{before}' only in case; jobs get both",
                f"{position.field}.{name}",
            )


def _lacks_final_newline(entry: EntryModel) -> bool:
    try:
        plain = entry.plaintext()
    except ValueError:
        return False
    return plain is not None and _PEM_BEGIN in plain and plain.rstrip(b" \t").endswith(_PEM_END)


def _policy(each: _Object, model: SecretPolicy, inventory: Inventory, settings: LintSettings) -> Iterator[Finding]:
    spec = model.spec
    policy = inventory.get_policy(each.location)
    if policy is None:
        return
    for warning in (*rule_warnings(spec.effect, policy.rules, None), *session_warnings(spec)):
        yield each.warn("Policy", warning)
    if spec.effect is Effect.ALLOW and not spec.rules and spec.interactive is None:
        yield each.warn(
            "NoRules",
            "the policy has no `spec.rules`, so that it allows no job; add a rule, or write `effect: Deny` to say so",
            "spec.effect",
        )
    ineffective = policy_effect(policy, inventory, settings.now).ineffective
    if ineffective is not None:
        yield each.warn(ineffective.reason, ineffective.message, "spec.secrets")


def _quoted(locations: Iterable[str]) -> str:
    return " or ".join(f"'{location}'" for location in locations)
