"""What `seal` makes: the model of the object, and from it the same object with sealed texts instead of values."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.admission.scopedsecret_validation import entries_of
from scoped_secrets.api.base import LABEL_VALUE, OBJECT_NAME, SENTENCES
from scoped_secrets.api.parsing import check_scoped_secret, parse_scoped_secret
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import Scope, Slot, assign_slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError

__all__ = ["Entry", "Place", "sealed_object", "without_line_break"]

_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX_NAME: Final = 253
_MAX_LABEL: Final = 63


@dataclass(frozen=True, slots=True)
class Place:
    """Where the object is going to stand: all of it is part of what a sealed text is bound to.

    Attributes:
        namespace: The object's namespace.
        name: The object's name.
        organization: The organization of the namespace.
        project: The project, empty at organization scope.
        scope: The scope.
        environment: The environment or pattern, only at environment scope.
    """

    namespace: str
    name: str
    organization: str
    project: str | None
    scope: Scope
    environment: str | None

    def __post_init__(self) -> None:
        """Refuse what could never be applied; raise ConfigurationError with the flag."""
        _require(_NAMESPACE.fullmatch(self.namespace), "--namespace", "must be the name of a namespace")
        fits = re.fullmatch(OBJECT_NAME, self.name) if len(self.name) <= _MAX_NAME else None
        _require(fits, "--name", SENTENCES[OBJECT_NAME])
        for flag, text in (("--organization", self.organization), ("--project", self.project)):
            fits = re.fullmatch(LABEL_VALUE, text) if text is not None and len(text) <= _MAX_LABEL else None
            _require(fits or text is None, flag, SENTENCES[LABEL_VALUE])
        match self.scope:
            case Scope.ORGANIZATION:
                _require(self.project is None, "--project", "must be left out with --scope Organization")
            case Scope.PROJECT | Scope.ENVIRONMENT:
                _require(self.project, "--project", f"must name the project with --scope {self.scope}")
        is_environment = self.scope is Scope.ENVIRONMENT
        _require(self.environment or not is_environment, "--environment", "must be given with --scope Environment")
        _require(is_environment or not self.environment, "--environment", "needs --scope Environment; leave it out")

    def slot(self, secret_name: str) -> Slot:
        """Return the slot that the namespace will give the object, if its labels are as the flags say."""
        # As from the organization's home, which may define everything below it; the slot is the same from a project's
        # namespace, and whether this namespace may take it, its labels say when the object is applied.
        home = Binding(self.namespace, self.organization)
        return assign_slot(home, self.scope, self.project, self.environment, secret_name)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry that is about to be sealed.

    Attributes:
        group: `env` or `files`.
        fields: The entry's own fields, the value not among them.
        content: The value.
    """

    group: str
    fields: Mapping[str, str]
    content: SecretValue

    def as_written(self) -> dict[str, str]:
        """Return the entry with its value in plain text, as a person would write it, for the model's checks.

        Raises:
            ConfigurationError: A variable's value is no text.
        """
        if self.group == "files":
            return {**self.fields, "contentBase64": base64.b64encode(self.content.reveal()).decode("ascii")}
        try:
            return {**self.fields, "value": self.content.reveal().decode()}
        except UnicodeDecodeError:
            pass
        # Raised outside of the handler: the exception has the bytes of the value.
        raise ConfigurationError(
            f"the value of variable '{self.fields['name']}' must be UTF-8 text; put bytes into a file with --file"
        )


def sealed_object(
    where: Place, spec: Mapping[str, Any], entries: Sequence[Entry], certificate: SealingCertificate
) -> dict[str, Any]:
    """Return the ScopedSecret with all entries sealed, ready to be applied.

    Args:
        where: Where it is going to stand.
        spec: Further fields of the spec.
        entries: The values.
        certificate: Whom to seal for.

    Raises:
        UserError: The object breaks a rule of its kind: a name, a size, a limit.
    """
    body: dict[str, Any] = {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": where.name, "namespace": where.namespace},
        "spec": {
            **_given(scope=where.scope.value, project=where.project, environment=where.environment),
            **spec,
            **{
                group: [entry.as_written() for entry in entries if entry.group == group]
                for group in ("env", "files")
                if any(entry.group == group for entry in entries)
            },
        },
    }
    model = parse_scoped_secret(body)
    check_scoped_secret(model)
    slot = where.slot(model.secret_name)
    for group, index, kind, name, entry in entries_of(model):
        context = sealing_context(certificate.cluster_id, where.namespace, where.name, slot, kind, name)
        value = entry.secret_value()
        if value is None:
            raise ConfigurationError("an entry has no value to seal; give it one")
        fields = {key: text for key, text in body["spec"][group][index].items() if key not in _PLAIN_FIELDS}
        # Without a fingerprint: its key never leaves the cluster.
        body["spec"][group][index] = {**fields, "sealed": seal(value, context, certificate.recipients.active, None)}
    return body


_PLAIN_FIELDS: Final = frozenset({"value", "contentBase64"})


def without_line_break(content: bytes) -> bytes:
    """Return a variable's value without one line break at its end, which editors and `echo` put there."""
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _given(**fields: str | None) -> dict[str, str]:
    return {name: text for name, text in fields.items() if text}


def _require(condition: object, flag: str, demand: str) -> None:
    if not condition:
        raise ConfigurationError(f"{flag} {demand}")
