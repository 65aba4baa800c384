"""What the doctor makes of a request that fails: a fact that could not be read, or the end of the examination."""

import pytest

from scoped_secrets.doctor.answers import ask
from scoped_secrets.doctor.facts import Unreadable
from scoped_secrets.errors import ClusterError, ForbiddenError, UnauthorizedError, UnavailableError


async def failing(error):
    raise error


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (ForbiddenError("no", status=403), Unreadable(needs="get on things")),
        (UnavailableError("no", status=503), Unreadable(failure="the API server answers 503")),
    ],
)
async def test_one_request_that_fails_is_a_fact_that_could_not_be_read(error: ClusterError, fact: Unreadable):
    assert await ask("get on things", failing(error)) == fact


@pytest.mark.parametrize("error", [UnauthorizedError("no", status=401), UnavailableError("no")])
async def test_what_fails_every_request_ends_the_examination(error: ClusterError):
    with pytest.raises(type(error)):
        await ask("get on things", failing(error))
