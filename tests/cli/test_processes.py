"""The processes of the operator, as far as they start without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES = ("controller", "admission", "run")


def kubeconfig(folder: Path, **user: Any) -> Path:
    """Return the kubeconfig of a user of a server that no process reaches."""
    path = folder / "kubeconfig"
    context = {"cluster": "here", "user": "jane"}
    content = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": context}],
        "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "jane", "user": {"token": "t", **user}}],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_refuses_a_kubeconfig_that_impersonates(tmp_path: Path, process: str):
    path = kubeconfig(tmp_path, **{"as": "alice", "as-groups": ["a"]})
    environment = {**os.environ, "KUBECONFIG": str(path)}
    program = [sys.executable, "-m", "scoped_secrets", process]

    ended = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == (
        f"Error: the kubeconfig '{path}' has `as` in its user, and the operator's processes do not impersonate; give "
        "the rights to the user itself, or name another kubeconfig with --kubeconfig\n"
    )
