"""The software bill of materials that `make sbom` writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 200


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# It installs every locked package, which the inner loop does not wait for.
@pytest.mark.e2e
def test_sbom_lists_every_locked_package_with_licence_and_dependents(tmp_path: Path):
    sbom = tmp_path / "sbom.json"
    variables = (f"SBOM={sbom}", f"BIN={Path(sys.executable).parent}", f"PYTHON={sys.executable}")

    # Set-up is done: it is what runs this test.
    made = subprocess.run(
        ["make", "-o", "setup", "sbom", *variables],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert made.returncode == 0, made.stdout + made.stderr
    content = json.loads(sbom.read_text())
    lock = (ROOT / "requirements.lock").read_text()
    locked = set(re.findall(r"(?m)^([A-Za-z0-9._-]+)==(\S+)", lock))
    components = {(normalized(one["name"]), one["version"]) for one in content["components"]}
    assert components == {(normalized(name), version) for name, version in locked}
    assert all(one["purl"].startswith("pkg:pypi/") for one in content["components"])
    assert [one["name"] for one in content["components"] if not one.get("licenses")] == []
    main = content["metadata"]["component"]
    assert main["name"] == "scoped-secrets"
    needs = {one["ref"]: one.get("dependsOn", []) for one in content["dependencies"]}
    assert any(need.startswith("kopf==") for need in needs[main["bom-ref"]])
