"""How long: the times that flags take, such as 24h."""

import re
from datetime import timedelta
from typing import Final

from scoped_secrets.errors import ConfigurationError

__all__ = ["duration"]

_FORM: Final = re.compile(r"([0-9]{1,5})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def duration(flag: str, text: str, *, longest: timedelta | None = None) -> timedelta:
    """Return the time that a flag states.

    Args:
        flag: The flag, for the message.
        text: Its value: a number with m, h or d.
        longest: The longest time that it takes.

    Raises:
        ConfigurationError: The value is no time, zero, or longer.
    """
    match = _FORM.fullmatch(text)
    found = None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})
    if not found or (longest is not None and found > longest):
        bound = "" if longest is None else f", and at most {longest.days}d"
        raise ConfigurationError(f"{flag} must be a time such as 30m, 24h or 7d{bound}")
    return found
