"""The project's exceptions. Messages name fields and remedies, never the input.

- ScopedSecretsError
  - UserError                an input that its author can correct; carries a reason
    - InvalidObjectError     a body that is not a valid ScopedSecret, SecretPolicy or pod
    - DeniedError            a pod or definition that admission denies
      - JobDeniedError       the same, with what was decided until then (`core/grant.py`)
  - SealingError             a sealed text that cannot be unsealed; always the same message
  - ClusterError             a request to the API server failed
    - ConflictError          the object exists already, or has changed
    - ForbiddenError         the roles do not allow it
    - GoneError              a resourceVersion or continue token is too old
    - UnauthorizedError      the API server does not accept the credentials
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
    "UnauthorizedError",
    "UnavailableError",
    "UserError",
]


class ScopedSecretsError(Exception):
    """The root of the tree."""


class UserError(ScopedSecretsError):
    """An input that its author can correct.

    Attributes:
        reason: The CamelCase word for programs.
        message: One sentence for people, with the field and the remedy; never the input itself.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        """Keep reason and message apart: each sink chooses what it shows."""
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class InvalidObjectError(UserError):
    """A body that is not a valid object of its kind."""

    def __init__(self, message: str) -> None:
        """Take the message; the reason is always Invalid."""
        super().__init__(Reason.INVALID, message)


class DeniedError(UserError):
    """Admission denies the pod or definition."""


class SealingError(ScopedSecretsError):
    """A sealed text that cannot be unsealed.

    The message is constant: a message with the cause would be an oracle.
    """

    def __init__(self) -> None:
        """Take no argument: a constant message cannot leak."""
        super().__init__("the sealed text does not open")


class ClusterError(ScopedSecretsError):
    """A request to the API server failed.

    Attributes:
        status: The HTTP status code, 0 when there was no answer.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        """Keep the status code and a message without the body."""
        super().__init__(message)
        self.status = status


class ConflictError(ClusterError):
    """The object exists already, or has changed since it was read."""


class ForbiddenError(ClusterError):
    """The roles of the operator do not allow the call."""


class GoneError(ClusterError):
    """A resourceVersion or a continue token is too old."""


class UnauthorizedError(ClusterError):
    """The API server does not accept the credentials, so that the answer says nothing about roles."""


class UnavailableError(ClusterError):
    """No answer, a timeout, 429 or 5xx: try again later."""

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        """Keep the server's Retry-After in seconds, if it sent one."""
        super().__init__(message, status=status)
        self.retry_after = retry_after


class ConfigurationError(ScopedSecretsError):
    """A flag or an environment variable is wrong."""
