"""Files of variables: the rules of the module's docstring, and mistakes that quote nothing."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoped_secrets.operations.env_file import EnvFileError, parse_env_file

CANARY = "canary-5e21b0"


def parsed(text: str) -> dict[str, str]:
    return {name: value.reveal().decode() for name, value in parse_env_file(text.encode()).items()}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("\n  \n# comment\n   # indented comment", {}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1", {"A": "1"}),
        ("export A=1\n  export\tB = 2 \n", {"A": "1", "B": "2"}),
        ("A=\nB=''\nC=\"\"\n", {"A": "", "B": "", "C": ""}),
        ("A=one two # comment\nB=one#two\n", {"A": "one two", "B": "one#two"}),
        ("A=# comment\n", {"A": "# comment"}),
        ("A='x # y' # comment\nB=\"x # y\"\n", {"A": "x # y", "B": "x # y"}),
        ("A='one\ntwo'\nB=3\n", {"A": "one\ntwo", "B": "3"}),
        ('A="one\ntwo"\nB=3\n', {"A": "one\ntwo", "B": "3"}),
        (r'A="\n\t\r\"\\\$\x"', {"A": '\n\t\r"\\$\\x'}),
        (r"A='\n'", {"A": r"\n"}),
        ("A=$HOME/${B}\n", {"A": "$HOME/${B}"}),
        ("A=it's\n", {"A": "it's"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=a=b\n", {"A": "a=b"}),
    ],
)
def test_values_follow_the_rules(text, values):
    assert parsed(text) == values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"A=1\n{CANARY}\n", "NAME=VALUE in line 2"),
        (f"1A={CANARY}\n", "NAME=VALUE in line 1"),
        (f"A='{CANARY}\nB=2\n", "close the quote that line 1 opens"),
        (f'# x\nA="{CANARY}\\"\n', "close the quote that line 2 opens"),
        (f"A='1' {CANARY}\n", "nothing but a comment behind the value that line 1 begins"),
        (f"A={CANARY}\nA=2\n", "line 2 repeats 'A'"),
    ],
)
def test_mistake_names_its_line_and_quotes_nothing(text, words):
    with pytest.raises(EnvFileError) as raised:
        parse_env_file(text.encode())
    assert words in str(raised.value)
    assert CANARY not in str(raised.value)


def test_bytes_that_are_no_text_are_refused_without_a_context():
    with pytest.raises(EnvFileError) as raised:
        parse_env_file(b"A=\xff\n")
    assert raised.value.__context__ is None


NAMES = st.text(string.ascii_letters, min_size=1, max_size=5)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufeff"), max_size=20)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_every_quoted_value_comes_back(values):
    def quoted(value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        return f'"{escaped}"'

    assert parsed("".join(f"{name}={quoted(value)}\n" for name, value in values.items())) == values
