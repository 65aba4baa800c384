"""Timestamps as the Kubernetes API has them: RFC 3339, in UTC."""

from datetime import UTC, datetime

__all__ = ["parse_timestamp", "rfc3339"]


def rfc3339(time: datetime, *, timespec: str = "seconds") -> str:
    """Return a time in UTC as RFC 3339; `timespec` is that of `datetime.isoformat`."""
    return time.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def parse_timestamp(text: object) -> datetime | None:
    """Return the time of a timestamp with a zone, None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
