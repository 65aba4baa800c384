"""Build the object of `seal`: from values in plain text to the same ScopedSecret with sealed texts."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.api.patterns import LABEL_VALUE, OBJECT_NAME, SENTENCES
from scoped_secrets.api.plain_form import is_plainly_valid
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import Scope, Slot, assign_slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.data_keys import NewDataKey
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["PlainEntry", "SealingTarget", "sealed_object", "without_line_break"]

_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX_NAME: Final = 253
_MAX_LABEL: Final = 63


@dataclass(frozen=True, slots=True)
class SealingTarget:
    """The object that values are sealed for; every field is part of the sealing context.

    Attributes:
        namespace: The object's namespace.
        name: The object's name.
        organization: The organization of the namespace.
        project: The project; ``None`` at organization scope.
        scope: The scope.
        environment: The environment or pattern; ``None`` at other scopes.
    """

    namespace: str
    name: str
    organization: str
    project: str | None
    scope: Scope
    environment: str | None

    def __post_init__(self) -> None:
        """Raise ConfigurationError, with the flag, for an object that could never be applied."""
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
        """Return the slot that the object gets if the labels of its namespace match the flags."""
        # Assigned as in the organization's home, which may define everything below it. The slot is the same in a
        # project's namespace; whether this namespace may define it is checked when the object is applied.
        home = Binding(self.namespace, self.organization)
        return assign_slot(home, self.scope, self.project, self.environment, secret_name)


@dataclass(frozen=True, slots=True)
class PlainEntry:
    """One entry to seal.

    Attributes:
        key: The entry.
        mode: The mode of a file as octal text; ``None`` for the default.
        value: The value.
        env: The variable that holds the path of a file with a path of its own; ``None`` for no such variable.
    """

    key: EntryKey
    mode: str | None
    value: SecretValue
    env: str | None = None

    def as_written(self) -> dict[str, str]:
        """Return the entry with its value in plain text, as an author would write it, for the checks of the model.

        Raises:
            ConfigurationError: The value of a variable is not UTF-8 text.
        """
        member, name = self.key.naming_member
        fields = {member: name, **_given(env=self.env, mode=self.mode)}
        if self.key.kind is EntryKind.FILE:
            return {**fields, "contentBase64": base64.b64encode(self.value.reveal()).decode("ascii")}
        try:
            return {**fields, "value": self.value.reveal().decode()}
        except UnicodeDecodeError:
            pass
        # Raised outside of the handler: the exception has the bytes of the value.
        raise ConfigurationError(f"the value of {self.key} must be UTF-8 text; put bytes into a file with --file")


def sealed_object(
    target: SealingTarget,
    spec: Mapping[str, Any],
    entries: Sequence[PlainEntry],
    certificate: SealingCertificate,
    *,
    is_self_contained: bool = False,
) -> dict[str, Any]:
    """Return the ScopedSecret with all entries sealed under one data key, ready to be applied.

    Args:
        target: The object.
        spec: Further fields of the spec.
        entries: The values.
        certificate: The certificate to seal for.
        is_self_contained: Whether each entry is sealed alone, so that it can be copied into an object that exists.

    Raises:
        UserError: The object breaks a rule of its kind: a name, a size, a limit.
    """
    body: dict[str, Any] = {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": target.name, "namespace": target.namespace},
        "spec": {
            **_given(scope=target.scope.value, project=target.project, environment=target.environment),
            **spec,
            **{
                kind.spec_list: [entry.as_written() for entry in entries if entry.key.kind is kind]
                for kind in EntryKind
                if any(entry.key.kind is kind for entry in entries)
            },
        },
    }
    _require_valid(body)
    slot = target.slot(body["spec"].get("secretName") or target.name)
    recipient, data_key = certificate.recipients.active, NewDataKey()
    for kind in EntryKind:
        entry_bodies = body["spec"].get(kind.spec_list, [])
        for index, entry in enumerate([entry for entry in entries if entry.key.kind is kind]):
            context = sealing_context(certificate.cluster_id, target.namespace, target.name, slot, entry.key)
            fields = {key: text for key, text in entry_bodies[index].items() if key not in _PLAIN_FIELDS}
            # Without a fingerprint, whose key never leaves the cluster.
            if is_self_contained:
                entry_bodies[index] = {**fields, "sealed": seal(entry.value, context, recipient, None)}
                continue
            entry_bodies[index] = {**fields, "sealed": data_key.seal(entry.value, context, None)}
            if "dataKeys" not in body["spec"]:
                text = data_key.sealed(context, recipient)
                body["spec"]["dataKeys"] = [{"id": str(data_key.data_key_id), "sealed": text}]
    return body


def _require_valid(body: Mapping[str, Any]) -> None:
    """Raise InvalidObjectError for an object that breaks a rule of its kind."""
    if is_plainly_valid(body):
        return
    from scoped_secrets.api.parsing import check_scoped_secret, parse_scoped_secret  # noqa: PLC0415 - see `plain_form`.

    check_scoped_secret(parse_scoped_secret(body))


_PLAIN_FIELDS: Final = frozenset({"value", "contentBase64"})


def without_line_break(content: bytes) -> bytes:
    """Return a variable's value without one line break at its end, which editors and `echo` append."""
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _given(**fields: str | None) -> dict[str, str]:
    return {name: text for name, text in fields.items() if text}


def _require(condition: object, flag: str, demand: str) -> None:
    if not condition:
        raise ConfigurationError(f"{flag} {demand}")
