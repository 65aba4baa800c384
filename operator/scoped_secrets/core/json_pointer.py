"""JSON pointers (RFC 6901): how the operations of a JSON patch name a member of a body."""

__all__ = ["json_pointer", "parse_json_pointer"]


def json_pointer(*segments: str | int) -> str:
    """Return the pointer to a member: its names and indexes from the root of the body, escaped and joined."""
    return "".join(f"/{str(segment).replace('~', '~0').replace('/', '~1')}" for segment in segments)


def parse_json_pointer(pointer: str) -> tuple[str, ...]:
    """Return the segments of a pointer, unescaped."""
    # RFC 6901, section 4: "~1" first, or "~01" would become "/".
    return tuple(segment.replace("~1", "/").replace("~0", "~") for segment in pointer.split("/")[1:])
