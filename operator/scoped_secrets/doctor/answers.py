"""Turns a request that the API server denies into a fact that could not be read."""

from collections.abc import Awaitable
from typing import TypeVar

from scoped_secrets.doctor.facts import Answer, Unreadable
from scoped_secrets.errors import ClusterError, ForbiddenError, UnauthorizedError

__all__ = ["ask"]

_T = TypeVar("_T")


async def ask(needs: str, question: Awaitable[_T]) -> Answer[_T]:
    """Return an answer, or why there is none.

    Args:
        needs: The right that the question needs.
        question: The request.

    Raises:
        UnauthorizedError: The API server does not accept the credentials, so that no other request can succeed.
        ClusterError: The API server does not answer.
    """
    try:
        return await question
    except UnauthorizedError:
        raise
    except ForbiddenError:
        return Unreadable(needs=needs)
    except ClusterError as error:
        if not error.status:
            raise
        return Unreadable(failure=f"the API server answers {error.status}")
