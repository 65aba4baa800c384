"""The claims of one decision, each with its value and who vouches for it: what an audit of the decision needs."""

from collections.abc import Iterator

from scoped_secrets import names
from scoped_secrets.core.policy.claims import Claims
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["StatedClaim", "stated_claims"]


@dataclass(frozen=True, slots=True)
class StatedClaim:
    """One claim about a job: its value, and the source that the decision believed; names only."""

    name: str
    value: str
    source: str


def stated_claims(claims: Claims, binding: Binding) -> tuple[StatedClaim, ...]:
    """Return the claims about a job whose creation admission recorded; none without a record."""
    return tuple(_stated(claims, binding)) if claims.record.creator else ()


def _stated(claims: Claims, binding: Binding) -> Iterator[StatedClaim]:
    record, path = claims.record, claims.path
    issued = {name: f"trusted issuer {record.issuer}: {source}" for name, source in record.sources}
    namespace = "namespace"
    if claims.project is not None:
        yield StatedClaim("project", claims.project, namespace if path.project else issued.get("project", ""))
    if path.environment is not None:
        source = namespace if binding.environment else issued.get("environment", "")
        yield StatedClaim(
            "environment", path.environment, source or f"annotation {names.ENVIRONMENT_ANNOTATION} of the Pod"
        )
    yield StatedClaim("namespace", claims.namespace, "request")
    yield StatedClaim("serviceAccount", claims.service_account, "Pod")
    from_template = record.owner and record.creator not in names.WORKLOAD_CONTROLLERS
    yield StatedClaim("creator", record.creator, "template of the workload" if from_template else "request")
    if record.ref:
        yield StatedClaim("ref", record.ref, issued.get("ref", ""))
    if record.event:
        yield StatedClaim("event", record.event, issued.get("event", ""))
