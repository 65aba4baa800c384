"""Values for hidden entries from a file."""

from datetime import UTC, datetime

import pytest

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.keys import PrivateSealingKey, PublicKeyRing
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.cluster_view import ClusterView
from scoped_secrets.operations.create import NewSecret, Plan
from scoped_secrets.operations.import_values import values_of_bundles
from scoped_secrets.operations.imports import (
    ImportedBundle,
    ImportedEntry,
    PlannedBundle,
    hidden_entries,
    with_values,
    without_hidden,
)
from scoped_secrets.operations.place import Place, PlaceRequest

OLD = PrivateSealingKey(bytes(range(32)), datetime(2026, 1, 2, tzinfo=UTC))
CERTIFICATE = SealingCertificate("cluster-one", PublicKeyRing((OLD.public_key,)))
CANARY = "canary-3f77aa"


def planned(namespace, name, *entries):
    bundle = ImportedBundle(f"'{name}'", name, entries)
    place = Place(Binding(namespace, "acme", namespace), Scope.PROJECT, namespace, None)
    request = NewSecret(name, PlaceRequest(), "scoped-secrets")
    return PlannedBundle(bundle, request, Plan(place, name, CERTIFICATE, ClusterView()))


def hidden(name, kind=EntryKind.ENV):
    return ImportedEntry(EntryKey(kind, name))


def test_values_are_found_by_bundle_or_by_place_and_bytes_are_kept():
    bundles = [
        planned("web", "aws", hidden("KEY"), hidden("id", EntryKind.FILE)),
        planned("api", "aws", hidden("KEY")),
        planned("web", "other", hidden("A")),
    ]
    content = b"web/aws: {KEY: 010, id: !!binary /wA=}\napi/aws: {KEY: yes}\n"
    found = values_of_bundles(content, bundles)
    assert [{key.name: value.reveal() for key, value in each.items()} for each in found] == [
        {"KEY": b"010", "id": b"\xff\x00"},
        {"KEY": b"yes"},
        {},
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"other: {{KEY: {CANARY}}}", "`other` must be the name of a bundle"),
        (f"aws: {{KEY: {CANARY}}}", "`aws` must be `namespace/name`, such as 'web/aws'"),
        (f"web/aws: {{OTHER: {CANARY}}}", "`web/aws.OTHER` must be an entry whose value the source does not show"),
        (f"web/aws: {{SHOWN: {CANARY}}}", "`web/aws.SHOWN` must be an entry whose value"),
        (f"web/aws: {{KEY: [{CANARY}]}}", "`web/aws.KEY` must be a text"),
        (f"web/aws: {CANARY}", "`web/aws` must be a mapping"),
        ("", "--values must have one document"),
    ],
)
def test_mistake_in_a_file_of_values_is_named_without_the_value(content, words):
    shown = ImportedEntry(EntryKey(EntryKind.ENV, "SHOWN"), SecretValue(b"x"))
    bundles = [planned("web", "aws", hidden("KEY"), shown), planned("api", "aws", hidden("KEY"))]
    with pytest.raises(ConfigurationError) as raised:
        values_of_bundles(content.encode(), bundles)
    assert words in str(raised.value)
    assert CANARY not in str(raised.value)


def test_hidden_entries_get_values_or_are_left_out_and_listed():
    bundle = planned("web", "aws", hidden("A"), hidden("B")).bundle
    given = with_values(bundle, {EntryKey(EntryKind.ENV, "A"): SecretValue(b"1")})
    left = without_hidden(given)
    assert hidden_entries(given) == [EntryKey(EntryKind.ENV, "B")]
    assert [entry.key.name for entry in left.entries] == ["A"]
    assert left.notes == ("variable 'B' is left out: the source does not show its value",)
