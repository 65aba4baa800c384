"""What a check may say."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """Something does not work."""
    WARNING = "warning"
    """Something is probably not as meant, or will stop to work."""
    UNCHECKED = "unchecked"
    """It could not be found out."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to mend.

    Attributes:
        severity: How bad it is.
        message: What is wrong, in one sentence.
        remedy: What to do about it, in one sentence.
    """

    severity: Severity
    message: str
    remedy: str
