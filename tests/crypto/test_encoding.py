import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoped_secrets.crypto.encoding import KeyMaterialError, armor, length_prefixed, text_bytes, unarmor

parts = st.lists(st.binary(max_size=6), max_size=5)
LABEL = "SCOPED SECRETS TEST KEY"


def read_back(encoded):
    """Decode by the documented format alone."""
    count, rest, found = int.from_bytes(encoded[:4], "big"), encoded[4:], []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        found.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    assert len(found) == count
    return found


@given(parts)
def test_the_parts_can_be_read_back_so_no_two_tuples_share_an_encoding(some):
    assert read_back(length_prefixed(*some)) == some


@given(st.text(alphabet=st.characters(), max_size=8), st.text(alphabet=st.characters(), max_size=8))
def test_texts_have_equal_bytes_only_when_they_are_equal(one, other):
    assert (text_bytes(one) == text_bytes(other)) == (one == other)


def test_a_lone_surrogate_has_bytes_too():
    assert text_bytes("\ud800") != text_bytes("\ud801")


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_armored_blocks_read_back_in_their_order(payloads):
    assert unarmor(LABEL, b"".join(armor(LABEL, payload) for payload in payloads)) == tuple(payloads)


def test_line_endings_and_spaces_are_tolerated():
    block = armor(LABEL, bytes(100))
    assert unarmor(LABEL, b"\n " + block.replace(b"\n", b"\r\n") + b"\t\n") == (bytes(100),)


def test_a_change_of_any_character_is_noticed():
    block = armor(LABEL, b"0123456789")
    # Which kind of white space separates the lines is all the same.
    for position in (each for each in range(len(block)) if not block[each : each + 1].isspace()):
        changed = bytes([block[position] ^ 1])
        with pytest.raises(KeyMaterialError):
            unarmor(LABEL, block[:position] + changed + block[position + 1 :])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"text",
        armor("SCOPED SECRETS OTHER KEY", b"x"),
        armor(LABEL, b"x") + b"text",
        armor(LABEL, b"x")[:-10],
        armor(LABEL, b"x") + armor(LABEL, b"y")[10:],
        b"-----BEGIN SCOPED SECRETS TEST KEY-----" + b" " * 100_000,
    ],
)
def test_invalid_block_is_rejected(data):
    with pytest.raises(KeyMaterialError):
        unarmor(LABEL, data)
