"""The cluster's programs are built once, completely or not at all, and the build says what it does.

A small program stands in for Go, which would need minutes; the fixtures of the cluster's other tests
go through the real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.build import HELM, KUBECTL, KUBERNETES, PROGRAMS, GoModule, built_assets
from tests.cluster.errors import AssetsError
from tests.cluster.processes import wait_until
from tests.cluster.run_directory import REPOSITORY

GO = """#!/bin/sh
echo "$1" >> "$GO_CALLS"
case "$1" in
env) echo "$GO_VERSION" ;;
list) echo "go: downloading example.com/module v1.0.0" >&2; printf 'one\\ntwo\\n' ;;
build)
  echo one >&2
  if [ -n "$GO_FAILURE" ]; then echo "$GO_FAILURE" >&2; exit 1; fi
  while [ -e "$GO_WAIT" ]; do sleep 0.05; done
  echo two >&2
  while [ "$1" != -o ]; do shift; done
  echo binary > "$2"
  ;;
esac
"""
BUILD = """
import os
from tests.cluster.build import built_assets
print(built_assets(os.environ))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    return {
        "PATH": f"{go.parent}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "GO_CALLS": str(tmp_path / "calls"),
        "GO_VERSION": "go1.99.0",
        "GO_WAIT": str(tmp_path / "wait"),
    }


def calls(environment: dict[str, str]) -> list[str]:
    path = Path(environment["GO_CALLS"])
    return path.read_text().split() if path.exists() else []


def start_build(environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_the_programs_are_links_to_one_binary_in_the_cache(environment: dict[str, str]):
    folder = built_assets(environment)

    assert folder.is_relative_to(Path(environment["HOME"]) / ".cache" / "scoped-secrets")
    assert {path.name for path in folder.iterdir()} == {*PROGRAMS, "kubernetes"}
    assert all((folder / name).read_text() == "binary\n" for name in PROGRAMS)


def test_xdg_cache_home_is_honoured(environment: dict[str, str], tmp_path: Path):
    environment["XDG_CACHE_HOME"] = str(tmp_path / "other")

    assert built_assets(environment).is_relative_to(tmp_path / "other")


def test_a_second_run_builds_nothing(environment: dict[str, str]):
    folder = built_assets(environment)

    assert built_assets(environment) == folder
    assert calls(environment).count("build") == 1


def test_another_version_of_go_builds_again(environment: dict[str, str]):
    folder = built_assets(environment)

    assert built_assets({**environment, "GO_VERSION": "go1.99.1"}) != folder


def test_build_reports_progress(environment: dict[str, str], capsys: pytest.CaptureFixture[str]):
    built_assets(environment)

    told = capsys.readouterr().err
    assert "building Kubernetes 1." in told
    assert "modules: done after 0:00, 1 in all" in told
    assert "compile: done after 0:00, 2 in all" in told


@pytest.mark.parametrize(
    ("module", "program", "title"), [(HELM, "helm", "building helm 4."), (KUBECTL, "kubectl", "building kubectl alone")]
)
def test_other_programs_are_built_from_modules_of_their_own(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str], module: GoModule, program: str, title: str
):
    folder = built_assets(environment, module)

    assert [path.name for path in folder.iterdir()] == [program]
    assert title in capsys.readouterr().err
    assert built_assets(environment) != folder
    assert module.is_complete(folder)
    assert built_assets(environment, module) == folder
    assert calls(environment).count("build") == 2


def test_kubectl_alone_has_the_version_of_the_cluster():
    assert KUBECTL.version().partition(".")[2] == KUBERNETES.version().partition(".")[2]


def test_missing_go_is_a_one_line_error(environment: dict[str, str], tmp_path: Path):
    environment["PATH"] = str(tmp_path)

    with pytest.raises(AssetsError, match=r"^Go is not installed: install Go 1\.\S+ or newer") as told:
        built_assets(environment)

    assert "\n" not in str(told.value)


def test_without_go_an_earlier_build_is_used(environment: dict[str, str], tmp_path: Path):
    folder = built_assets(environment)

    assert built_assets({**environment, "PATH": str(tmp_path)}) == folder


def test_old_go_is_a_one_line_error(environment: dict[str, str]):
    environment["GO_VERSION"] = "go1.21.13"

    with pytest.raises(AssetsError, match=r"^Go is too old \(1\.21\.13\): install Go 1\.") as told:
        built_assets(environment)

    assert "\n" not in str(told.value)
    assert "build" not in calls(environment)


def test_failed_build_prints_its_last_lines_and_leaves_no_files(environment: dict[str, str]):
    environment["GO_FAILURE"] = "main.go:1: a mistake"

    with pytest.raises(AssetsError, match=r"`go build` failed:\none\nmain\.go:1: a mistake"):
        built_assets(environment)

    cache = Path(environment["HOME"]) / ".cache" / "scoped-secrets" / "cluster"
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_concurrent_builds_share_one_result(environment: dict[str, str]):
    wait = Path(environment["GO_WAIT"])
    wait.touch()
    first = start_build(environment)
    wait_until(lambda: "build" in calls(environment), "the first build runs", seconds=20)
    second = start_build(environment)
    assert second.stderr is not None
    line = second.stderr.readline()
    wait.unlink()
    outputs = [process.communicate(timeout=20) for process in (first, second)]

    assert "another process is building the same programs" in line
    assert outputs[0][0] == outputs[1][0]
    assert calls(environment).count("build") == 1


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_build_starts_again(environment: dict[str, str], ending: signal.Signals):
    wait = Path(environment["GO_WAIT"])
    wait.touch()
    interrupted = start_build(environment)
    wait_until(lambda: "build" in calls(environment), "the build runs", seconds=20)
    os.kill(interrupted.pid, ending)
    interrupted.communicate(timeout=20)
    wait.unlink()

    folder = built_assets(environment)

    assert KUBERNETES.is_complete(folder)
    assert calls(environment).count("build") == 2
    # A build that was killed cannot tidy up; the next one does.
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
