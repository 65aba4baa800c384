"""The scope path of a namespace that a person states, because no object tells it."""

from typing import Final

from scoped_secrets.errors import ConfigurationError
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["GivenScope", "parse_given_scope"]

_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class GivenScope:
    """The scope path of a namespace that the files do not have."""

    namespace: str
    organization: str
    project: str | None = None
    environment: str | None = None


def parse_given_scope(text: str) -> GivenScope:
    """Read `NAMESPACE=ORGANIZATION[/PROJECT[/ENVIRONMENT]]`; an environment may contain `/`.

    Raises:
        ConfigurationError: The text has another form.
    """
    namespace, _, path = text.partition("=")
    parts = path.split("/", _PARTS - 1)
    if not namespace or not all(parts):
        raise ConfigurationError(
            "--namespace-scope must be NAMESPACE=ORGANIZATION, NAMESPACE=ORGANIZATION/PROJECT or "
            "NAMESPACE=ORGANIZATION/PROJECT/ENVIRONMENT"
        )
    return GivenScope(namespace, *parts)
