"""The catalogue of attacks: it is complete, its tests exist, and its mutants can be made."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.attacks.attack import ROOT, Attack, Edit, Mutant, MutantError, problems
from tests.attacks.catalogue import ATTACKS, LISTED
from tests.attacks.runner import Verdict, _verdict, copy_tree
from tests.packaging.test_security import is_test

if TYPE_CHECKING:
    from pathlib import Path

GIVEN = Edit("operator/scoped_secrets/names.py", '"""', "'''")


def attack(edit: Edit, **fields: str) -> Attack:
    test = "tests/attacks/test_catalogue.py::test_each_attack_of_the_list_is_there"
    return Attack(fields.get("id", "one"), "It tries.", fields.get("result", "It fails."), (test,), Mutant((edit,)))


def test_each_attack_of_the_list_is_there():
    assert {attack.id for attack in ATTACKS if attack.id.startswith("A")} == set(LISTED)
    assert len(LISTED) == 41


def test_no_entry_of_the_catalogue_has_a_problem():
    assert list(problems(ATTACKS)) == []


def test_each_named_test_exists():
    named = {test.partition("[")[0] for attack in ATTACKS for test in attack.tests}

    assert {test for test in named if not is_test(*test.split("::"))} == set()


def test_each_named_test_runs_against_a_real_api_server():
    files = {test.partition("::")[0] for attack in ATTACKS for test in attack.tests}

    marks = ("pytest.mark.integration", "pytest.mark.e2e")
    assert {file for file in files if not any(mark in (ROOT / file).read_text() for mark in marks)} == set()


@pytest.mark.parametrize(
    ("edit", "fields", "problem"),
    [
        (GIVEN, {}, "times, not once"),
        (Edit("operator/scoped_secrets/names.py", "no such text", ""), {}, "0 times, not once"),
        (Edit("operator/scoped_secrets/nowhere.py", "a", ""), {}, "does not exist"),
        (Edit("tests/conftest.py", "ENVIRONMENT = ", ""), {}, "is not below operator/"),
        (Edit("operator/scoped_secrets/__main__.py", "__main__", "__main__"), {}, "is the text itself"),
        (Edit("operator/scoped_secrets/clock.py", "return", "pass"), {"id": "Two words"}, "an id is"),
        (Edit("operator/scoped_secrets/clock.py", "return", "pass"), {"result": "Nothing"}, "are sentences"),
    ],
)  # fmt: skip
def test_a_broken_entry_is_reported(edit: Edit, fields: dict[str, str], problem: str):
    found = list(problems((attack(edit, **fields),)))

    assert any(problem in each for each in found), found


def test_an_edit_that_does_not_fit_is_refused(tmp_path: Path):
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds" / "a.yaml").write_text("a a b")

    with pytest.raises(MutantError, match="2 times, not once"):
        Edit("crds/a.yaml", "a", "c").apply(tmp_path)
    Edit("crds/a.yaml", "b", "c").apply(tmp_path)
    assert (tmp_path / "crds" / "a.yaml").read_text() == "a a c"


def test_processes_of_a_copy_import_the_mutated_code(tmp_path: Path):
    copy_tree(tmp_path)
    Edit("operator/scoped_secrets/clock.py", '"""The wall clock', 'MUTANT = True\n"""The wall clock').apply(tmp_path)
    script = "import scoped_secrets.clock as clock, pytest; print(clock.__file__, clock.MUTANT)"

    # As tests start the operator: without a variable that could bring the code of this repository.
    command = [str(tmp_path / ".venv" / "bin" / "python"), "-c", script]
    found = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False)

    assert found.stderr == ""
    assert found.stdout.split() == [str(tmp_path / "operator" / "scoped_secrets" / "clock.py"), "True"]
    assert not (tmp_path / ".git").exists()


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("def test_a(): assert False", Verdict.KILLED),
        ("def test_a(): pass", Verdict.SURVIVED),
        ("import pytest\ndef test_a(): pytest.skip('no')", Verdict.BROKEN),
        ("import nowhere", Verdict.BROKEN),
        ("import pytest\n@pytest.fixture\ndef a(): raise OSError\ndef test_a(a): pass", Verdict.BROKEN),
        ("def a(): pass", Verdict.BROKEN),
    ],
)
def test_only_a_failed_test_kills_a_mutant(test: str, expected: Verdict, tmp_path: Path):
    (tmp_path / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-rfEs", "-p", "no:cacheprovider", "-c", "/dev/null", "test_it.py"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert _verdict(done.returncode, done.stdout) == expected
