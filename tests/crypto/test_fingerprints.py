import base64
import copy
import hashlib
import hmac
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.fingerprints import (
    Fingerprint,
    FingerprintKey,
    bundle_name_tag,
    fingerprint,
    verify_bundle_name_tag,
)
from scoped_secrets.crypto.values import SecretValue

KEY = FingerprintKey(bytes(range(32)))
PLACE = ("web", "aws", "env", "TOKEN")
SALT = bytes(range(12))
salts = st.sampled_from([b"", SALT, bytes(12)])
short_text = st.text(alphabet="ab/", max_size=3)
places = st.tuples(short_text, short_text, st.sampled_from(["env", "file"]), short_text)


@given(st.tuples(places, st.binary(max_size=4), salts), st.tuples(places, st.binary(max_size=4), salts))
def test_fingerprints_are_equal_exactly_when_place_value_and_salt_are(
    one: tuple[tuple[str, str, str, str], bytes, bytes], other: tuple[tuple[str, str, str, str], bytes, bytes]
):
    marks = [fingerprint(KEY, *place, SecretValue(value), salt) for place, value, salt in (one, other)]
    assert (marks[0] == marks[1]) == (marks[0].digest == marks[1].digest) == (one == other)


@pytest.mark.parametrize(
    ("salt", "start"), [(SALT, (b"scoped-secrets fingerprint v2", SALT)), (b"", (b"scoped-secrets fingerprint v1",))]
)
def test_the_fingerprint_is_the_documented_hmac(salt: bytes, start: tuple[bytes, ...]):
    message = prefixed(*start, b"web", b"aws", b"env", b"TOKEN", b"value")
    expected = hmac.new(bytes(range(32)), message, hashlib.sha256).digest()[:16]
    assert fingerprint(KEY, *PLACE, SecretValue(b"value"), salt).digest == expected


def test_another_key_makes_another_fingerprint():
    value = SecretValue(b"value")
    assert fingerprint(KEY, *PLACE, value, SALT) != fingerprint(FingerprintKey(bytes(32)), *PLACE, value, SALT)


def test_short_form_is_ten_hex_digits():
    mark = fingerprint(KEY, *PLACE, SecretValue(b"value"), SALT)
    assert re.fullmatch("[0-9a-f]{10}", mark.short())
    assert repr(mark) == f"Fingerprint({mark.short()})"
    assert mark.digest.hex() not in f"{mark}"


def test_equal_fingerprints_are_one_element_of_a_set_and_nothing_else_equals_them():
    mark = Fingerprint(bytes(16))
    assert {mark, Fingerprint(bytes(16))} == {mark}
    assert mark != bytes(16)


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_fingerprint_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match="16 bytes"):
        Fingerprint(bytes(size))


@pytest.mark.parametrize("size", [1, 11, 13, 16])
def test_a_salt_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match="12 bytes"):
        Fingerprint(bytes(16), bytes(size))


def test_a_fingerprint_key_reads_back_and_shows_nothing():
    key = FingerprintKey.generate()
    again = FingerprintKey.parse(key.serialize())
    assert again.digest(b"domain") == key.digest(b"domain")
    assert repr(key) == f"{key}" == "FingerprintKey(redacted)"
    assert FingerprintKey.generate().digest(b"domain") != key.digest(b"domain")


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_fingerprint_key_is_neither_pickled_nor_copied(act):
    with pytest.raises(TypeError):
        act(KEY)


@pytest.mark.parametrize("data", [b"", bytes(32), KEY.serialize()[:-30], KEY.serialize() * 2])
def test_data_without_exactly_one_fingerprint_key_is_rejected(data):
    with pytest.raises(KeyMaterialError):
        FingerprintKey.parse(data)


@given(st.tuples(short_text, short_text, short_text), st.tuples(short_text, short_text, short_text))
def test_a_bundle_name_tag_verifies_for_its_own_pod_only(pod: tuple[str, str, str], other: tuple[str, str, str]):
    tag = bundle_name_tag(KEY, *pod)
    assert re.fullmatch("[a-z2-7]{16}", tag)
    assert verify_bundle_name_tag(KEY, *pod, tag)
    assert verify_bundle_name_tag(KEY, *other, tag) == (pod == other)
    assert not verify_bundle_name_tag(FingerprintKey(bytes(32)), *pod, tag)


@pytest.mark.parametrize("tag", ["", "a", "é" * 16, "\ud800", "A" * 16])
def test_malformed_tag_does_not_verify(tag):
    assert not verify_bundle_name_tag(KEY, "web", "job", "nonce", tag)


def test_the_tag_is_the_documented_hmac_with_a_domain_of_its_own():
    message = prefixed(b"scoped-secrets bundle name v1", b"web", b"job", b"nonce")
    expected = hmac.new(bytes(range(32)), message, hashlib.sha256).digest()[:10]
    assert base64.b32decode(bundle_name_tag(KEY, "web", "job", "nonce").upper()) == expected


def prefixed(*parts):
    return len(parts).to_bytes(4, "big") + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
