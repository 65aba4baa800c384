"""The kubectl plugin for krew: its manifest, and the archive that `make krew` builds."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "operator" / "krew" / "scoped-secrets.yaml"
HOMEPAGE, URI = "https://example.org/scoped-secrets", "https://example.org/kubectl-scoped_secrets.tar.gz"
SECONDS = 250
# What krew fills in itself for the name of a plugin: kubectl finds a program with a dash by an underscore.
BINARY = "kubectl-scoped_secrets"


def check_manifest(manifest: dict[str, Any]) -> None:
    """Check what `krew` validates before it installs a plugin."""
    assert manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert manifest["kind"] == "Plugin"
    assert re.fullmatch(r"[\w-]+", manifest["metadata"]["name"])
    assert MANIFEST.stem == manifest["metadata"]["name"]
    assert "kubectl-" + manifest["metadata"]["name"].replace("-", "_") == BINARY
    spec = manifest["spec"]
    assert 0 < len(spec["shortDescription"]) <= 80
    assert "\n" not in spec["shortDescription"]
    [platform] = spec["platforms"]
    assert platform["bin"] == BINARY
    [expression] = platform["selector"]["matchExpressions"]
    assert expression == {"key": "os", "operator": "In", "values": ["darwin", "linux"]}


def test_manifest_is_valid_and_names_the_program_of_the_package():
    text = MANIFEST.read_text()
    check_manifest(yaml.safe_load(text))
    assert sorted(re.findall(r"\$\{(\w+)\}", text)) == ["HOMEPAGE", "SHA256", "URI", "VERSION"]
    assert BINARY in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert (MANIFEST.parent / BINARY).stat().st_mode & 0o111


def test_release_without_addresses_is_refused():
    made = subprocess.run(["make", "-o", "setup", "krew"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "HOMEPAGE= must be the page of the project" in made.stderr


# It installs every locked package, which the inner loop does not wait for.
@pytest.mark.e2e
def test_archive_has_the_program_of_the_manifest_and_it_runs_through_a_link(tmp_path: Path):
    variables = (f"KREW={tmp_path / 'krew'}", f"BIN={Path(sys.executable).parent}", f"HOMEPAGE={HOMEPAGE}")
    made = subprocess.run(
        ["make", "-o", "setup", "krew", *variables, f"URI={URI}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    archive = tmp_path / "krew" / "kubectl-scoped_secrets.tar.gz"
    manifest = yaml.safe_load((tmp_path / "krew" / "scoped-secrets.yaml").read_text())
    check_manifest(manifest)
    [platform] = manifest["spec"]["platforms"]
    assert (platform["uri"], manifest["spec"]["homepage"]) == (URI, HOMEPAGE)
    assert platform["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert re.fullmatch(r"v\d+\.\d+\.\d+", manifest["spec"]["version"])

    # As krew does it: a folder of its own, and a link in a folder of PATH.
    store, link = tmp_path / "store", tmp_path / BINARY
    with tarfile.open(archive) as content:
        content.extractall(store, filter="data")
    link.symlink_to(store / BINARY)
    for _ in range(2):
        shown = subprocess.run([link, "--version"], capture_output=True, text=True, check=False, timeout=SECONDS)
        assert shown.returncode == 0, shown.stderr
        assert f"version {manifest['spec']['version'].removeprefix('v')}" in shown.stdout
    assert shown.stderr == ""
