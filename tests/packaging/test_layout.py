"""The layout that DESIGN sections 2 and 10 ask for, checked as files and as imports."""

import ast
import operator as imported_here
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from scoped_secrets import names, shipped_manifests

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "operator"
PACKAGE = SOURCE / "scoped_secrets"
MODULES = sorted(PACKAGE.rglob("*.py"))


def run(*command: str, directory: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_source_root_is_not_a_package():
    assert not (SOURCE / "__init__.py").exists()


def test_operator_is_the_standard_library_module_in_this_test():
    assert Path(imported_here.__file__).parent == Path(sysconfig.get_path("stdlib"))


@pytest.mark.parametrize("flags", [[], ["-P"]])
def test_operator_is_the_standard_library_module_in_a_script_at_the_root(flags):
    found = run(sys.executable, *flags, "-c", "import operator; print(operator.__file__, operator.add(1, 2))")
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [str(Path(sysconfig.get_path("stdlib")) / "operator.py"), "3"]


def test_init_file_in_the_source_root_is_detected(tmp_path):
    """The check above can fail: with the file, an interpreter that looks in the root first finds it."""
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator" / "__init__.py").touch()
    script = "import sys; sys.modules.pop('operator', None); import operator; print(operator.__file__)"
    found = run(sys.executable, "-c", script, directory=tmp_path)
    assert found.stdout.strip() == str(tmp_path / "operator" / "__init__.py")


def test_pytest_starts_as_a_module_from_the_root():
    found = run(sys.executable, "-m", "pytest", "--version")
    assert found.returncode == 0, found.stderr


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    # A process of its own: import-linter caches the graph of the packages that it has imported.
    environment = os.environ | {"PYTHONPATH": str(directory / "operator")}
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"], cwd=directory, env=environment, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("package", "statement", "contract"),
    [
        ("core", "import time", "the core is pure"),
        ("core", "import scoped_secrets.kube", "layers"),
        ("kube", "import kopf._cogs", "kopf stays behind its adapter"),
    ],
)
def test_a_forbidden_import_breaks_a_contract(tmp_path, package, statement, contract):
    shutil.copytree(PACKAGE, tmp_path / "operator" / "scoped_secrets", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "operator" / "scoped_secrets" / package / "another.py").open("a", encoding="utf-8") as module:
        module.write(f"\n{statement}  # what the contract forbids\n")

    found = lint_imports(tmp_path)

    assert found.returncode != 0
    broken = [line for line in found.stdout.splitlines() if " BROKEN" in line]
    assert any(line.startswith(contract) for line in broken), found.stdout


def texts(module: Path) -> list[tuple[int, str]]:
    """Return every text of a module that is no docstring, with its line."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    documentation = {id(statement.value) for statement in ast.walk(tree) if isinstance(statement, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


@pytest.mark.parametrize(
    "public",
    [names.GROUP, names.BUNDLE_PREFIX, names.MOUNT_PATH, names.HIDDEN_VARIABLE_PREFIX, "kubectl.kubernetes.io/"],
)
def test_public_strings_appear_in_one_module(public):
    places = [
        f"{module.relative_to(PACKAGE)}:{line}"
        for module in MODULES
        if module.name != "names.py"
        for line, text in texts(module)
        if public in text
    ]
    assert places == []


def test_search_for_public_strings_finds_seeded_strings():
    found = [text for _, text in texts(PACKAGE / "names.py")]
    assert names.GROUP in found


def test_modules_stay_small():
    lengths = {
        str(module.relative_to(PACKAGE)): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES
    }
    assert {name: length for name, length in lengths.items() if length > 420} == {}


def test_the_package_has_every_manifest_that_the_program_reads():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    read = {value for name, value in vars(shipped_manifests).items() if name.endswith("_MANIFEST")}

    assert {f"manifests/{name}": f"scoped_secrets/manifests/{name}" for name in read} == included
