"""The claims of SECURITY.md: each names the code that decides it and tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "scoped_secrets"
SECURITY = ROOT / "SECURITY.md"
HEADING = "## Claims and their tests"

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_CODE = re.compile(r"`([\w/.-]+\.(?:py|yaml))`")


def rows(text: str) -> list[list[str]]:
    """Return the rows of the table of claims, without its head; none when the section is missing."""
    _, _, section = text.partition(f"{HEADING}\n")
    section = section.partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def problems(text: str) -> list[str]:
    """Return the names that do not exist, and the claims without code or test."""
    found = [f"{path}::{name} does not exist" for path, name in _TEST.findall(text) if not is_test(path, name)]
    for row in rows(text):
        claim, code, tests = row if len(row) == 3 else (str(row), "", "")
        if not _TEST.search(tests):
            found.append(f"{claim}: no test is named")
        if not _CODE.search(code):
            found.append(f"{claim}: no code is named")
        found += [f"{path} does not exist" for path in _CODE.findall(code) if not is_code(path)]
    return found


def is_test(path: str, name: str) -> bool:
    file = ROOT / path
    if not file.is_file() or not name.startswith("test_"):
        return False
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name for node in tree.body)


def is_code(path: str) -> bool:
    return (PACKAGE / path).is_file() or (ROOT / path).is_file()


def test_code_and_tests_of_each_claim_exist():
    text = SECURITY.read_text(encoding="utf-8")

    assert problems(text) == []
    assert rows(text)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("| a | `names.py` | `tests/test_logs.py::test_nothing` |", "tests/test_logs.py::test_nothing does not exist"),
        ("| a | `process_hardening.py` | `tests/nowhere.py::test_a` |", "tests/nowhere.py::test_a does not exist"),
        ("| a | `process_hardening.py` | by hand |", "a: no test is named"),
        ("| a | `nowhere.py` | `tests/packaging/test_security.py::test_code_and_tests_of_each_claim_exist` |",
         "nowhere.py does not exist"),
        ("| a | somewhere | `tests/packaging/test_security.py::test_code_and_tests_of_each_claim_exist` |",
         "a: no code is named"),
    ],
)  # fmt: skip
def test_missing_code_and_missing_tests_are_reported(row: str, problem: str):
    text = f"# Title\n\n{HEADING}\n\n| claim | decided in | shown by |\n| --- | --- | --- |\n{row}\n\n## Next\n"

    assert problems(text) == [problem]
