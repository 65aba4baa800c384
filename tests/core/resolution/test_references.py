"""Which bundles a pod names (DESIGN sections 4 and 8)."""

import pytest
from tests.support.builders import definition, denied, granted, home_and_project, inventory, pod_body

from scoped_secrets import names
from scoped_secrets.core.resolution.references import MAX_REFERENCES, Reference, merge_references, parse_references
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason


@pytest.mark.parametrize(
    ("sentence", "text", "expected"),
    [
        ("nothing", "", ()),
        ("only commas and spaces", " , ,", ()),
        ("one name", "aws", (Reference("aws"),)),
        ("an optional name", "aws?", (Reference("aws", optional=True),)),
        ("a space before the mark", "aws ?", (Reference("aws", optional=True),)),
        ("several in their order", " b, a?,\n c ,", (Reference("b"), Reference("a", optional=True), Reference("c"))),
        ("letters that a name may have", "A.b_c-9", (Reference("A.b_c-9"),)),
        ("the longest name", "a" * 63, (Reference("a" * 63),)),
    ],
)
def test_references_are_read(sentence, text, expected):
    assert parse_references(text, field="annotation x") == expected


@pytest.mark.parametrize(
    "text", ["?", "a??", "?a", "a b", "-a", "a-", ".a", "ä", "a/b", "a" * 64, "${secrets.a}", "a;b", "a\0b"]
)
def test_malformed_name_is_denied_by_its_position_and_not_repeated(text):
    with pytest.raises(DeniedError) as refusal:
        parse_references(f"fine, {text}", field="annotation x")
    assert refusal.value.reason is Reason.INVALID_REFERENCE
    assert refusal.value.message.startswith("annotation x: item 2 ")
    assert len(text) == 1 or text not in refusal.value.message


def test_repeated_name_counts_at_its_last_position_and_is_optional_only_if_optional_everywhere():
    united = merge_references(parse_references("a?, b, a, c?, c?", field=""))
    assert united == (Reference("b"), Reference("a"), Reference("c", optional=True))


def many(count: int) -> str:
    return ",".join(f"b{number}?" for number in range(count))


def test_fifty_references_are_allowed_and_fifty_one_are_not():
    snapshot = inventory(home_and_project())
    assert len(granted(pod_body(many(MAX_REFERENCES)), snapshot).grant.left_out) == MAX_REFERENCES
    refused = denied(pod_body(many(MAX_REFERENCES + 1)), snapshot)
    assert refused.reason is Reason.LIMIT_EXCEEDED
    assert "at most 50" in refused.message


def test_a_namespaces_references_count_towards_the_limit():
    snapshot = inventory(home_and_project(**{names.SECRETS_ANNOTATION: "x?"}))
    assert denied(pod_body(many(MAX_REFERENCES)), snapshot).reason is Reason.LIMIT_EXCEEDED


def test_a_namespaces_references_come_before_the_pods():
    definitions = [definition(f"acme/{name}", env={"X": name}) for name in "abc"]
    snapshot = inventory(home_and_project(**{names.SECRETS_ANNOTATION: "c, b"}), definitions)
    assert [bundle.name for bundle in granted(pod_body("a, c"), snapshot).grant.applied] == ["b", "a", "c"]


def test_a_missing_reference_names_the_bundle_and_the_remedy():
    refused = denied(pod_body("aws"), inventory(home_and_project()))
    assert refused.reason is Reason.NOT_FOUND
    assert "'aws'" in refused.message
    assert "create a ScopedSecret" in refused.message


def test_the_optional_annotation_makes_all_of_the_pods_references_optional_but_not_the_namespaces():
    snapshot = inventory(home_and_project())
    optional = pod_body("aws, db", annotations={names.OPTIONAL_ANNOTATION: "true"})
    assert [left.name for left in granted(optional, snapshot).grant.left_out] == ["aws", "db"]
    strict = inventory(home_and_project(**{names.SECRETS_ANNOTATION: "aws"}))
    assert denied(optional, strict).reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (names.OPTIONAL_ANNOTATION, "yes"),
        (names.KEY_CONFLICT_ANNOTATION, "fail"),
        (names.CONTAINERS_ANNOTATION, "other"),
        (names.CONTAINERS_ANNOTATION, ""),
    ],
)
def test_invalid_annotation_value_is_denied(annotation, text):
    refused = denied(pod_body("", annotations={annotation: text}), inventory(home_and_project()))
    assert refused.reason is Reason.INVALID_ANNOTATION
    assert annotation in refused.message
