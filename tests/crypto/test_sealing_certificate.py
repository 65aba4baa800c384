"""The sealing certificate: a JSON document with all that sealing needs, which damage cannot pass."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.keys import PrivateSealingKey, PublicKeyRing
from scoped_secrets.crypto.sealing_certificate import MAX_CERTIFICATE_BYTES, SealingCertificate

OLD = PrivateSealingKey(bytes(range(32)), datetime(2026, 1, 2, tzinfo=UTC))
NEW = PrivateSealingKey(bytes(range(1, 33)), datetime(2026, 2, 2, tzinfo=UTC))
OTHER = PrivateSealingKey(bytes(32), datetime(2026, 3, 3, tzinfo=UTC))
CLUSTER = "0d1f9d0e-6c53-4b4f-8d0a-5b1d0a7f8f10"


def certificate(cluster_id=CLUSTER, keys=(OLD, NEW)):
    return SealingCertificate(cluster_id, PublicKeyRing(tuple(key.public_key for key in keys)))


TEXT = certificate().serialize()


def changed(*path, to):
    """Return the document with another value at one path."""
    document = json.loads(TEXT)
    target = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = to
    return json.dumps(document).encode()


def without(*path):
    document = json.loads(TEXT)
    target = document
    for step in path[:-1]:
        target = target[step]
    del target[path[-1]]
    return json.dumps(document).encode()


def key_of(private):
    return json.loads(certificate(keys=(private,)).serialize())["keys"][0]


def test_parse_returns_what_serialize_wrote_with_the_active_key_first():
    read = SealingCertificate.parse(TEXT)

    assert read == certificate()
    assert read.cluster_id == CLUSTER
    assert [key.key_id for key in read.recipients.keys] == [NEW.key_id, OLD.key_id]
    assert read.recipients.active.key_id == NEW.key_id


def test_the_document_names_version_cluster_and_each_key():
    assert json.loads(TEXT) == {
        "version": 1,
        "clusterId": CLUSTER,
        "checksum": certificate().checksum,
        "keys": [
            {
                "id": key.key_id,
                "created": created,
                "publicKey": base64.b64encode(key.public_key.raw).decode(),
            }
            for key, created in ((NEW, "2026-02-02T00:00:00Z"), (OLD, "2026-01-02T00:00:00Z"))
        ],
    }


def test_equal_certificates_have_equal_printable_documents():
    assert TEXT.decode("ascii").replace("\n", "").isprintable()
    assert certificate(keys=(NEW, OLD)).serialize() == TEXT


def test_the_document_holds_no_private_key():
    assert b"PRIVATE" not in TEXT
    assert NEW.serialize().splitlines()[1] not in TEXT
    assert base64.b64encode(bytes(range(1, 33))).rstrip(b"=") not in TEXT


def test_a_new_key_leaves_the_lines_of_the_old_ones_as_they_were():
    before = certificate(keys=(OLD,)).serialize().splitlines()
    added = [line for line in before if line not in TEXT.splitlines()]

    assert len(added) == 1
    assert added[0].startswith(b'  "checksum": ')


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(TEXT.replace(b"\n", b"\r\n"), id="line ends of another system"),
        pytest.param(b"\n\n" + TEXT + b"\n", id="empty lines around"),
        pytest.param(b"".join(line + b"  \n" for line in TEXT.splitlines()), id="spaces at the ends of lines"),
        pytest.param(json.dumps(json.loads(TEXT), sort_keys=True).encode(), id="one line, sorted"),
        pytest.param(changed("keys", to=[key_of(OLD), key_of(NEW)]), id="the keys in another order"),
    ],
)
def test_another_layout_gives_the_same_certificate(same):
    assert SealingCertificate.parse(same) == certificate()


PUBLIC = json.loads(TEXT)["keys"][0]["publicKey"]
DAMAGED = {
    "nothing": (b"", "not a JSON document"),
    "no text": (b"\xff\xfe\0" * 1000, "not a JSON document"),
    "cut off": (TEXT[:-100], "not a JSON document"),
    "twice": (TEXT + TEXT, "not a JSON document"),
    "a comment": (b"# ours\n" + TEXT, "not a JSON document"),
    "a private key": (OLD.serialize(), "not a JSON document"),
    "the armour of earlier releases": (certificate().recipients.serialize(), "not a JSON document"),
    "a number that no JSON has": (changed("version", to=float("nan")), "not a JSON document"),
    "a number of many digits": (TEXT.replace(b": 1,", b": " + b"1" * 5000 + b","), "not a JSON document"),
    "deep nesting": (b"[" * 200_000, "not a JSON document"),
    "a list": (b"[]", "not a JSON object"),
    "a text": (b'"certificate"', "not a JSON object"),
    "a name twice": (TEXT.replace(b'{\n  "version"', b'{"version": 1, "version"'), "a field twice"),
    "a name of a key twice": (TEXT.replace(b'"id":', b'"id": "", "id":'), "a field twice"),
    "too large": (TEXT + b" " * MAX_CERTIFICATE_BYTES, f"larger than {MAX_CERTIFICATE_BYTES} bytes"),
    "another version": (changed("version", to=2), "`version` is not 1"),
    "a true version": (changed("version", to=True), "`version` is not 1"),
    "a fractional version": (changed("version", to=1.0), "`version` is not 1"),
    "no version": (without("version"), "`version` is not 1"),
    "another cluster": (changed("clusterId", to="another"), "`checksum` does not match"),
    "a cluster in two words": (changed("clusterId", to="a b"), "`clusterId` is not the id of a cluster"),
    "no cluster": (without("clusterId"), "`clusterId` is missing"),
    "a number as cluster": (changed("clusterId", to=1), "`clusterId` is not a string"),
    "no checksum": (without("checksum"), "`checksum` is missing"),
    "a strange checksum": (changed("checksum", to="ä\ud800"), "`checksum` does not match"),
    "an unknown field": (changed("privateKey", to="x"), "it has a field that this program does not know"),
    "no keys": (changed("keys", to=[]), "`keys` is not a list with at least one key"),
    "an object of keys": (changed("keys", to={"a": 1}), "`keys` is not a list"),
    "a key less": (without("keys", 0), "`checksum` does not match"),
    "the other key less": (without("keys", 1), "`checksum` does not match"),
    "a foreign key more": (changed("keys", to=[key_of(OTHER), key_of(NEW), key_of(OLD)]), "`checksum` does not match"),
    "a key twice": (changed("keys", to=[key_of(NEW), key_of(NEW), key_of(OLD)]), "`keys` holds a key twice"),
    "a text as key": (changed("keys", 1, to="key"), "`keys[1]` is not a JSON object"),
    "a key without id": (without("keys", 1, "id"), "`keys[1].id` is missing"),
    "an unknown field of a key": (changed("keys", 0, "seed", to="x"), "`keys[0]` has a field that"),
    "the id of another key": (changed("keys", 0, "id", to=OLD.key_id), "`keys[0].id` is not the id of its `publicKey`"),
    "another key": (
        changed("keys", 0, "publicKey", to=key_of(OTHER)["publicKey"]),
        "`keys[0].id` is not the id of its `publicKey`",
    ),
    "a null as key": (changed("keys", 0, "publicKey", to=None), "`keys[0].publicKey` is not a string"),
    "a short key": (changed("keys", 0, "publicKey", to=PUBLIC[:-4]), "`keys[0].publicKey` is not a public sealing key"),
    "a key in other letters": (changed("keys", 0, "publicKey", to="ä" * 1624), "`keys[0].publicKey` is not"),
    "another time": (changed("keys", 0, "created", to="2026-02-02T00:00:01Z"), "`checksum` does not match"),
    "a time of no day": (changed("keys", 0, "created", to="2026-02-30T00:00:00Z"), "`keys[0].created` is not a time"),
    "a time in short": (changed("keys", 0, "created", to="2026-2-2T00:00:00Z"), "`keys[0].created` is not a time"),
}


@pytest.mark.parametrize(("damaged", "words"), DAMAGED.values(), ids=DAMAGED)
def test_parse_refuses_a_damaged_document_and_names_field_and_remedy_only(damaged, words):
    with pytest.raises(KeyMaterialError) as caught:
        SealingCertificate.parse(damaged)

    message = str(caught.value)
    assert message.startswith("the sealing certificate cannot be used: ")
    assert words in message
    assert message.endswith("; fetch it again with `scoped-secrets public-key`")
    assert CLUSTER not in message
    assert PUBLIC[:20] not in message
    # Nor does the exception carry the input along.
    assert caught.value.__context__ is None


def test_a_key_in_a_second_encoding_is_refused():
    last = PUBLIC[-3]
    other = chr(ord(last) + 1)
    same = PUBLIC[:-3] + other + PUBLIC[-2:]
    assert base64.b64decode(same) == base64.b64decode(PUBLIC)

    with pytest.raises(KeyMaterialError, match="publicKey"):
        SealingCertificate.parse(changed("keys", 0, "publicKey", to=same))


@given(st.integers(0, len(TEXT) - 1), st.integers(1, 255))
def test_no_changed_byte_gives_another_certificate(position, difference):
    damaged = bytearray(TEXT)
    damaged[position] ^= difference
    accept_only_the_same(bytes(damaged))


@given(st.integers(0, len(TEXT)), st.integers(0, len(TEXT)), st.binary(max_size=20))
def test_no_replaced_span_gives_another_certificate(start, end, inserted):
    accept_only_the_same(TEXT[:start] + inserted + TEXT[end:])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PATHS = [
    *[(field,) for field in ("version", "clusterId", "checksum", "keys")],
    *[("keys", index) for index in (0, 1)],
    *[("keys", index, field) for index in (0, 1) for field in ("id", "created", "publicKey")],
]


@given(st.sampled_from(PATHS), JSON)
def test_no_other_value_of_a_field_gives_another_certificate(path, value):
    accept_only_the_same(changed(*path, to=value))


@given(st.lists(st.sampled_from([OLD, NEW, OTHER]), max_size=4))
def test_no_other_selection_of_sound_keys_gives_another_certificate(keys):
    accept_only_the_same(changed("keys", to=[key_of(key) for key in keys]))


def accept_only_the_same(data):
    try:
        read = SealingCertificate.parse(data)
    except KeyMaterialError:
        return
    assert read == certificate()


@pytest.mark.parametrize("cluster_id", ["", "a b", "a\nb", "-a", "ä", "x" * 129])
def test_a_cluster_id_that_is_no_name_is_refused(cluster_id):
    with pytest.raises(KeyMaterialError):
        certificate(cluster_id)
