"""What is shown of stored definitions: names, sizes in buckets and keys, and never a value."""

from datetime import UTC, datetime

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.operations.change_entries import sealed_entries
from scoped_secrets.operations.reading import entries_of
from scoped_secrets.operations.sealing_plan import PlainEntry, SealingTarget, sealed_object

RING = KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC))
CERTIFICATE = SealingCertificate("cluster", RING.public())
TARGET = SealingTarget("web", "aws", "acme", "web", Scope.PROJECT, None)
CANARY = "canary-c8e2f1"


def entry(kind, name, size):
    return PlainEntry(EntryKey(kind, name), None, SecretValue(CANARY.encode().ljust(size, b"x")))


def test_entries_have_buckets_modes_and_the_key_that_opens_them():
    entries = [entry(EntryKind.ENV, "A", 20), entry(EntryKind.ENV, "B", 300), entry(EntryKind.FILE, "key", 5000)]
    body = sealed_object(TARGET, {}, entries, CERTIFICATE)
    # A value that `set` stored: under a data key of its own.
    added = sealed_entries(body, TARGET.slot("aws"), [entry(EntryKind.ENV, "C", 20)], CERTIFICATE)
    body["spec"]["env"] += added.entries.values()
    body["spec"]["dataKeys"] += added.data_keys
    body["spec"]["env"].append({"name": "PLAIN", "value": "x", "sensitive": False})
    body["spec"]["env"].append({"name": "DB", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}})
    mark = {"kind": "Env", "name": "A", "sealedDigest": "0123456789", "changedTime": "2026-01-01T00:00:00Z"}
    body["status"] = {"entries": [mark]}

    shown = {each.name: each for each in entries_of(body)}

    key_id = str(RING.active.key_id)
    assert {name: (each.source, each.size, each.key_id) for name, each in shown.items()} == {
        "A": ("sealed", "<=64 B", key_id),
        "B": ("sealed", "<=1 KiB", key_id),
        "C": ("sealed", "<=64 B", key_id),
        "key": ("sealed", "<=32 KiB", key_id),
        "PLAIN": ("plain", "<=64 B", ""),
        "DB": ("secret db/password", "", ""),
    }
    assert (shown["A"].fingerprint, shown["A"].changed) == ("0123456789", "2026-01-01T00:00:00Z")
    assert (shown["key"].mode, shown["A"].mode) == ("0600", "")
    assert CANARY not in str(shown)


def test_text_whose_data_key_is_gone_is_unreadable_and_not_an_error():
    body = sealed_object(TARGET, {}, [entry(EntryKind.ENV, "A", 20)], CERTIFICATE)
    del body["spec"]["dataKeys"]
    [shown] = entries_of(body)
    assert (shown.source, shown.key_id) == ("unreadable", "")
