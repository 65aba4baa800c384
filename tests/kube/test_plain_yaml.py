"""The reader of plain YAML reads each text as PyYAML does, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scoped_secrets.kube.plain_yaml import parse_plain

KUBECTL = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t/+aZ09==
    server: https://api.example.com:6443/behind/a/path
  name: arn:aws:eks:eu-west-1:111122223333:cluster/one
contexts:
- context:
    cluster: arn:aws:eks:eu-west-1:111122223333:cluster/one
    namespace: web
    user: jane@example.com
  name: one
current-context: one
kind: Config
preferences: {}
users:
- name: jane@example.com
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      args:
      - --region
      - eu-west-1
      command: aws
      env: null
      interactiveMode: IfAvailable
      provideClusterInfo: false
"""
K3S = """\
apiVersion: v1
kind: Config
clusters:
  - name: "one"
    cluster:
      server: "https://127.0.0.1:6443"
      insecure-skip-tls-verify: true

users:
  - name: 'one'
    user:
      token: 3f09c0ffee:def
      as-groups: []
      username:
contexts: []
current-context: ""
"""


@pytest.mark.parametrize("text", [KUBECTL.replace("      - --region\n", ""), K3S])
def test_kubeconfigs_that_programs_write_are_read(text: str):
    assert parse_plain(text) == yaml.safe_load(text) != {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "a",
        "a: 1",
        "a: 2026-01-01",
        "a: 0x1f",
        "a: 0b11",
        "a: 1.5e+3",
        "a: yes",
        "yes: a",
        "a: Off",
        "a: ~",
        "a: &b c",
        "a: *b",
        "a: !!str b",
        "a: |\n  b",
        "a: b\n  c",
        "a: b # c",
        "# b\na: b",
        "a: b: c",
        "a: b:",
        "a: b\na: c",
        "a:\n    b: c\n  d: e",
        "a:\n  b: c\n d: e",
        'a: "b\\n"',
        "a: 'b''c'",
        "a: b\r\nc: d",
        "a:\tb",
        "a: b ",
        "a: \u00e9",
        "---\na: b",
        "a: [b]",
        "a: b\n...\n",
        "<<: a",
        "a: -",
        "a:\n-b",
        "a:\n  - - b",
        "a:\n-\n- b",
        'a: "b\n  c"',
        "a: b\n   ",
    ],
)
def test_other_forms_are_left_to_the_library(text: str):
    assert parse_plain(text) is None


SCALARS = st.one_of(
    st.sampled_from(
        [
            *("one", "https://one.example:6443", "LS0tLS1==", "", "yes", "null", "NO", "a: b", "a:"),
            *("1e3", "0x1", "0b1", "0o1", "1_0", "190:20", "12ab34", "0ab", "1.5e+3", "6.8523015e+5", "2001-12-15t02"),
        ]
    ),
    st.booleans(),
    st.none(),
    st.integers(),
    st.text("abY~09:/-#'\" .{}[]&*!|>%@,?=<\n\t\u00e9", max_size=8),
)
KEYS = st.sampled_from(["a", "b-c", "current-context", "y", "No", "on", "1", "a b", "null"])
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


@given(DOCUMENTS, st.booleans(), st.sampled_from([2, 3, 4]))
@settings(max_examples=500)
def test_what_is_read_of_a_written_document_is_what_was_written(document: Any, flow: bool, indent: int):
    text = yaml.safe_dump(document, default_flow_style=None if flow else False, indent=indent)

    assert parse_plain(text) in (None, document)


PIECES = st.sampled_from(
    [
        "a",
        "b",
        ":",
        ": ",
        " ",
        "  ",
        "- ",
        "-",
        "\n",
        "\n  ",
        "\n- ",
        "{}",
        "[]",
        '"',
        "'",
        "#",
        "true",
        "null",
        "1",
        "\t",
    ]
)


@given(st.lists(PIECES, max_size=14).map("".join))
@settings(max_examples=1500)
def test_every_text_is_read_as_by_the_library_or_not_at_all(text: str):
    found = parse_plain(text)

    assert found is None or found == yaml.safe_load(text)
