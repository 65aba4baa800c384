"""What admission vouches for about a pod (DESIGN section 6).

Admission writes the record into an annotation of the pod, and binds the name of the pod's bundle to it. The controller
cannot see who created a pod; it believes the record of a pod whose bundle has the right name.
"""

import json
from dataclasses import fields
from typing import Any, Final

from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["NO_PROJECT", "AdmissionRecord", "parse_admission_record"]

NO_PROJECT: Final = "-"
"""The project of a job whose engine states one that is none of this cluster: no namespace can have this name."""

_SOURCES = "sources"
_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class AdmissionRecord:
    """The facts about one pod that only the request for its creation tells; a text is empty when it is not known.

    The fields from `issuer` on are what a trusted issuer states (`core/policy/issuers.py`).
    """

    creator: str = ""
    """The user who created the pod or, of the pods of a workload, the user who wrote the workload's template."""
    owner: str = ""
    """The UID of the workload, only when one of Kubernetes' own controllers created the pod for it."""
    issuer: str = ""
    """The name of the trusted issuer."""
    project: str = ""
    environment: str = ""
    vouched: str = ""
    """`true` when the issuer's configuration lets the pod into its environment."""
    ref: str = ""
    """The full Git ref. Two with a space between them when the issuer does not tell branches and tags apart."""
    event: str = ""
    """The event that started the job, in lower case."""
    sources: tuple[tuple[str, str], ...] = ()
    """The claims of the issuer, and where each comes from, sorted."""

    @property
    def refs(self) -> tuple[str, ...]:
        """Return every ref that the job may run for; none when no issuer states one."""
        return tuple(self.ref.split())

    def text(self) -> str:
        """Return the record as the annotation holds it: always the same text for the same record."""
        known: dict[str, Any] = {name: value for name in _TEXTS if (value := getattr(self, name))}
        if self.sources:
            known[_SOURCES] = dict(self.sources)
        return _ENCODER.encode(known)


_TEXTS = tuple(field.name for field in fields(AdmissionRecord) if field.name != _SOURCES)


def parse_admission_record(text: str | None) -> AdmissionRecord:
    """Read an annotation of any author; a text that is no record reads as an empty one."""
    try:
        given = json.loads(text or "{}")
    except (RecursionError, ValueError):
        return AdmissionRecord()
    if not isinstance(given, dict):
        return AdmissionRecord()
    texts = {name: value for name in _TEXTS if isinstance(value := given.get(name), str)}
    sources = given.get(_SOURCES)
    if not isinstance(sources, dict):
        sources = {}
    return AdmissionRecord(
        **texts, sources=tuple(sorted((name, value) for name, value in sources.items() if isinstance(value, str)))
    )
