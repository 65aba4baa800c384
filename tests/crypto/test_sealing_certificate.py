"""The sealing certificate: one text with all that sealing needs, which damage cannot pass."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.keys import PrivateSealingKey, PublicKeyRing
from scoped_secrets.crypto.sealing_certificate import SealingCertificate

OLD = PrivateSealingKey(bytes(range(32)), datetime(2026, 1, 2, tzinfo=UTC))
NEW = PrivateSealingKey(bytes(range(1, 33)), datetime(2026, 2, 2, tzinfo=UTC))
CLUSTER = "0d1f9d0e-6c53-4b4f-8d0a-5b1d0a7f8f10"


def certificate(cluster_id=CLUSTER, keys=(OLD, NEW)):
    return SealingCertificate(cluster_id, PublicKeyRing(tuple(key.public_key for key in keys)))


TEXT = certificate().serialize()


def test_what_is_written_is_read_again_with_the_active_key_first():
    read = SealingCertificate.parse(TEXT)

    assert read == certificate()
    assert read.cluster_id == CLUSTER
    assert [key.key_id for key in read.recipients.keys] == [NEW.key_id, OLD.key_id]
    assert read.recipients.active.key_id == NEW.key_id


def test_it_is_printable_text_in_short_lines_and_the_same_for_the_same_keys():
    assert TEXT.decode("ascii").replace("\n", "").isprintable()
    assert max(map(len, TEXT.splitlines())) < 120
    assert certificate(keys=(NEW, OLD)).serialize() == TEXT


def test_nothing_of_a_private_key_is_in_it():
    assert b"PRIVATE" not in TEXT
    assert NEW.serialize().splitlines()[1] not in TEXT


def test_a_new_key_leaves_the_lines_of_the_old_ones_as_they_were():
    before = certificate(keys=(OLD,)).serialize().splitlines()
    added = [line for line in before if line not in TEXT.splitlines()]

    assert len(added) == 1
    assert added[0].startswith(b"checksum: ")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(TEXT.replace(b"\n", b"\r\n"), id="line ends of another system"),
        pytest.param(b"\n\n" + TEXT + b"\n", id="empty lines around"),
        pytest.param(b"".join(line + b"  \n" for line in TEXT.splitlines()), id="spaces at the ends of lines"),
        pytest.param(b"# from our cluster in the cellar\n" + TEXT, id="another comment"),
        pytest.param(b"\n".join(line for line in TEXT.splitlines() if line[:1] != b"#"), id="no comments"),
    ],
)
def test_what_editors_and_people_do_to_a_text_does_no_harm(changed):
    assert SealingCertificate.parse(changed) == certificate()


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe\0" * 1000, id="no text"),
        pytest.param(TEXT.replace(b"certificate v1", b"certificate v2"), id="another version"),
        pytest.param(TEXT.replace(CLUSTER.encode(), b"another"), id="another cluster"),
        pytest.param(TEXT.replace(b"cluster: ", b"cluster: a b"), id="a cluster in two words"),
        pytest.param(TEXT[: TEXT.rindex(b"-----BEGIN")], id="a key less"),
        pytest.param(TEXT + OLD.public_key.serialize().replace(b"A", b"B"), id="a damaged key more"),
        pytest.param(
            TEXT
            + certificate(
                keys=(PrivateSealingKey(bytes(32), datetime(2026, 3, 3, tzinfo=UTC)),)
            ).recipients.serialize(),
            id="a foreign key more",
        ),
        pytest.param(TEXT[:-100], id="cut off"),
        pytest.param(OLD.serialize(), id="a private key"),
        pytest.param(TEXT + TEXT, id="twice"),
    ],
)
def test_a_damaged_certificate_is_refused_without_being_shown(damaged):
    with pytest.raises(KeyMaterialError) as caught:
        SealingCertificate.parse(damaged)

    assert "certificate" in str(caught.value) or "sealing key" in str(caught.value)
    assert CLUSTER not in str(caught.value)


@given(st.integers(0, len(TEXT) - 1), st.integers(1, 255))
def test_no_changed_byte_gives_another_certificate(position, difference):
    damaged = bytearray(TEXT)
    damaged[position] ^= difference
    try:
        read = SealingCertificate.parse(bytes(damaged))
    except KeyMaterialError:
        return
    # A comment was changed, or a space became another one.
    assert read == certificate()


@pytest.mark.parametrize("cluster_id", ["", "a b", "a\nb", "-a", "ä", "x" * 129])
def test_a_cluster_id_that_does_not_fit_a_line_is_refused(cluster_id):
    with pytest.raises(KeyMaterialError):
        certificate(cluster_id)
