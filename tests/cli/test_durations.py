"""Times that flags take."""

from datetime import timedelta

import pytest

from scoped_secrets.cli.durations import duration
from scoped_secrets.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30m", timedelta(minutes=30)), ("24h", timedelta(hours=24)), ("90d", timedelta(days=90))],
)
def test_a_number_with_a_unit_is_a_time(text: str, expected: timedelta):
    assert duration("--since", text, longest=timedelta(days=90)) == expected


@pytest.mark.parametrize("text", ["", "0h", "24", "h", "1w", "-1h", "1.5h", "91d", "999999h"])
def test_another_text_is_refused_with_the_flag_and_the_remedy(text: str):
    with pytest.raises(ConfigurationError, match=r"^--keep-previous must be a time such as .*, and at most 90d$"):
        duration("--keep-previous", text, longest=timedelta(days=90))
