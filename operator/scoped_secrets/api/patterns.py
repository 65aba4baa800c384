"""The patterns of names, and the message for each."""

from typing import Final

__all__ = ["ENVIRONMENT", "LABEL_KEY", "LABEL_VALUE", "OBJECT_NAME", "SENTENCES"]

ENVIRONMENT: Final = r"^[^\x00-\x20\x7f,]([^\x00-\x1f\x7f,]*[^\x00-\x20\x7f,])?$"
LABEL_VALUE: Final = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
OBJECT_NAME: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
LABEL_KEY: Final = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"

SENTENCES: Final[dict[str, str]] = {
    ENVIRONMENT: "must have no comma, no control character and no space at its ends",
    LABEL_VALUE: "must consist of letters, digits, '.', '_' and '-', and begin and end with a letter or digit",
    OBJECT_NAME: "must consist of lower-case letters, digits, '.' and '-', and begin and end with a letter or digit",
    LABEL_KEY: "must be a label key such as 'tier' or 'example.org/tier'",
}
"""The message for each pattern: a regular expression is not a remedy. Modules add theirs beside the pattern."""
