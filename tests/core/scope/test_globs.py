"""Globs against a naive regular expression and against enumeration (DESIGN sections 4 and 6)."""

import re
from functools import cache
from itertools import product
from time import process_time

import pytest
from hypothesis import given
from tests.core.oracle import is_match
from tests.strategies import PATTERN_TEXTS, PLAIN_TEXTS, examples

from scoped_secrets.core.scope.globs import covers, is_exact, matches, overlaps, specificity

# The fresh letter stands for every letter that a pattern does not know.
ENUMERATED = ["".join(letters) for length in range(7) for letters in product("abz/", repeat=length)]


@cache
def enumerated(pattern: str) -> frozenset[str]:
    expression = re.compile(pattern.replace("*", "[^/]*"))
    return frozenset(text for text in ENUMERATED if expression.fullmatch(text))


@pytest.mark.parametrize(
    ("sentence", "pattern", "text", "expected"),
    [
        ("a name matches itself", "production", "production", True),
        ("a name matches no longer name", "production", "production2", False),
        ("a name matches no part of a name", "prod", "production", False),
        ("a star matches a name", "*", "production", True),
        ("a star matches nothing at all", "prod*", "prod", True),
        ("a star does not cross a slash", "*", "review/42", False),
        ("a star inside does not cross a slash", "r*2", "review/42", False),
        ("a star matches one part of a path", "review/*", "review/42", True),
        ("a star matches not two parts", "review/*", "review/42/x", False),
        ("two stars are no deeper than one", "**", "review/42", False),
        ("a start and an end may not share letters", "ab*ba", "aba", False),
        ("a question mark is a letter", "a?", "ab", False),
        ("a bracket is a letter", "[ab]", "a", False),
        ("a dot is a letter", "a.c", "abc", False),
        ("case counts", "Prod*", "production", False),
        ("a line break ends no name", "prod*", "production\nx", True),
        ("an anchor holds at a line break", "prod", "prod\n", False),
    ],
)
def test_glob_matches_literals_and_stars(sentence, pattern, text, expected):
    assert matches(pattern, text) is expected


@examples(5)
@given(pattern=PATTERN_TEXTS, text=PLAIN_TEXTS)
def test_globs_match_like_the_equivalent_regular_expression(pattern, text):
    assert matches(pattern, text) == is_match(pattern, text)


@examples(4)
@given(text=PLAIN_TEXTS, cuts=PATTERN_TEXTS)
def test_pattern_derived_from_a_name_matches_it(text, cuts):
    pattern = "".join("*" if letter != "/" and cut == "*" else letter for letter, cut in zip(text, cuts, strict=False))
    pattern += text[len(cuts) :]
    assert matches(pattern, text)


@examples(5)
@given(one=PATTERN_TEXTS, other=PATTERN_TEXTS)
def test_patterns_overlap_when_some_name_matches_both(one, other):
    one, other = one[:4], other[:4]
    # Two patterns of at most four letters that overlap do so in a name of at most six.
    assert overlaps(one, other) == (not enumerated(one).isdisjoint(enumerated(other)))
    assert overlaps(one, other) == overlaps(other, one)


@examples(5)
@given(wider=PATTERN_TEXTS, narrower=PATTERN_TEXTS)
def test_a_pattern_covers_another_when_it_matches_all_its_names(wider, narrower):
    wider, narrower = wider[:4], narrower[:4]
    assert covers(wider, narrower) == (enumerated(narrower) <= enumerated(wider))


@examples(4)
@given(one=PATTERN_TEXTS, other=PATTERN_TEXTS)
def test_the_rank_of_patterns_is_a_total_order(one, other):
    assert (specificity(one) == specificity(other)) == (one == other)


def test_patterns_rank_as_the_design_lists_them():
    narrowing = ["*/*", "*b", "*a", "*tion", "p*", "p**n", "p*n", "prod*", "prod*n", "production"]
    assert sorted(set(narrowing), key=specificity) == narrowing
    assert is_exact("production")
    assert not is_exact("prod*")


@pytest.mark.parametrize(
    ("sentence", "pattern", "text"),
    [
        ("many stars and a text that almost matches", "a*" * 60 + "b", "a"),
        ("an end that never comes", "*" + "ab*" * 40 + "c", "ab"),
        ("a literal that always almost stands there", "*" + "a" * 60 + "b*", "a"),
        ("many parts", "*/" * 40 + "x", "a/"),
    ],
)
def test_matching_time_is_linear_in_the_text(sentence, pattern, text):
    def seconds(repetitions: int) -> float:
        subject = text * repetitions
        best = float("inf")
        for _ in range(5):
            start = process_time()
            for _ in range(20):
                assert not matches(pattern, subject)
            best = min(best, process_time() - start)
        return best

    short, long = seconds(2_000), seconds(16_000)

    # Eight times the text: a quadratic matcher would take 64 times as long, one that goes back for every star would
    # not come to an end. The small addition is for clocks that tick slowly.
    assert long <= 30 * short + 0.05
