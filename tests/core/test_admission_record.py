"""What admission vouches for about a pod, as the pod's annotation holds it."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import pod_body

from scoped_secrets import names
from scoped_secrets.core.admission_record import AdmissionRecord, parse_admission_record
from scoped_secrets.core.pod import parse_pod

TEXTS = {field.name: st.text(max_size=5) for field in dataclasses.fields(AdmissionRecord) if field.name != "sources"}
SOURCES = st.dictionaries(st.sampled_from(("ref", "event")), st.text(max_size=5)).map(
    lambda s: tuple(sorted(s.items()))
)
RECORDS = st.builds(AdmissionRecord, **TEXTS, sources=SOURCES)


@given(RECORDS)
def test_a_record_reads_back_as_written(record):
    assert parse_admission_record(record.text()) == record


@given(RECORDS, RECORDS)
def test_two_records_have_two_texts(one, other):
    assert (one.text() == other.text()) == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="no annotation"),
        pytest.param("", id="nothing"),
        pytest.param("alice", id="no JSON"),
        pytest.param("[]", id="a list"),
        pytest.param("5", id="a number"),
        pytest.param('{"creator": 5, "other": "x", "sources": ["ref"]}', id="members of other kinds"),
        pytest.param("[" * 100000, id="deep"),
    ],
)
def test_a_text_that_is_no_record_vouches_for_nothing(text):
    assert parse_admission_record(text) == AdmissionRecord()


def identity(metadata, record=None):
    annotations = {} if record is None else {names.CLAIMS_ANNOTATION: record.text()}
    return parse_pod(pod_body("aws", metadata=metadata, annotations=annotations)).identity


def test_a_copy_of_a_pod_with_a_generated_name_is_another_pod():
    assert identity({"name": "victim"}) != identity({"name": None, "generateName": "victim"})


def test_a_stored_pod_has_the_identity_that_it_had_before_its_name_was_generated():
    before = identity({"name": None, "generateName": "job-"})

    assert identity({"name": "job-x7k2p", "generateName": "job-"}) == before


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(AdmissionRecord(creator="mallory"), id="another creator"),
        pytest.param(AdmissionRecord(creator="alice", owner="uid-2"), id="another workload"),
        pytest.param(None, id="no record"),
    ],
)
def test_pods_of_one_name_and_another_record_are_different_pods(other):
    metadata = {"name": None, "generateName": "job-"}

    assert identity(metadata, other) != identity(metadata, AdmissionRecord(creator="alice", owner="uid-1"))


def test_an_owner_that_the_pod_claims_is_not_part_of_its_identity():
    forged = {"name": "victim", "ownerReferences": [{"uid": "uid-1", "controller": True}]}

    assert identity(forged) == identity({"name": "victim"})
    assert json.loads(AdmissionRecord(creator="alice").text()) == {"creator": "alice"}
