"""Decodes a stored object into the part of it that an informer keeps.

The API server validates objects against the schema, so that stored objects can be read. If one cannot be read all the
same (CRDs of another version, a damaged etcd), access must not widen: an unreadable policy denies everything that it
selects, and an unreadable definition keeps its slot, so that no value of a wider scope is used instead.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias, assert_never

from scoped_secrets import names
from scoped_secrets.api.accepted import accepted_definition, accepted_policy
from scoped_secrets.core.policy.interactive import DENY_EVERYTHING
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import Definition
from scoped_secrets.core.scope.binding import Binding, binding_of
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.errors import InvalidObjectError
from scoped_secrets.kube.locations import location_of
from scoped_secrets.kube.packed_status import pack_status
from scoped_secrets.kube.resources import Kind
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = [
    "Decoder",
    "DefinitionRecord",
    "InvalidObject",
    "NamespaceRecord",
    "PolicyRecord",
    "PolicyReport",
    "Record",
    "version_of",
]

_UNREADABLE = "the object cannot be read; apply it again"


@dataclass(frozen=True, slots=True)
class InvalidObject:
    """A stored object that cannot be read.

    Attributes:
        kind: `ScopedSecret` or `SecretPolicy`.
        location: Its `namespace/name`.
        generation: The generation that was read.
        message: What is wrong, in one sentence without any value.
    """

    kind: str
    location: str
    generation: int
    message: str


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """What is kept of a namespace."""

    binding: Binding | None
    uid: str


@dataclass(frozen=True, slots=True)
class DefinitionRecord:
    """What is kept of a ScopedSecret.

    Attributes:
        definition: Its definition. An unreadable object with a scope has one that no pod can use.
        status: Its stored status, packed: see `packed_status`. None when there is none or none is kept.
        invalid: Why the object cannot be read.
        reseal: The text of the annotation that requests resealing.
    """

    definition: Definition | None
    status: bytes | None
    invalid: InvalidObject | None
    reseal: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What the status of a SecretPolicy is made from.

    Attributes:
        generation: The generation that was read.
        status: The stored status, empty when there is none or none is kept.
        invalid: Why the policy cannot be read.
    """

    generation: int
    status: Mapping[str, Any]
    invalid: InvalidObject | None


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """What is kept of a SecretPolicy."""

    policy: Policy
    report: PolicyReport


Record: TypeAlias = NamespaceRecord | DefinitionRecord | PolicyRecord
"""What is kept of a stored object."""


class Decoder:
    """Decodes objects of all inventory kinds."""

    def __init__(
        self,
        default_organization: str,
        *,
        keep_sealed: bool,
        keep_status: bool = False,
        seals: bool = False,
        trusts_status: bool = False,
    ) -> None:
        """Take what decoding depends on besides the object.

        Args:
            default_organization: The organization of namespaces that have only a project.
            keep_sealed: Whether sealed texts are kept.
            keep_status: Whether statuses are kept.
            seals: Whether plain text counts as what admission makes of it, as in objects that are not stored yet.
            trusts_status: Whether what the controller has accepted is read without the models, and without sealed
                texts. For commands: the two processes judge every object themselves.
        """
        self._trusts_status = trusts_status
        self._default_organization = default_organization
        self._keep_sealed = keep_sealed
        self._keep_status = keep_status
        self._seals = seals

    def decode(self, kind: Kind, body: Mapping[str, Any]) -> Record:
        """Return what is kept of an object."""
        match kind:
            case Kind.NAMESPACE:
                return NamespaceRecord(self.binding(body), str(body["metadata"].get("uid", "")))
            case Kind.SCOPED_SECRET:
                definition, invalid = self.definition(body)
                status = self._status(body)
                packed = None if status is None else pack_status(status)
                return DefinitionRecord(definition, packed, invalid, _reseal_request(body))
            case Kind.SECRET_POLICY:
                policy, invalid = self.policy(body)
                return PolicyRecord(policy, PolicyReport(_generation_of(body), self._status(body) or {}, invalid))
            case _:
                assert_never(kind)

    def binding(self, body: Mapping[str, Any]) -> Binding | None:
        """Return the scope path of a namespace."""
        return binding_of(body, self._default_organization)

    def definition(self, body: Mapping[str, Any]) -> tuple[Definition | None, InvalidObject | None]:
        """Return the definition of a ScopedSecret, and why it cannot be read."""
        accepted = accepted_definition(body) if self._trusts_status else None
        if accepted is not None:
            return accepted, None
        from scoped_secrets.api.parsing import parse_scoped_secret, to_definition  # noqa: PLC0415 - see `api/accepted`.

        try:
            model = parse_scoped_secret(body)
            return to_definition(model, keep_sealed=self._keep_sealed, seals=self._seals), None
        except InvalidObjectError as error:
            message = error.message
        except Exception:  # noqa: BLE001 - one object must not block the operator's work on all others.
            message = _UNREADABLE
        return _placeholder(body), _invalid(names.SCOPED_SECRET_KIND, body, message)

    def policy(self, body: Mapping[str, Any]) -> tuple[Policy, InvalidObject | None]:
        """Return the rules of a SecretPolicy, and why they cannot be read."""
        accepted = accepted_policy(body) if self._trusts_status else None
        if accepted is not None:
            return accepted, None
        from scoped_secrets.api.parsing import parse_secret_policy, to_policy  # noqa: PLC0415 - as above.

        namespace, name = str(body["metadata"]["namespace"]), str(body["metadata"]["name"])
        try:
            # The inventory adds the scope path of the namespace, which decides what the policy may select.
            return to_policy(parse_secret_policy(body), Binding(namespace, organization="")), None
        except InvalidObjectError as error:
            message = error.message
        except Exception:  # noqa: BLE001 - one object must not block the operator's work on all others.
            message = _UNREADABLE
        policy = Policy(namespace, name, organization="", broken=True, interactive=DENY_EVERYTHING)
        return policy, _invalid(names.SECRET_POLICY_KIND, body, message)

    def _status(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        status = body.get("status") if self._keep_status else None
        return dict(status) if isinstance(status, Mapping) else None


def version_of(body: Mapping[str, Any]) -> str:
    """Return the resourceVersion of an object."""
    return str(body["metadata"].get("resourceVersion", ""))


def _generation_of(body: Mapping[str, Any]) -> int:
    """Return the generation of an object, 0 when it has none."""
    generation = body["metadata"].get("generation", 0)
    return generation if isinstance(generation, int) else 0


def _reseal_request(body: Mapping[str, Any]) -> str | None:
    request = (body["metadata"].get("annotations") or {}).get(names.RESEAL_ANNOTATION)
    return request if isinstance(request, str) else None


def _placeholder(body: Mapping[str, Any]) -> Definition | None:
    """Return a definition that no pod can use, in the slot of an unreadable one; None when it has no scope."""
    metadata, spec = body["metadata"], body.get("spec")
    if not isinstance(spec, Mapping) or spec.get("scope") not in list(Scope):
        return None
    return Definition(
        uid=str(metadata.get("uid", "")),
        generation=_generation_of(body),
        namespace=str(metadata["namespace"]),
        name=str(metadata["name"]),
        created=str(metadata.get("creationTimestamp", "")),
        secret_name=_text(spec.get("secretName")) or str(metadata["name"]),
        scope=Scope(spec["scope"]),
        project=_text(spec.get("project")),
        environment=_text(spec.get("environment")),
        final=spec.get("final") is True,
        not_ready=Reason.INVALID,
    )


def _invalid(kind: str, body: Mapping[str, Any], message: str) -> InvalidObject:
    return InvalidObject(kind, location_of(body), _generation_of(body), message)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
