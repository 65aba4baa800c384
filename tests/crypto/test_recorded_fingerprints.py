"""Fingerprints that are recorded beside a sealed text."""

import base64

import pytest

from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.crypto.recorded_fingerprints import RECORDED_CHARACTERS, parse_recorded, recorded_fingerprint

MADE = Fingerprint(bytes(range(16)), bytes(range(12)))
TEXT = "v1:a-sealed-text"


def test_a_recorded_fingerprint_is_read_again():
    recorded = recorded_fingerprint(TEXT, MADE)

    assert len(recorded) == RECORDED_CHARACTERS
    assert parse_recorded(TEXT, recorded) == MADE


def test_it_counts_for_no_other_text():
    assert parse_recorded(TEXT + "x", recorded_fingerprint(TEXT, MADE)) is None


@pytest.mark.parametrize(
    "malformed",
    [None, 7, "", "=" * RECORDED_CHARACTERS, "é" * RECORDED_CHARACTERS, base64.b64encode(bytes(45)).decode()],
)
def test_a_malformed_one_counts_for_nothing(malformed: object):
    assert parse_recorded(TEXT, malformed) is None
