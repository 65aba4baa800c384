"""The tables of complaints and of another system's commands: each row has a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "operator" / "docs" / "complaints.md"
NUMBERS = range(1, 27)

_ROW = re.compile(r"\| (\d+) \| .* \| `(tests/[\w/]+\.py)::(\w+)` \|")
_COMMAND = re.compile(r"\| `sem .*` \| .* \| `(tests/[\w/]+\.py)::(\w+)` \|")


def problems(text: str) -> list[str]:
    """Return the numbers without a row, and the tests that do not exist or do not carry their number."""
    rows = [(int(match[1]), match[2], match[3]) for line in text.splitlines() if (match := _ROW.fullmatch(line))]
    found = [f"{number} has no row" for number in NUMBERS if number not in {row[0] for row in rows}]
    return found + [f"{path}::{name} is no test of complaint {number}" for number, path, name in rows
                    if number not in numbers_of(path, name)]  # fmt: skip


def numbers_of(path: str, name: str) -> set[int]:
    """Return the numbers in the name and in the docstring of a test; none when there is no such test."""
    file = ROOT / path
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            documented = re.match(r"Complaints? ([\d, and]+):", ast.get_docstring(node) or "")
            named = re.match(r"test_complaint_(\d+)_", name)
            texts = (documented[1] if documented else "", named[1] if named else "")
            return {int(number) for text in texts for number in re.findall(r"\d+", text)}
    return set()


def commands_without_test(text: str) -> list[str]:
    """Return the rows about a command of `sem` that name no test which exists."""
    rows = [line for line in text.splitlines() if line.startswith("| `sem ")]
    return [row for row in rows if not (match := _COMMAND.fullmatch(row)) or not is_test(match[1], match[2])]


def is_test(path: str, name: str) -> bool:
    """Tell whether a file has a test of this name."""
    file = ROOT / path
    return file.is_file() and f"\ndef {name}(" in file.read_text(encoding="utf-8")


def test_each_command_of_another_system_has_a_test():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("\n| `sem ") == 5
    assert commands_without_test(text) == []
    renamed = text.replace("::test_get_secrets_lists_them", "::test_of_another_name")
    assert [row.split("`")[1] for row in commands_without_test(renamed)] == ["sem get secrets"]


def test_each_complaint_has_a_test_with_its_number():
    assert problems(PAGE.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("| 3 | a | b | `tests/nowhere.py::test_a` |", "tests/nowhere.py::test_a is no test of complaint 3"),
        ("| 3 | a | b | `tests/packaging/test_complaints.py::test_a` |",
         "tests/packaging/test_complaints.py::test_a is no test of complaint 3"),
        ("| 3 | a | b | `tests/cli/test_complaints.py::test_complaint_11_denial_names_rule_and_claim` |",
         "tests/cli/test_complaints.py::test_complaint_11_denial_names_rule_and_claim is no test of complaint 3"),
        ("| 4 | a | by hand |", "4 has no row"),
    ],
)  # fmt: skip
def test_missing_tests_and_wrong_numbers_are_reported(row: str, problem: str):
    assert problem in problems(row)
