"""The project's exceptions. Messages name fields and remedies, never the input.

- ScopedSecretsError
  - UserError                an input that a person can mend; carries a reason
    - InvalidObjectError     a body that is no valid ScopedSecret, SecretPolicy or pod
    - DeniedError            a pod or definition that may not be
  - SealingError             a sealed text that does not open; always the same message
  - ClusterError             the API server did not do what was asked
    - ConflictError          it exists already, or has changed
    - ForbiddenError         the roles do not allow it
    - GoneError              a resourceVersion or continue token is too old
    - UnavailableError       no answer, a timeout, 429 or 5xx: try again later
  - ConfigurationError       a flag or an environment variable is wrong

Absence is ``None`` and a collision of names is a value; neither raises.
"""

from scoped_secrets.names import Reason

__all__ = [
    "ClusterError",
    "ConfigurationError",
    "ConflictError",
    "DeniedError",
    "ForbiddenError",
    "GoneError",
    "InvalidObjectError",
    "ScopedSecretsError",
    "SealingError",
    "UnavailableError",
    "UserError",
]


class ScopedSecretsError(Exception):
    """The root of the tree."""


class UserError(ScopedSecretsError):
    """An input that a person can mend.

    Attributes:
        reason: The CamelCase word for programs.
        message: One sentence for people, with the field and the remedy; never the input itself.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        """Keep reason and message apart, so that each sink can choose."""
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class InvalidObjectError(UserError):
    """A body that is no valid object of its kind."""

    def __init__(self, message: str) -> None:
        """Take the sentence; the reason is always the same."""
        super().__init__(Reason.INVALID, message)


class DeniedError(UserError):
    """A pod or definition that may not be."""


class SealingError(ScopedSecretsError):
    """A sealed text that does not open.

    The message is constant: one that told why would make an oracle of whoever prints it.
    """

    def __init__(self) -> None:
        """Take nothing, so that nothing can leak."""
        super().__init__("the sealed text does not open")


class ClusterError(ScopedSecretsError):
    """The API server did not do what was asked.

    Attributes:
        status: The HTTP status code, 0 when there was no answer.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        """Keep the status code beside a message that holds no body."""
        super().__init__(message)
        self.status = status


class ConflictError(ClusterError):
    """The object exists already, or has changed since it was read."""


class ForbiddenError(ClusterError):
    """The roles of the operator do not allow the call."""


class GoneError(ClusterError):
    """A resourceVersion or a continue token is too old."""


class UnavailableError(ClusterError):
    """No answer, a timeout, 429 or 5xx: try again later."""

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        """Keep the server's Retry-After, in seconds, when it gave one."""
        super().__init__(message, status=status)
        self.retry_after = retry_after


class ConfigurationError(ScopedSecretsError):
    """A flag or an environment variable is wrong."""
