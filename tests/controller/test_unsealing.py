"""The bodies of bundle Secrets: byte for byte, owned, immutable, and nothing of a value anywhere else."""

from __future__ import annotations

import base64
import json
import traceback
from datetime import UTC, datetime

import pytest
from tests.controller.snapshots import admitted, job, record_of, stored
from tests.support.builders import definition, granted, home_and_project, inventory, pod_body, sealed, slot_at

from scoped_secrets import names
from scoped_secrets.controller.bundle_bodies import secret_bodies
from scoped_secrets.controller.unsealing import Unsealer, UnsealError
from scoped_secrets.core.resolution.definitions import Entry, Override, SecretKeySource
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.names import Reason

KEYS = KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC))
UNSEALER = Unsealer(KEYS, "cluster-uid")
VALUE = b"hunter2\n"
RECORD = record_of(
    stored(admitted(job(None), inventory(home_and_project())), uid="8f5b2f6e-0000-4000-8000-000000000001")
)


def unsealed(snapshot, secrets="registry", sources=None):
    """Return the bodies for a pod that asks for these bundles, and what is in them."""
    return list(secret_bodies(RECORD, granted(pod_body(secrets), snapshot), UNSEALER, sources or {}))


def content(body):
    return {key: base64.b64decode(value) for key, value in body["data"].items()}


def sealed_world(cluster="cluster-uid", keys=KEYS, **given):
    empty = definition("acme/registry", env={"TOKEN": sealed("")}, **given)
    slot = slot_at(inventory(home_and_project(), [empty]), "acme/registry")
    context = sealing_context(cluster, "acme", "registry", slot, empty.env[0].key)
    text = seal(SecretValue(VALUE), context, keys.active.public_key, None)
    return inventory(home_and_project(), [definition("acme/registry", env={"TOKEN": sealed(text, 60)}, **given)])


def test_sealed_value_is_unsealed_byte_for_byte():
    (body,) = unsealed(sealed_world())

    assert content(body)["registry.TOKEN"] == VALUE


def test_bundle_secret_is_owned_by_its_pod_and_immutable():
    (body,) = unsealed(sealed_world())

    assert (body["immutable"], body["type"]) == (True, "Opaque")
    assert body["metadata"]["namespace"] == "web"
    assert body["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "job",
            "uid": RECORD.uid,
            "controller": False,
            "blockOwnerDeletion": False,
        }
    ]
    assert body["metadata"]["labels"] == {
        names.MANAGED_BY_LABEL: names.DISTRIBUTION,
        names.POD_UID_LABEL: RECORD.uid,
    }


def test_first_part_has_the_resolution_report_without_values():
    (body,) = unsealed(sealed_world())

    resolution = content(body)[names.RESOLUTION_FILE]
    assert json.loads(resolution)["env"]["TOKEN"]["definition"] == "acme/registry"
    assert b"hunter2" not in resolution


def test_first_part_is_made_last_because_the_volume_waits_for_it():
    files = {f"/data/{index}": "x" * 400_000 for index in range(5)}
    snapshot = inventory(home_and_project(), [definition("acme/registry", files=files)])

    bodies = unsealed(snapshot)

    numbers = [int(body["metadata"]["name"].rpartition("-")[2]) for body in bodies]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[-1] == 0
    assert len(numbers) > 1
    assert sum(len(content(body)) for body in bodies) == len(files) + 1
    assert all(sum(map(len, content(body).values())) <= 1_048_576 for body in bodies)
    assert [names.RESOLUTION_FILE in body["data"] for body in bodies] == [False] * (len(numbers) - 1) + [True]


def test_each_value_of_a_merged_bundle_is_unsealed_in_the_slot_of_its_definition():
    wide = sealed_world().get("acme/registry").definition
    narrow = definition("web/registry", scope=Scope.PROJECT, override=Override.MERGE, files={"/f": "text"})
    (body,) = unsealed(inventory(home_and_project(), [wide, narrow]))

    assert set(content(body).values()) >= {VALUE, b"text"}


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (sealed_world(keys=KeyRing.generate(datetime(2026, 2, 2, tzinfo=UTC))), Reason.KEY_LOST),
        (sealed_world(cluster="another"), Reason.BUNDLE_FAILED),
        (
            inventory(home_and_project(), [definition("acme/registry", env={"TOKEN": sealed("no sealed text")})]),
            Reason.BUNDLE_FAILED,
        ),
    ],
    ids=["the key is lost", "sealed for another cluster", "no sealed text"],
)
def test_unseal_error_names_entry_and_reason_only(snapshot, reason):
    with pytest.raises(UnsealError) as caught:
        unsealed(snapshot)

    assert caught.value.reason is reason
    assert str(caught.value.resolved.entry.key) == "variable 'TOKEN'"
    printed = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in printed
    assert caught.value.__context__ is None


def test_value_of_a_native_secret_comes_from_the_definitions_namespace():
    source = SecretKeySource("db", "password")
    snapshot = inventory(home_and_project(), [definition("acme/registry", env={"TOKEN": source})])
    sources = {("acme", source): SecretValue(VALUE), ("web", source): SecretValue(b"of another")}

    (body,) = unsealed(snapshot, sources=sources)

    assert content(body)["registry.TOKEN"] == VALUE


def test_value_of_a_native_secret_that_was_not_read_is_an_error():
    source = SecretKeySource("db", "password")
    snapshot = inventory(home_and_project(), [definition("acme/registry", env={"TOKEN": source})])

    with pytest.raises(UnsealError) as caught:
        unsealed(snapshot)

    assert caught.value.reason is Reason.SOURCE_MISSING


@pytest.mark.parametrize(
    ("entry", "description"),
    [
        (Entry.variable("TOKEN", sealed("")), "variable 'TOKEN'"),
        (Entry.file("~/.ssh/id", 0o600, sealed("")), "file '~/.ssh/id'"),
    ],
)
def test_entry_is_described_by_kind_and_name(entry, description):
    assert str(entry.key) == description
