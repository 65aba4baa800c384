import copy
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from tests.crypto.support import CREATED, DATA, LATER, NEW_KEY, OLD_KEY, RING

from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey, PublicKeyRing, PublicSealingKey


def test_private_key_round_trips_and_unseals_for_its_public_key():
    again = PrivateSealingKey.parse(OLD_KEY.serialize())
    assert (again.key_id, again.created, again.public_key) == (OLD_KEY.key_id, CREATED, OLD_KEY.public_key)
    assert again.decrypt(OLD_KEY.public_key.encrypt(b"plain", b"info"), b"info") == b"plain"


def test_public_key_round_trips_and_seals_for_its_private_key():
    again = PublicSealingKey.parse(OLD_KEY.public_key.serialize())
    assert again == OLD_KEY.public_key
    assert OLD_KEY.decrypt(again.encrypt(b"plain", b"info"), b"info") == b"plain"


def test_the_stored_form_of_a_key_and_its_id_never_change():
    stored = (DATA / "private-key.txt").read_bytes()
    assert PrivateSealingKey.parse(stored).key_id == "c9a3565ffde4f72b"
    assert OLD_KEY.serialize() == stored


def test_two_generated_keys_differ():
    one, other = PrivateSealingKey.generate(CREATED), PrivateSealingKey.generate(CREATED)
    assert one.key_id != other.key_id
    assert one.decrypt(other.public_key.encrypt(b"plain", b""), b"") is None


def test_times_are_kept_in_utc_and_whole_seconds():
    zone = datetime.fromisoformat("2026-01-02T04:04:05.999+01:00")
    assert PrivateSealingKey(bytes(32), zone).created == CREATED
    with pytest.raises(ValueError, match="time zone"):
        PrivateSealingKey(bytes(32), CREATED.replace(tzinfo=None))


def test_representation_of_a_private_key_is_its_id():
    for shown in (repr(OLD_KEY), str(OLD_KEY), f"{OLD_KEY}", repr([OLD_KEY])):
        assert OLD_KEY.key_id in shown
    seed = bytes(range(32))
    for shown in (repr(OLD_KEY), repr(RING), repr(OLD_KEY.public_key)):
        assert seed.hex() not in shown
        assert repr(seed)[2:-1] not in shown


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_private_key_is_neither_pickled_nor_copied(act):
    with pytest.raises(TypeError):
        act(OLD_KEY)


def test_the_ring_seals_with_the_newest_and_knows_all_by_id():
    assert RING.active is NEW_KEY
    assert RING.get(OLD_KEY.key_id) is OLD_KEY
    assert RING.get(PrivateSealingKey.generate(CREATED).key_id) is None
    assert KeyRing((NEW_KEY, OLD_KEY)).keys == RING.keys


def test_a_ring_reads_back_from_the_data_of_a_secret_and_leaves_other_entries_alone():
    data = RING.to_secret_data()
    assert set(data) == {f"{OLD_KEY.key_id}.sealing-key", f"{NEW_KEY.key_id}.sealing-key"}
    again = KeyRing.from_secret_data(data | {"note": b"\xff"})
    assert [key.key_id for key in again.keys] == [NEW_KEY.key_id, OLD_KEY.key_id]


def test_the_public_ring_holds_every_recipient_and_reads_back():
    public = RING.public()
    assert public.active == NEW_KEY.public_key
    assert public.get(OLD_KEY.key_id) == OLD_KEY.public_key
    assert PublicKeyRing.parse(public.serialize()) == public
    assert b"PRIVATE" not in public.serialize()


def test_a_rotation_adds_a_key_and_later_takes_the_old_one_away():
    newest = PrivateSealingKey.generate(LATER + timedelta(days=30))
    rotated = RING.with_key(newest)
    assert rotated.active is newest
    assert rotated.with_key(newest).keys == rotated.keys
    assert [key.key_id for key in rotated.without(OLD_KEY.key_id).keys] == [newest.key_id, NEW_KEY.key_id]


def test_keys_of_one_second_have_the_same_order_everywhere():
    twins = [PrivateSealingKey.generate(CREATED) for _ in range(4)]
    assert KeyRing(tuple(twins)).keys == KeyRing(tuple(reversed(twins))).keys


def test_an_empty_ring_is_refused():
    for act in (lambda: KeyRing(()), lambda: KeyRing.from_secret_data({}), lambda: PublicKeyRing(())):
        with pytest.raises(KeyMaterialError, match="no sealing key"):
            act()


def test_one_damaged_key_makes_the_whole_ring_unreadable_instead_of_losing_texts_silently():
    data = RING.to_secret_data()
    name = f"{OLD_KEY.key_id}.sealing-key"
    with pytest.raises(KeyMaterialError, match="private sealing key is damaged"):
        KeyRing.from_secret_data(data | {name: data[name].replace(b"A", b"B", 1)})


@pytest.mark.parametrize(
    "data",
    [b"", NEW_KEY.public_key.serialize(), OLD_KEY.serialize() + NEW_KEY.serialize()],
)
def test_data_without_exactly_one_private_key_is_rejected(data):
    with pytest.raises(KeyMaterialError):
        PrivateSealingKey.parse(data)


@pytest.mark.parametrize(
    "data",
    [b"", NEW_KEY.serialize(), OLD_KEY.public_key.serialize() + NEW_KEY.public_key.serialize()],
)
def test_data_without_exactly_one_public_key_is_rejected(data):
    with pytest.raises(KeyMaterialError):
        PublicSealingKey.parse(data)


@pytest.mark.parametrize("raw", [b"", bytes(1215), bytes(1217), b"\xff" * 1216])
def test_invalid_key_bytes_are_rejected(raw):
    with pytest.raises(KeyMaterialError):
        PublicSealingKey(raw, datetime.now(UTC))


def test_a_seed_of_another_size_is_refused():
    for size in (0, 31, 33):
        with pytest.raises(KeyMaterialError):
            PrivateSealingKey(bytes(size), CREATED)
