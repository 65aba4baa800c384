import traceback

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.crypto.support import CONTEXT, CREATED, NEW_KEY, OLD_KEY, RING, envelope_of, text_of

from scoped_secrets.crypto import sealing
from scoped_secrets.crypto.encoding import length_prefixed
from scoped_secrets.crypto.envelope_header import encode_header
from scoped_secrets.crypto.fingerprints import Fingerprint, FingerprintKey, fingerprint
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.padding import pad
from scoped_secrets.crypto.sealing import (
    SealingContext,
    context_digest,
    matches_context,
    parse_header,
    plaintext_bound,
    seal,
    unseal,
)
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import SealingError

FILE_LIMIT = 512 * 1024
HEADER = 60
SALT = bytes(range(100, 112))
ENCAPSULATION = 1120
CANARY = b"correct-horse-battery-staple"
KEY = FingerprintKey(bytes(32))
FIELDS = SealingContext._fields
contexts = st.builds(SealingContext, **dict.fromkeys(FIELDS, st.text(max_size=4)))


def sealed(value=CANARY, context=CONTEXT, key=NEW_KEY, mark=None):
    return seal(SecretValue(value), context, key.public_key, mark)


def refusal(text, context=CONTEXT, keys=RING):
    """Return the exception of a text that does not open; fail when it does."""
    with pytest.raises(SealingError) as caught:
        unseal(text, context, keys)
    return caught.value


# --- round trip ---


@given(
    st.binary(max_size=300),
    contexts,
    st.none()
    | st.builds(Fingerprint, st.binary(min_size=16, max_size=16), st.just(b"") | st.binary(min_size=12, max_size=12)),
)
def test_sealed_value_unseals_byte_for_byte_in_its_place(value, context, mark):
    text = seal(SecretValue(value), context, NEW_KEY.public_key, mark)
    assert unseal(text, context, RING).reveal() == value
    header = parse_header(text)
    assert (header.key_id, header.fingerprint) == (NEW_KEY.key_id, mark)
    assert matches_context(header, context)


@settings(max_examples=15)
@given(st.integers(0, FILE_LIMIT), st.binary(min_size=1, max_size=4))
@example(FILE_LIMIT, b"\x00")
@example(FILE_LIMIT, b"\xff")
def test_every_size_up_to_the_limit_of_files_opens_and_is_bounded_by_its_length(size, pattern):
    value = (pattern * (size // len(pattern) + 1))[:size]
    text = sealed(value)
    assert unseal(text, CONTEXT, RING).reveal() == value
    assert size <= plaintext_bound(text) < size + 64


def test_texts_of_every_key_of_the_ring_open():
    assert unseal(sealed(key=OLD_KEY), CONTEXT, RING).reveal() == CANARY
    assert unseal(sealed(key=NEW_KEY), CONTEXT, RING).reveal() == CANARY


def test_the_same_value_never_makes_the_same_text():
    assert len({sealed() for _ in range(20)}) == 20


def test_sealed_text_needs_no_quoting_in_yaml_and_json():
    assert set(sealed(bytes(range(256)))[3:]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


# --- refusals ---


def mutations():
    """Yield a name and a damaged text, more than 200 in all."""
    text = sealed(mark=Fingerprint(bytes(range(16)), SALT))
    envelope = envelope_of(text)
    # Every byte of the header, and a sample of what follows: encapsulation, ciphertext and tag.
    positions = [*range(HEADER), *range(HEADER, len(envelope), 17), *range(len(envelope) - 16, len(envelope))]
    for position in positions:
        flipped = envelope[position] ^ (1 << position % 8)
        yield f"bit of byte {position}", text_of(envelope[:position] + bytes([flipped]) + envelope[position + 1 :])
    for length in [*range(0, len(text), 37), *range(len(text) - 8, len(text))]:
        yield f"first {length} characters", text[:length]
    for extension in ("A", "AA", "AAA", "A" * 84, "A" * 85, "A" * 86, "=", "==", " ", "\n", "\x00", "é"):
        yield f"with {extension!r} at its end", text + extension
    for start in (" ", "v2:", "V1:", "v1", "\n", "\ufeff", "v1:"):
        yield f"with {start!r} at its start", start + text
    yield "without a prefix", text[3:]
    yield "with a foreign character inside", text[:500] + "*" + text[501:]
    yield "with standard base64", text.replace("-", "+").replace("_", "/")
    yield "with a line break", text[:500] + "\n" + text[501:]
    offline = envelope_of(sealed())
    old = envelope_of(sealed(mark=Fingerprint(bytes(range(16)))))
    other = envelope_of(sealed(b"another value", CONTEXT._replace(name="other"), OLD_KEY, Fingerprint(bytes(16), SALT)))
    spans = ((0, 7), (7, 15), (15, 16), (16, 32), (32, 48), (48, 60), (0, 60), (60, 1180), (1180, 1244), (1180, 1260))
    for first, end in spans:
        for name, donor in (("another", other), ("an offline", offline), ("an old", old)):
            swapped = envelope[:first] + donor[first:end] + envelope[end:]
            if swapped != envelope:
                yield f"bytes {first} to {end} of {name} text", text_of(swapped)
    zeros = bytes(ENCAPSULATION)
    yield "a zero encapsulation", text_of(envelope[:HEADER] + zeros + envelope[HEADER + ENCAPSULATION :])
    yield "zero point of the curve", text_of(envelope[:1148] + bytes(32) + envelope[1180:])
    yield "no salt", text_of(envelope[:15] + b"\x01" + envelope[16:48] + envelope[60:])
    yield "a salt and no fingerprint", text_of(envelope[:15] + b"\x02" + envelope[16:])
    yield "all zero", text_of(bytes(len(envelope)))


def test_no_mutation_unseals_and_every_failure_is_the_same():
    cases = list(mutations())
    assert len(cases) >= 200
    refusals = {name: refusal(text) for name, text in cases}
    assert {(type(each), each.args, str(each)) for each in refusals.values()} == {
        (SealingError, ("the sealed text does not open",), "the sealed text does not open")
    }
    assert all(each.__cause__ is None and each.__context__ is None for each in refusals.values())


@settings(max_examples=200)
@given(st.data())
def test_no_change_of_any_byte_opens(data):
    envelope = bytearray(envelope_of(sealed()))
    envelope[data.draw(st.integers(0, len(envelope) - 1))] ^= data.draw(st.integers(1, 255))
    refusal(text_of(bytes(envelope)))


def test_the_spare_bits_of_the_last_character_are_checked():
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    text = sealed(bytes(100))
    assert len(text[3:]) % 4 != 0
    for last in set(alphabet) - {text[-1]}:
        refusal(text[:-1] + last)


@pytest.mark.parametrize("field", FIELDS)
def test_a_text_does_not_open_when_any_field_of_its_place_differs(field):
    text = sealed()
    elsewhere = CONTEXT._replace(**{field: getattr(CONTEXT, field) + "x"})
    assert str(refusal(text, elsewhere)) == "the sealed text does not open"
    assert not matches_context(parse_header(text), elsewhere)
    assert not matches_context(parse_header(text), CONTEXT._replace(**{field: ""}))


@pytest.mark.parametrize("field", FIELDS)
def test_a_forged_digest_passes_the_check_without_a_key_but_does_not_open(field):
    elsewhere = CONTEXT._replace(**{field: getattr(CONTEXT, field) + "x"})
    envelope, donor = envelope_of(sealed()), envelope_of(sealed(context=elsewhere))
    forged = text_of(envelope[:16] + donor[16:32] + envelope[32:])
    assert matches_context(parse_header(forged), elsewhere)
    refusal(forged, elsewhere)
    refusal(forged)


def test_a_text_that_was_sealed_under_the_digest_of_another_place_does_not_open():
    digest = context_digest(CONTEXT._replace(name="other").encode())
    header = encode_header(NEW_KEY.key_id, digest, None)
    body = NEW_KEY.public_key.encrypt(pad(SecretValue(CANARY)), sealing._info(header, CONTEXT.encode()))
    refusal(text_of(header + body))


def test_fingerprint_cannot_be_added_or_removed():
    mark = Fingerprint(b"\x07" * 16, SALT)
    plain, marked = envelope_of(sealed()), envelope_of(sealed(mark=mark))
    added = text_of(plain[:15] + b"\x03" + plain[16:32] + b"\x07" * 16 + SALT + plain[48:])
    removed = text_of(marked[:15] + b"\x00" + marked[16:32] + bytes(16) + marked[60:])
    assert parse_header(added).fingerprint == mark
    assert parse_header(removed).fingerprint is None
    refusal(added)
    refusal(removed)


def test_a_text_for_a_key_that_is_not_in_the_ring_does_not_open():
    refusal(sealed(key=NEW_KEY), keys=KeyRing((OLD_KEY,)))
    stranger = PrivateSealingKey.generate(CREATED)
    refusal(sealed(key=stranger))
    # The other key's id on it does not help: the key is chosen by id, and the id is authenticated.
    envelope, donor = envelope_of(sealed(key=stranger)), envelope_of(sealed(key=OLD_KEY))
    refusal(text_of(envelope[:7] + donor[7:15] + envelope[15:]))


@pytest.mark.parametrize(
    "padded",
    [
        (5).to_bytes(4, "big") + b"value" + bytes(54) + b"\x01",
        (5).to_bytes(4, "big") + b"value" + bytes(55 + 64),
        (4).to_bytes(4, "big") + b"value" + bytes(55),
        (61).to_bytes(4, "big") + bytes(60),
        b"\xff" * 64,
        bytes(128),
    ],
    ids=["not zero", "a bucket too many", "length too small", "length too large", "absurd length", "zeros"],
)
def test_a_padding_that_sealing_does_not_write_does_not_open(padded):
    place = CONTEXT.encode()
    header = encode_header(NEW_KEY.key_id, context_digest(place), None)
    text = text_of(header + NEW_KEY.public_key.encrypt(padded, sealing._info(header, place)))
    assert parse_header(text).key_id == NEW_KEY.key_id
    shown = traceback.TracebackException.from_exception(refusal(text), capture_locals=True).format()
    assert "value\\x00" not in "".join(shown)


# --- what is visible ---


def test_traceback_with_local_variables_contains_no_value():
    envelope = envelope_of(sealed())
    error = refusal(text_of(envelope[:-1] + bytes([envelope[-1] ^ 1])))
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert CANARY.decode() not in shown
    assert "SealingError" in shown


@given(st.integers(0, 700), st.integers(0, 700))
def test_texts_have_equal_length_exactly_when_the_values_share_a_bucket(one, other):
    lengths = len(sealed(bytes(one))), len(sealed(bytes(other)))
    assert (lengths[0] == lengths[1]) == ((one + 3) // 64 == (other + 3) // 64)


def test_the_bound_and_the_header_need_only_the_beginning_and_the_length():
    for text in (sealed(bytes(1000)), sealed(bytes(1000), mark=Fingerprint(bytes(16), SALT))):
        assert plaintext_bound(text) == 1020
        gutted = text[:83] + "*" * (len(text) - 83)
        assert (plaintext_bound(gutted), parse_header(gutted)) == (1020, parse_header(text))


@pytest.mark.parametrize(
    ("position", "change"),
    [(0, 1), (1, 1), (4, 1), (6, 3), (15, 1), (15, 2), (15, 4), (15, 128)],
    ids=[
        "version",
        "KEM",
        "KDF",
        "AEAD",
        "no flag but a fingerprint",
        "a salt and no flag",
        "unknown flag",
        "another unknown flag",
    ],
)
def test_a_header_that_sealing_does_not_write_is_refused_without_a_key(position, change):
    envelope = bytearray(envelope_of(sealed(mark=Fingerprint(b"\x07" * 16, SALT))))
    envelope[position] ^= change
    with pytest.raises(SealingError):
        parse_header(text_of(bytes(envelope)))


def test_a_length_that_no_sealed_text_has_is_refused_without_a_key():
    for size in (0, 100, 200):
        envelope = envelope_of(sealed(bytes(size)))
        for damaged in (envelope[:-1], envelope[:-32], envelope + b"x", envelope + bytes(63), envelope[:1184]):
            with pytest.raises(SealingError):
                plaintext_bound(text_of(damaged))


@pytest.mark.parametrize("inspect", [parse_header, plaintext_bound])
def test_invalid_sealed_text_cannot_be_inspected(inspect):
    text = sealed()
    for damaged in (
        "",
        "v1:",
        "v1:AAAA",
        "plain",
        text[:-1],
        text[:67],
        text + "A",
        "v2" + text[2:],
        "v1:*" + text[4:],
    ):
        with pytest.raises(SealingError) as caught:
            inspect(damaged)
        assert (str(caught.value), caught.value.__context__) == ("the sealed text does not open", None)


def test_admission_can_tell_an_unchanged_value_without_a_private_key():
    place = (CONTEXT.namespace, CONTEXT.name, CONTEXT.entry_kind, CONTEXT.entry_name)
    stored = parse_header(sealed(mark=fingerprint(KEY, *place, SecretValue(CANARY), SALT))).fingerprint
    assert stored is not None
    assert stored == fingerprint(KEY, *place, SecretValue(CANARY), stored.salt)
    assert stored != fingerprint(KEY, *place, SecretValue(b"another"), stored.salt)


@given(contexts, contexts)
def test_two_places_have_one_encoding_only_when_they_are_equal(one, other):
    assert (one.encode() == other.encode()) == (one == other)


@given(st.lists(st.text(alphabet="ab", max_size=2), min_size=11, max_size=11), st.integers(0, 9))
def test_moving_characters_between_neighbouring_fields_changes_the_encoding(values, position):
    joined = values[position] + values[position + 1]
    moved = [*values[:position], joined, "", *values[position + 2 :]]
    assert (SealingContext(*values).encode() == SealingContext(*moved).encode()) == (values == moved)
    assert SealingContext(*values).encode() == length_prefixed(*(value.encode() for value in values))
