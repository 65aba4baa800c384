"""Random values: of the length and the alphabet that a recipe states, and never guessable."""

import pytest

from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.generate import Recipe, generate


@pytest.mark.parametrize(
    ("text", "length", "characters"),
    [
        ("", 32, set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")),
        ("length=64,alphabet=hex", 64, set("0123456789abcdef")),
        ("alphabet=digits,length=34", 34, set("0123456789")),
    ],
)
def test_value_has_the_length_and_the_alphabet(text, length, characters):
    values = [generate(Recipe.parse(text)).reveal().decode() for _ in range(200)]
    assert {len(value) for value in values} == {length}
    assert set("".join(values)) == characters
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("text", ["length=33,alphabet=digits", "length=27,alphabet=hex", "length=18", "length=5000"])
def test_length_that_could_be_guessed_or_is_too_large_is_refused(text):
    with pytest.raises(ConfigurationError, match="length of at least"):
        Recipe.parse(text)


@pytest.mark.parametrize("text", ["length=x", "alphabet=klingon", "size=32", "32"])
def test_text_that_is_no_recipe_is_refused(text):
    with pytest.raises(ConfigurationError, match="must be such as 'length=32,alphabet=hex'"):
        Recipe.parse(text)
