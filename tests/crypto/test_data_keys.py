"""Values under data keys: what opens, what does not, and what nothing shows."""

import copy
import pickle
import traceback

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.crypto.support import CONTEXT, CREATED, NEW_KEY, OLD_KEY, RING, envelope_of, text_of

from scoped_secrets.crypto import data_keys, sealed_texts, sealing
from scoped_secrets.crypto.data_keys import (
    MAX_VALUES,
    NewDataKey,
    OpenedDataKey,
    data_key_context,
    named_data_key,
    open_data_key,
    parse_header,
    plaintext_bound,
)
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealing import SealingContext
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import SealingError

CANARY = b"correct-horse-battery-staple"
FILE_LIMIT = 512 * 1024
MARK = Fingerprint(bytes(range(16)), bytes(range(100, 112)))
OBJECT_FIELDS = SealingContext._fields[:-2]
FIELDS = SealingContext._fields
contexts = st.builds(SealingContext, **dict.fromkeys(FIELDS, st.text(max_size=4)))
marks = st.none() | st.builds(Fingerprint, st.binary(min_size=16, max_size=16), st.binary(min_size=12, max_size=12))


class Write:
    """A data key and its sealed text, for the object of a context."""

    def __init__(self, context=CONTEXT, key=NEW_KEY):
        self.key = NewDataKey()
        self.id = self.key.data_key_id
        self.context = context
        self.sealed = self.key.sealed(context, key.public_key)

    def seal(self, value=CANARY, mark=MARK, **place):
        return self.key.seal(SecretValue(value), self.context._replace(**place), mark)

    def opened(self, keys=RING):
        return open_data_key(self.id, self.sealed, self.context, keys)


def refusal(text, opened, context=CONTEXT):
    """Return the exception of a text that does not open; fail when it does."""
    with pytest.raises(SealingError) as caught:
        opened.unseal(text, context)
    return caught.value


@given(st.binary(max_size=300), contexts, marks)
def test_value_unseals_byte_for_byte_in_its_place(value, context, mark):
    write = Write(context)
    text = write.seal(value, mark)
    assert write.opened().unseal(text, context).reveal() == value
    header = parse_header(text)
    assert (header.data_key_id, header.fingerprint) == (write.id, mark)
    assert named_data_key(text) == write.id
    assert sealed_texts.matches_context(header, context)


@settings(max_examples=15)
@given(st.integers(0, FILE_LIMIT), st.binary(min_size=1, max_size=4))
@example(FILE_LIMIT, b"\x00")
def test_every_size_up_to_the_limit_of_files_opens_and_is_bounded_by_its_length(size, pattern):
    write, value = Write(), (pattern * (size // len(pattern) + 1))[:size]
    text = write.seal(value)
    assert write.opened().unseal(text, CONTEXT).reveal() == value
    assert size <= plaintext_bound(text) < size + 64
    assert sealed_texts.plaintext_bound(text) == plaintext_bound(text)


def test_value_of_twenty_bytes_has_at_most_two_hundred_characters():
    assert len(Write().seal(bytes(20))) == 187
    assert len(Write().seal(bytes(20), None)) == 150


def test_two_texts_of_one_value_share_neither_nonce_nor_ciphertext():
    write = Write()
    envelopes = [envelope_of(write.seal()) for _ in range(MAX_VALUES)]
    assert len({envelope[18:30] for envelope in envelopes}) == MAX_VALUES
    assert len({envelope[58:] for envelope in envelopes}) == MAX_VALUES


def test_data_key_seals_as_many_values_as_an_object_holds_and_no_more():
    write = Write()
    for _ in range(MAX_VALUES):
        write.seal(b"x")
    with pytest.raises(ValueError, match="at most 150 values"):
        write.seal(b"x")


def test_opened_data_key_cannot_seal_a_value():
    assert not hasattr(OpenedDataKey, "seal")


def test_fingerprint_without_a_salt_is_not_sealed_under_a_data_key():
    with pytest.raises(ValueError, match="with a salt"):
        Write().seal(mark=Fingerprint(bytes(16)))


# --- refusals ---


def mutations(write):
    """Yield a name and a damaged text, more than 200 in all."""
    text, offline = write.seal(), write.seal(mark=None)
    envelope = envelope_of(text)
    for position in range(len(envelope)):
        flipped = envelope[position] ^ (1 << position % 8)
        yield f"bit of byte {position}", v2(envelope[:position] + bytes([flipped]) + envelope[position + 1 :])
    for length in range(0, len(text), 3):
        yield f"first {length} characters", text[:length]
    for extension in ("A", "AA", "AAA", "A" * 84, "A" * 85, "A" * 86, "=", "==", " ", "\n", "\x00", "é"):
        yield f"with {extension!r} at its end", text + extension
    for start in (" ", "v1:", "V2:", "v2", "\n", "\ufeff", "v2:"):
        yield f"with {start!r} at its start", start + text
    yield "as an envelope", "v1:" + text[3:]
    yield "without a prefix", text[3:]
    yield "with a foreign character inside", text[:100] + "*" + text[101:]
    yield "with standard base64", text.replace("-", "+").replace("_", "/") + "=="
    same = envelope_of(write.seal(b"another value", Fingerprint(bytes(16), bytes(12))))
    elsewhere = envelope_of(write.seal(entry_name="OTHER"))
    foreign = envelope_of(Write().seal())
    for first, end in ((2, 10), (10, 18), (18, 30), (30, 46), (46, 58), (30, 58), (0, 58), (58, 122), (122, 138)):
        for name, donor in (("another", same), ("an elsewhere", elsewhere), ("a foreign", foreign)):
            swapped = envelope[:first] + donor[first:end] + envelope[end:]
            if swapped != envelope:
                yield f"bytes {first} to {end} of {name} text", v2(swapped)
    yield "without its fingerprint", v2(b"\x02\x00" + envelope[2:30] + envelope[58:])
    yield "with a fingerprint", v2(b"\x02\x01" + envelope_of(offline)[2:30] + bytes(28) + envelope_of(offline)[30:])
    yield "all zero", v2(bytes(len(envelope)))


def test_no_mutation_unseals_and_every_failure_is_the_same():
    write = Write()
    opened, cases = write.opened(), list(mutations(write))
    assert len(cases) >= 200
    refusals = [refusal(text, opened) for _, text in cases]
    assert {(type(each), each.args) for each in refusals} == {(SealingError, ("the sealed text does not open",))}
    assert all(each.__cause__ is None and each.__context__ is None for each in refusals)


@settings(max_examples=200)
@given(st.data())
def test_no_change_of_any_byte_opens(data):
    write = Write()
    envelope = bytearray(envelope_of(write.seal(mark=data.draw(st.sampled_from((None, MARK))))))
    envelope[data.draw(st.integers(0, len(envelope) - 1))] ^= data.draw(st.integers(1, 255))
    refusal(v2(bytes(envelope)), write.opened())


def test_the_spare_bits_of_the_last_character_are_checked():
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    write = Write()
    text = write.seal(mark=None)
    assert len(text[3:]) % 4 != 0
    for last in set(alphabet) - {text[-1]}:
        refusal(text[:-1] + last, write.opened())


@pytest.mark.parametrize("field", FIELDS)
def test_value_does_not_open_when_any_field_of_its_place_differs(field):
    write = Write()
    text, elsewhere = write.seal(), CONTEXT._replace(**{field: getattr(CONTEXT, field) + "x"})
    refusal(text, write.opened(), elsewhere)
    assert not sealed_texts.matches_context(parse_header(text), elsewhere)
    # Nor with the digest of the other place in its header, which passes the check without a key.
    envelope = envelope_of(text)
    forged = v2(envelope[:10] + sealing.context_digest(elsewhere.encode())[:8] + envelope[18:])
    assert sealed_texts.matches_context(parse_header(forged), elsewhere)
    refusal(forged, write.opened(), elsewhere)
    refusal(forged, write.opened())


@pytest.mark.parametrize("field", OBJECT_FIELDS)
def test_data_key_does_not_open_when_any_field_of_its_object_differs(field):
    write, elsewhere = Write(), CONTEXT._replace(**{field: getattr(CONTEXT, field) + "x"})
    with pytest.raises(SealingError):
        open_data_key(write.id, write.sealed, elsewhere, RING)


def test_data_key_opens_for_every_entry_of_its_object():
    write = Write()
    for place in (CONTEXT, CONTEXT._replace(entry_kind="file", entry_name="~/a")):
        opened = open_data_key(write.id, write.sealed, place, RING)
        assert opened.unseal(write.seal(), CONTEXT).reveal() == CANARY


def test_data_key_does_not_open_under_another_id():
    one, other = Write(), Write()
    with pytest.raises(SealingError):
        open_data_key(other.id, one.sealed, CONTEXT, RING)
    # A value opens under its own data key only, whatever id that is given.
    refusal(one.seal(), other.opened())
    refusal(one.seal(), OpenedDataKey(one.id, SecretValue(bytes(32))))


def test_data_key_is_no_value_and_a_value_no_data_key():
    write = Write()
    with pytest.raises(SealingError):
        sealing.unseal(write.sealed, CONTEXT, RING)
    refusal(write.sealed, write.opened())
    # A value of 32 bytes at any entry that an object can have.
    for kind in ("env", "file"):
        alone = sealing.seal(SecretValue(bytes(32)), CONTEXT._replace(entry_kind=kind), NEW_KEY.public_key, None)
        with pytest.raises(SealingError):
            open_data_key(CONTEXT.entry_name, alone, CONTEXT, RING)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_data_key_of_another_size_does_not_open(size):
    place = data_key_context(CONTEXT, "0011223344556677")
    text = sealing.seal(SecretValue(bytes(size)), place, NEW_KEY.public_key, None)
    with pytest.raises(SealingError):
        open_data_key("0011223344556677", text, CONTEXT, RING)


def test_data_key_of_a_lost_sealing_key_does_not_open():
    write = Write(key=PrivateSealingKey.generate(CREATED))
    with pytest.raises(SealingError):
        write.opened()
    with pytest.raises(SealingError):
        Write(key=NEW_KEY).opened(KeyRing((OLD_KEY,)))


def test_data_key_that_is_sealed_again_opens_the_same_values():
    write = Write(key=OLD_KEY)
    text, again = write.seal(), write.opened().sealed(CONTEXT, NEW_KEY.public_key)
    assert again != write.sealed
    assert open_data_key(write.id, again, CONTEXT, KeyRing((NEW_KEY,))).unseal(text, CONTEXT).reveal() == CANARY


@pytest.mark.parametrize("inspect", [parse_header, plaintext_bound, sealed_texts.parse_header])
@pytest.mark.parametrize("length", [0, 3, 10, 79, 83, 100, 186])
def test_the_beginning_of_a_text_cannot_be_inspected(inspect, length):
    with pytest.raises(SealingError):
        inspect(Write().seal()[:length])


@pytest.mark.parametrize(("position", "change"), [(0, 1), (0, 3), (1, 2), (1, 128)])
def test_header_that_sealing_does_not_write_is_refused_without_a_key(position, change):
    envelope = bytearray(envelope_of(Write().seal()))
    envelope[position] ^= change
    with pytest.raises(SealingError):
        parse_header(v2(bytes(envelope)))


def test_the_header_and_the_bound_need_only_the_beginning_and_the_length():
    text = Write().seal(bytes(1000))
    gutted = text[:83] + "*" * (len(text) - 83)
    assert (plaintext_bound(gutted), parse_header(gutted)) == (1020, parse_header(text))


@given(st.integers(0, 700), st.integers(0, 700))
def test_texts_have_equal_length_exactly_when_the_values_share_a_bucket(one, other):
    write = Write()
    lengths = len(write.seal(bytes(one))), len(write.seal(bytes(other)))
    assert (lengths[0] == lengths[1]) == ((one + 3) // 64 == (other + 3) // 64)


# --- what is visible ---


def ways():
    write = Write()
    return [write.key, write.opened()]


@pytest.mark.parametrize("held", ways(), ids=["new", "opened"])
def test_nothing_shows_a_data_key(held):
    secret = held._secret.reveal()
    assert repr(held) == str(held) == f"{held}" == f"{type(held).__name__}({held.data_key_id})"
    for refused in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            refused(held)
    with pytest.raises(TypeError):
        vars(held)
    shown = f"{held!r}{held.__getstate__()!r}"
    assert secret.hex() not in shown
    assert repr(secret) not in shown


def test_traceback_with_local_variables_contains_no_value_and_no_key():
    write = Write()
    envelope = envelope_of(write.seal())
    error = refusal(v2(envelope[:-1] + bytes([envelope[-1] ^ 1])), write.opened())
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert CANARY.decode() not in shown
    assert repr(write.key._secret.reveal())[2:-1] not in shown
    assert "SealingError" in shown


def v2(envelope):
    return text_of(envelope, data_keys.PREFIX)
