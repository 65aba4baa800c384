"""What admission vouches for about a pod (DESIGN section 6).

Admission writes the record into an annotation of the pod, and binds the name of the pod's bundle to it. The controller
cannot see who created a pod; it believes the record of a pod whose bundle has the right name.
"""

import json
from dataclasses import asdict, dataclass, fields

__all__ = ["AdmissionRecord", "parse_admission_record"]


@dataclass(frozen=True, slots=True)
class AdmissionRecord:
    """The facts about one pod that only the request for its creation tells; a text is empty when it is not known."""

    creator: str = ""
    """The user who created the pod or, of the pods of a workload, the user who wrote the workload's template."""
    owner: str = ""
    """The UID of the workload, only when one of Kubernetes' own controllers created the pod for it."""

    def text(self) -> str:
        """Return the record as the annotation holds it: always the same text for the same record."""
        known = {name: value for name, value in asdict(self).items() if value}
        return json.dumps(known, separators=(",", ":"), sort_keys=True)


def parse_admission_record(text: str | None) -> AdmissionRecord:
    """Read an annotation, whoever wrote it; a text that is no record reads as an empty one."""
    try:
        given = json.loads(text or "{}")
    except ValueError:
        return AdmissionRecord()
    if not isinstance(given, dict):
        return AdmissionRecord()
    names = {field.name for field in fields(AdmissionRecord)}
    return AdmissionRecord(**{name: value for name, value in given.items() if name in names and isinstance(value, str)})
