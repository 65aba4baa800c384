"""The findings of a check."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """How severe a finding is."""

    ERROR = "error"
    """Something does not work."""
    WARNING = "warning"
    """Something is probably not as intended, or will stop working."""
    UNCHECKED = "unchecked"
    """The check could not be made."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem and its remedy.

    Attributes:
        severity: How severe it is.
        message: What is wrong, in one sentence.
        remedy: What to do, in one sentence.
    """

    severity: Severity
    message: str
    remedy: str
