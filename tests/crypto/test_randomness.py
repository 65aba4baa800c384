"""Random bytes in parts."""

from scoped_secrets.crypto.randomness import random_parts


def test_parts_have_their_size_and_number_and_differ():
    parts = list(random_parts(12, 150))
    assert [len(part) for part in parts] == [12] * 150
    assert len(set(parts)) == 150


def test_no_parts_of_nothing():
    assert list(random_parts(12, 0)) == []
