import copy
import json
import pickle
import pprint
import traceback
from dataclasses import dataclass

import pytest

from scoped_secrets.crypto.values import SecretValue

CANARY = "correct-horse-battery-staple"
VALUE = SecretValue(CANARY.encode())


@dataclass(frozen=True, slots=True)
class Holder:
    value: SecretValue


@pytest.mark.parametrize(
    "text",
    [
        repr(VALUE),
        str(VALUE),
        f"{VALUE}",
        f"{VALUE!r:>80}",
        f"{VALUE:>80}",
        "%s %r" % (VALUE, VALUE),  # noqa: UP031 - percent formatting is what is tried here.
        str([VALUE]),
        repr({"key": VALUE}),
        repr(Holder(VALUE)),
        pprint.pformat([Holder(VALUE)]),
    ],
)
def test_no_way_of_formatting_shows_the_value(text):
    assert "horse" not in text
    assert "redacted" in text


def test_reveal_returns_the_bytes_and_size_their_number():
    assert VALUE.reveal() == CANARY.encode()
    assert VALUE.size == len(CANARY)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_value_is_not_pickled(protocol):
    with pytest.raises(TypeError) as caught:
        pickle.dumps([VALUE], protocol)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "act",
    [
        copy.copy,
        copy.deepcopy,
        lambda value: value.__getstate__(),
        lambda value: value.__reduce__(),
        iter,
        len,
        bytes,
        vars,
        hash,
        json.dumps,
        lambda value: value[0],
        lambda value: value + b"x",
        lambda value: b"x" in value,
        lambda value: setattr(value, "_content", b"x"),
        lambda value: delattr(value, "_content"),
        lambda value: setattr(value, "other", b"x"),
    ],
)
def test_every_other_way_to_the_bytes_is_closed_and_its_error_does_not_show_them(act):
    with pytest.raises((TypeError, AttributeError)) as caught:
        act(VALUE)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert CANARY not in shown
    assert VALUE.reveal() == CANARY.encode()


def test_values_are_equal_when_their_bytes_are():
    assert SecretValue(b"a") == SecretValue(b"a")
    assert SecretValue(b"a") != SecretValue(b"b")
    assert SecretValue(b"a") != SecretValue(b"ab")
    assert SecretValue(b"") == SecretValue(b"")


def test_a_value_never_equals_plain_bytes():
    assert SecretValue(b"a") != b"a"
    assert SecretValue(b"a") != "a"


@pytest.mark.parametrize("content", [CANARY, bytearray(CANARY.encode()), 5, None])
def test_only_bytes_are_accepted_and_the_error_does_not_show_the_input(content):
    with pytest.raises(TypeError) as caught:
        SecretValue(content)
    assert CANARY not in str(caught.value)
