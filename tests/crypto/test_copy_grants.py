"""The grant of a copy opens with the key that made it, for the one place that it was made for."""

from dataclasses import replace

import pytest

from scoped_secrets.crypto.copy_grants import CopyGrant, CopyPlace, make_copy_grant, open_copy_grant
from scoped_secrets.crypto.fingerprints import FingerprintKey

KEY, FORMER = FingerprintKey(bytes(range(32))), FingerprintKey.generate()
PLACE = CopyPlace("web/aws", "shop/aws", "Project", "shop", "", "aws")
GRANT = CopyGrant("0a1b2c3d-0000-4000-8000-000000000000", 7, 1_800_000_000)
TEXT = make_copy_grant(KEY, PLACE, GRANT)


def test_grant_opens_with_its_key_also_when_that_is_a_former_one():
    assert open_copy_grant((KEY,), PLACE, TEXT) == GRANT
    assert open_copy_grant((FORMER, KEY), PLACE, TEXT) == GRANT
    assert open_copy_grant((FORMER,), PLACE, TEXT) is None


@pytest.mark.parametrize("field", ["source", "target", "scope", "project", "environment", "secret_name"])
def test_grant_opens_for_no_other_place(field):
    assert open_copy_grant((KEY,), replace(PLACE, **{field: "other"}), TEXT) is None


def test_texts_that_move_between_fields_are_another_place():
    moved = replace(PLACE, source="web/awsshop/a", target="ws")

    assert open_copy_grant((KEY,), moved, TEXT) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 300,
        TEXT.replace("@7.", "@8."),
        TEXT.replace(".1800000000.", ".1800000001."),
        f"{TEXT}a",
        f"{TEXT}\n",
        TEXT.upper(),
        TEXT[:-32] + "a" * 32,
    ],
)
def test_changed_text_is_no_grant(text):
    assert open_copy_grant((KEY,), PLACE, text) is None
