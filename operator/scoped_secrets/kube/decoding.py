"""One stored object after the other, from its body to what the inventory keeps of it.

The API server checks the schema, so that whatever is stored can be read. When it cannot be, all the same (a CRD of
another version, a damaged etcd), the object must not open what it was meant to close: an unreadable policy denies
all that it governs, and an unreadable definition keeps its place, so that nobody gets a wider one's value instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scoped_secrets import names
from scoped_secrets.api.parsing import parse_scoped_secret, parse_secret_policy, to_definition, to_policy
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import Definition
from scoped_secrets.core.scope.binding import Binding, bind
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.errors import InvalidObjectError
from scoped_secrets.names import Reason

__all__ = ["Decoder", "InvalidObject", "generation_of", "location_of", "version_of"]

_UNREADABLE = "the object cannot be read; apply it again"


@dataclass(frozen=True, slots=True)
class InvalidObject:
    """A stored object that cannot be read.

    Attributes:
        kind: `ScopedSecret` or `SecretPolicy`.
        location: Its `namespace/name`.
        generation: The generation that was looked at.
        message: What is wrong, in one sentence without any value.
    """

    kind: str
    location: str
    generation: int
    message: str


class Decoder:
    """Reads the bodies of the three kinds."""

    def __init__(self, default_organization: str, *, keep_sealed: bool) -> None:
        """Take what reading depends on beside the body."""
        self._default_organization = default_organization
        self._keep_sealed = keep_sealed

    def binding(self, body: Mapping[str, Any]) -> Binding | None:
        """Return the scope path of a namespace."""
        metadata = body["metadata"]
        return bind(
            metadata["name"],
            metadata.get("labels") or {},
            metadata.get("annotations") or {},
            self._default_organization,
        )

    def definition(self, body: Mapping[str, Any]) -> tuple[Definition | None, InvalidObject | None]:
        """Return a ScopedSecret's definition, and what is wrong with it."""
        try:
            return to_definition(parse_scoped_secret(body), keep_sealed=self._keep_sealed), None
        except InvalidObjectError as error:
            message = error.message
        except Exception:  # noqa: BLE001 - one object must not keep the operator from all others.
            message = _UNREADABLE
        return _placeholder(body), _invalid(names.SCOPED_SECRET_KIND, body, message)

    def policy(self, body: Mapping[str, Any]) -> tuple[Policy, InvalidObject | None]:
        """Return a SecretPolicy's rules, and what is wrong with it."""
        namespace, name = str(body["metadata"]["namespace"]), str(body["metadata"]["name"])
        try:
            # The inventory fills in what the namespace lets the policy govern.
            return to_policy(parse_secret_policy(body), Binding(namespace, organization="")), None
        except InvalidObjectError as error:
            message = error.message
        except Exception:  # noqa: BLE001 - one object must not keep the operator from all others.
            message = _UNREADABLE
        return Policy(namespace, name, organization="", broken=True), _invalid(names.SECRET_POLICY_KIND, body, message)


def location_of(body: Mapping[str, Any]) -> str:
    """Return `namespace/name` of an object, only the name of one without a namespace."""
    metadata = body["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def version_of(body: Mapping[str, Any]) -> str:
    """Return the resourceVersion of an object."""
    return str(body["metadata"].get("resourceVersion", ""))


def generation_of(body: Mapping[str, Any]) -> int:
    """Return the generation of an object, 0 when it has none."""
    generation = body["metadata"].get("generation", 0)
    return generation if isinstance(generation, int) else 0


def _placeholder(body: Mapping[str, Any]) -> Definition | None:
    """Return a definition that nobody may use, in the place of an unreadable one; None when it names no place."""
    metadata, spec = body["metadata"], body.get("spec")
    if not isinstance(spec, Mapping) or spec.get("scope") not in list(Scope):
        return None
    return Definition(
        uid=str(metadata.get("uid", "")),
        generation=generation_of(body),
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
    return InvalidObject(kind, location_of(body), generation_of(body), message)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
