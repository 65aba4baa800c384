"""The format of sealed texts, pinned by stored texts and by the primitives of RFC 9180 alone."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.crypto.support import CONTEXT, DATA, envelope_of, text_of
from tests.support.builders import entry_key

from scoped_secrets.crypto import data_keys
from scoped_secrets.crypto.data_keys import open_data_key
from scoped_secrets.crypto.fingerprints import Fingerprint, FingerprintKey, fingerprint
from scoped_secrets.crypto.guesses import Question, open_guess
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealing import SealingContext, parse_header, unseal
from scoped_secrets.crypto.values import SecretValue

CASES = json.loads((DATA / "sealed-texts.json").read_text(encoding="utf-8"))
UNDER_DATA_KEYS = json.loads((DATA / "data-keys.json").read_text(encoding="utf-8"))
GUESSES = json.loads((DATA / "guesses.json").read_text(encoding="utf-8"))
RING = KeyRing((PrivateSealingKey.parse((DATA / "private-key.txt").read_bytes()),))
SUITE = bytes.fromhex("647a00010002")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
each_guess = pytest.mark.parametrize("case", GUESSES, ids=lambda case: case["case"])
each_data_key = pytest.mark.parametrize("case", UNDER_DATA_KEYS, ids=lambda case: case["case"])


@each_case
def test_stored_text_unseals_in_every_version(case):
    value = base64.b64decode(case["value"])
    assert unseal(case["text"], SealingContext(**case["context"]), RING).reveal() == value


@each_case
def test_a_stored_text_has_the_header_that_is_documented(case):
    envelope = envelope_of(case["text"])
    context = prefixed(*(part.encode() for part in case["context"].values()))
    assert text_of(envelope) == case["text"]
    assert envelope[:1] == b"\x01"
    assert envelope[1:7] == SUITE
    assert envelope[7:15].hex() == "c9a3565ffde4f72b"
    assert envelope[15] == (0 if case["fingerprint"] is None else 3 if "salt" in case else 1)
    assert envelope[16:32] == hashlib.sha256(context).digest()[:16]
    assert envelope[32:48] == bytes.fromhex(case["fingerprint"] or "00" * 16)
    assert envelope[48 : header_size(case)] == bytes.fromhex(case.get("salt", ""))


@each_case
def test_a_stored_fingerprint_is_still_the_fingerprint_of_its_value(case):
    context = SealingContext(**case["context"])
    place = (context.namespace, context.name, context.entry_kind, context.entry_name)
    stored = parse_header(case["text"]).fingerprint
    value, salt = SecretValue(base64.b64decode(case["value"])), b"" if stored is None else stored.salt
    mark = fingerprint(FingerprintKey(bytes(range(32))), *place, value, salt)
    assert (stored == mark) == (case["fingerprint"] is not None)


@each_case
def test_stored_text_unseals_with_the_bare_primitives_of_rfc_9180(case):
    padded = open_envelope(case["text"], header_size(case), case["context"].values())
    assert padded == padded_of(base64.b64decode(case["value"]))


@each_data_key
def test_stored_value_under_a_data_key_unseals_in_every_version(case):
    context, data_key = SealingContext(**case["context"]), case["dataKey"]
    opened = open_data_key(data_key["id"], data_key["sealed"], context, RING)
    assert opened.unseal(case["text"], context).reveal() == base64.b64decode(case["value"])


@each_data_key
def test_stored_value_under_a_data_key_unseals_with_bare_primitives(case):
    parts, data_key = list(case["context"].values()), case["dataKey"]
    # The data key: the envelope of RFC 9180, for the object's place and the id.
    key = open_envelope(data_key["sealed"], 48, [*parts[:-2], "dataKey", data_key["id"]])
    assert key == padded_of(bytes.fromhex(data_key["key"]))
    # The value: AES-256-GCM, with the header and the entry's place as associated data.
    envelope, context = envelope_of(case["text"]), prefixed(*(part.encode() for part in parts))
    start = 30 if case["fingerprint"] is None else 58
    header, ciphertext = envelope[:start], envelope[start:]
    associated = prefixed(b"scoped-secrets value under a data key v2", header, context)
    padded = AESGCM(key[4:36]).decrypt(header[18:30], ciphertext, associated)
    assert padded == padded_of(base64.b64decode(case["value"]))


@each_data_key
def test_value_under_a_data_key_has_the_header_that_is_documented(case):
    envelope = envelope_of(case["text"])
    context = prefixed(*(part.encode() for part in case["context"].values()))
    assert case["text"] == text_of(envelope, "v2:")
    assert envelope[:2] == bytes([2, 0 if case["fingerprint"] is None else 1])
    assert envelope[2:10].hex() == case["dataKey"]["id"]
    assert envelope[10:18] == hashlib.sha256(context).digest()[:8]
    if case["fingerprint"] is not None:
        assert envelope[30:58].hex() == case["fingerprint"] + case["salt"]


@each_data_key
def test_fingerprint_under_a_data_key_is_that_of_its_value(case):
    context = SealingContext(**case["context"])
    place = (context.namespace, context.name, context.entry_kind, context.entry_name)
    stored = data_keys.parse_header(case["text"]).fingerprint
    value, salt = SecretValue(base64.b64decode(case["value"])), b"" if stored is None else stored.salt
    mark = fingerprint(FingerprintKey(bytes(range(32))), *place, value, salt)
    assert (stored == mark) == (case["fingerprint"] is not None)


@each_guess
def test_stored_guess_opens_in_every_version(case):
    asked, key = case["question"], FingerprintKey(bytes(range(32)))
    entry = entry_key(asked["entryKind"], asked["entryName"])
    stored = Fingerprint(bytes.fromhex(case["fingerprint"]), bytes.fromhex(case["salt"]))
    opened = open_guess(case["text"], Question(asked["namespace"], asked["name"], entry, asked["user"], stored), (key,))
    assert opened is not None
    assert opened.reveal() == base64.b64decode(case["value"])


@each_guess
def test_stored_guess_opens_with_bare_primitives(case):
    # The comparison key: an X-Wing seed that follows from the fingerprint key.
    seed = hmac.digest(bytes(range(32)), prefixed(b"scoped-secrets comparison key v1"), "sha256")
    envelope = envelope_of(case["text"])
    assert case["text"] == text_of(envelope, "g1:")
    texts = (part.encode() for part in case["question"].values())
    stored = bytes.fromhex(case["fingerprint"]), bytes.fromhex(case["salt"])
    info = prefixed(b"scoped-secrets guess v1", envelope[:8], *texts, *stored)
    key, nonce = key_schedule(x_wing_decapsulate(seed, envelope[8:1128]), info)
    assert AESGCM(key).decrypt(nonce, envelope[1128:], b"") == padded_of(base64.b64decode(case["value"]))


def test_the_places_of_the_stored_texts_name_every_field_in_the_order_of_the_encoding():
    fields = list(SealingContext._fields)
    assert all(list(case["context"]) == fields for case in CASES)
    assert CONTEXT.group == CASES[0]["context"]["group"]


def open_envelope(text, header_bytes, context):
    """Return the padded plaintext of an envelope, by the primitives of RFC 9180 and the test's private key."""
    envelope, ciphertext_at = envelope_of(text), header_bytes + 1120
    info = prefixed(
        b"scoped-secrets sealing v1", envelope[:header_bytes], prefixed(*(part.encode() for part in context))
    )
    secret = x_wing_decapsulate(bytes(range(32)), envelope[header_bytes:ciphertext_at])
    key, nonce = key_schedule(secret, info)
    return AESGCM(key).decrypt(nonce, envelope[ciphertext_at:], b"")


def padded_of(value):
    return len(value).to_bytes(4, "big") + value + bytes(-(len(value) + 4) % 64)


def header_size(case):
    return 60 if "salt" in case else 48


def prefixed(*parts):
    return len(parts).to_bytes(4, "big") + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def x_wing_decapsulate(seed, encapsulation):
    """Return the shared secret by draft-connolly-cfrg-xwing-kem, section 5."""
    expanded = hashlib.shake_256(seed).digest(96)
    lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    curve = X25519PrivateKey.from_private_bytes(expanded[64:])
    lattice_part, curve_part = encapsulation[:1088], encapsulation[1088:]
    shared_curve = curve.exchange(X25519PublicKey.from_public_bytes(curve_part))
    public = curve.public_key().public_bytes_raw()
    combined = lattice.decapsulate(lattice_part) + shared_curve + curve_part + public + rb"\.//^" + b"\x5c"
    return hashlib.sha3_256(combined).digest()


def key_schedule(shared_secret, info):
    """Return key and nonce of base mode by RFC 9180, sections 4 and 5.1, with HKDF-SHA256 and AES-256-GCM."""
    suite_id = b"HPKE" + SUITE

    def extract(salt, label, material):
        return hmac.digest(salt, b"HPKE-v1" + suite_id + label + material, "sha256")

    def expand(secret, label, context, length):
        # Both lengths fit in the first block of HKDF-Expand.
        labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + context
        return hmac.digest(secret, labelled + b"\x01", "sha256")[:length]

    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared_secret, b"secret", b"")
    return expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)
