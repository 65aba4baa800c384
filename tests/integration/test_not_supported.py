"""What this version does not support is rejected, and never silently ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.console import scoped_secret

if TYPE_CHECKING:
    from tests.integration.conftest import Founder
    from tests.integration.console import Console

pytestmark = pytest.mark.integration


def test_publish_is_an_unknown_field_of_a_secret(found: Founder, console: Console):
    web = found().namespace("web", "web")

    message = console.refusal(scoped_secret(f"{web}/aws", publish={"name": "registry"}))

    assert 'unknown field "publish"' in message
    assert not console.exists("ssec", web, "aws")
