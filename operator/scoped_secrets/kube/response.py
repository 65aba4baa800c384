"""A response of the API server: its object, or the error that it stands for, without anything of a body."""

import json
import re
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    GoneError,
    UnauthorizedError,
    UnavailableError,
)
from scoped_secrets.kube import paths
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.redaction import RedactedDict

__all__ = ["Body", "Response"]

Body: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON."""

_EXISTS: Final = "AlreadyExists"
_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_STATUS_REASON: Final = re.compile(r"[A-Za-z]{1,40}")
# As much of the server's message as a person reads.
_MESSAGE_CHARACTERS: Final = 2000
# What the API server says when no role allows a request: `ForbiddenStatusError` in its package `responsewriters`. Name
# and user are in quotes of Go. A webhook or a policy that denies a request says something else.
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_NO_ROLE: Final = re.compile(
    rf'(?P<resource>\S+)(?: (?P<name>{_QUOTED}))? is forbidden: User (?=")'
    rf'(?:{_QUOTED} cannot (?P<right>[a-z:-]+) (?:resource|path) ")?'
)
_RIGHTS: Final = {"POST": "create", "PUT": "update"}
_WEBHOOK_PREFIX: Final = re.compile(r'admission webhook "[^"]*" denied the request: ')


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the server, of any status."""

    status: int
    content: SecretValue
    retry_after: str | None
    warnings: tuple[str, ...] = ()

    def body(self, verb: str, path: str, *, shows_message: bool = False) -> Body:
        """Return the object of a successful response.

        Args:
            verb: The verb of the request, for messages.
            path: Its path, for messages.
            shows_message: Whether an error has the server's message, which may quote the request.

        Raises:
            ClusterError: The request failed.
        """
        content = self._object()
        if not HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES:
            raise self._error(verb, path, content, shows_message=shows_message)
        if content is None:
            raise UnavailableError(f"{verb} {path}: the answer is no JSON object", status=self.status)
        return content

    def status_and_object(self) -> tuple[int, Body]:
        """Return the status and the object of any response; an empty object when it has none."""
        return self.status, self._object() or {}

    def _object(self) -> Body | None:
        try:
            content = json.loads(self.content.reveal())
        except ValueError:
            return None
        return RedactedDict.of(content) if isinstance(content, dict) else None

    def _error(self, verb: str, path: str, content: Body | None, *, shows_message: bool) -> ClusterError:
        """Return the exception for a failed request."""
        reason = content.get("reason") if content is not None else None
        # One CamelCase word is a reason of Kubernetes; any other text might quote a body.
        known = isinstance(reason, str) and _STATUS_REASON.fullmatch(reason) is not None
        request = f"{verb} {path}: {self.status}" + (f" {reason}" if known else "")
        if self.status == HTTPStatus.UNAUTHORIZED:
            sentence = f"the API server does not accept the credentials ({request}); log in again or renew them"
            return UnauthorizedError(sentence, status=self.status)
        message = self._stated(verb, path, content, shows_message=shows_message) or request
        match self.status:
            case HTTPStatus.FORBIDDEN:
                return ForbiddenError(message, status=self.status)
            case HTTPStatus.CONFLICT:
                # With another reason, the conflict is about another object, such as a resource quota.
                is_there = verb != "POST" or reason == _EXISTS
                return (ConflictError if is_there else UnavailableError)(message, status=self.status)
            case HTTPStatus.GONE:
                return GoneError(message, status=self.status)
            case status if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return UnavailableError(message, status=self.status, retry_after=self._retry_after_seconds())
            case _:
                return ClusterError(message, status=self.status)

    def _stated(self, verb: str, path: str, content: Body | None, *, shows_message: bool) -> str | None:
        """Return what the server says as far as it may be shown, ``None`` for nothing."""
        stated = content.get("message") if content is not None else None
        if not isinstance(stated, str) or not stated:
            return None
        if shows_message:
            return _as_one_line(stated)
        denied = _NO_ROLE.match(stated) if self.status == HTTPStatus.FORBIDDEN else None
        return None if denied is None else _missing_right(denied, verb, path)

    def _retry_after_seconds(self) -> float | None:
        """Return the Retry-After header in seconds; the API server never sends a date in it."""
        return float(self.retry_after) if self.retry_after is not None and self.retry_after.isdecimal() else None


def _missing_right(denied: re.Match[str], verb: str, path: str) -> str:
    """Return the sentence about the right that a request needs.

    The request does not always tell it: an apply needs `create` where the object does not exist, and a request as
    another user needs `impersonate` on that user.
    """
    right = denied["right"] or _RIGHTS.get(verb, verb.lower())
    what = paths.in_words(path)
    if right.partition(":")[0] == "impersonate":
        what = denied["resource"] + (f" '{denied['name'][1:-1]}'" if denied["name"] else "")
    return f"your role does not allow the verb '{right}' on {what}; request it"


def _as_one_line(message: str) -> str:
    """Return the server's message as one line, without the name of our own webhook."""
    text = " ".join(_WEBHOOK_PREFIX.sub("", message).split())
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:_MESSAGE_CHARACTERS]}…"
