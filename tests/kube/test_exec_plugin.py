"""Programs of kubeconfigs that print credentials run as under kubectl, and nothing of their output is shown."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.credentials import read_access

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "client.authentication.k8s.io/v1"
CANARY = "canary-91bb"


def credential(**status: str) -> str:
    return json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status})


ONE = credential(token="one")  # noqa: S106 - the token of no one.


def kubeconfig(folder: Path, script: str, user: dict[str, Any] | None = None, **plugin: Any) -> str:
    program = folder / "plugin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(stat.S_IRWXU)
    described = {"apiVersion": VERSION, "command": "./plugin", "interactiveMode": "Never", **plugin}
    content = {
        "current-context": "only",
        "contexts": [{"name": "only", "context": {"cluster": "only", "user": "only"}}],
        "clusters": [
            {
                "name": "only",
                "cluster": {
                    "server": "https://api.example:6443",
                    "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "us"}}],
                },
            }
        ],
        "users": [{"name": "only", "user": {"exec": described, **(user or {})}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content))
    return str(path)


def prints(text: str) -> str:
    return f"cat <<'END'\n{text}\nEND"


def test_a_program_prints_a_token(tmp_path: Path):
    access = read_access(kubeconfig(tmp_path, prints(ONE)))

    assert access is not None
    assert access.authorization == SecretValue(b"Bearer one")


def test_a_program_prints_a_certificate(tmp_path: Path):
    printed = credential(clientCertificateData="certificate", clientKeyData="key")

    access = read_access(kubeconfig(tmp_path, prints(printed)))

    assert access is not None
    assert access.certificate == (SecretValue(b"certificate"), SecretValue(b"key"))
    assert access.authorization is None


def test_a_token_of_the_file_comes_first_and_no_program_runs(tmp_path: Path):
    path = kubeconfig(tmp_path, "touch ran", user={"token": "own"})

    access = read_access(path)

    assert access is not None
    assert access.authorization == SecretValue(b"Bearer own")
    assert not (tmp_path / "ran").exists()


def test_the_program_gets_arguments_environment_and_the_cluster(tmp_path: Path):
    log = tmp_path / "log"
    script = f'printf "%s\\n" "$1" "$EXTRA" "$KUBERNETES_EXEC_INFO" > {log}\n' + prints(ONE)
    extra = [{"name": "EXTRA", "value": "more"}]

    read_access(kubeconfig(tmp_path, script, args=["get-token"], env=extra, provideClusterInfo=True))

    argument, variable, information = log.read_text().splitlines()
    assert (argument, variable) == ("get-token", "more")
    assert json.loads(information) == {
        "apiVersion": VERSION,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {"server": "https://api.example:6443", "config": {"audience": "us"}},
        },
    }


@pytest.mark.parametrize(
    "script",
    [
        f"echo {CANARY}",
        f"echo {CANARY}; exit 3",
        prints(json.dumps({"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential"})),
        prints(json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": {"token": ""}})),
        prints(json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": {"token": [CANARY]}})),
        prints(credential(clientCertificateData=CANARY)),
        prints(json.dumps([CANARY])),
    ],
)
def test_what_is_no_credential_is_an_error_that_does_not_show_it(tmp_path: Path, script: str):
    with pytest.raises(ConfigurationError, match=r"'\./plugin' of the kubeconfig prints no credentials") as caught:
        read_access(kubeconfig(tmp_path, script))

    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_missing_program_is_an_error_with_the_hint_of_the_kubeconfig(tmp_path: Path):
    path = kubeconfig(tmp_path, "true", command="no-such-program-here", installHint="Install it from\nexample.test")

    with pytest.raises(ConfigurationError, match=r"cannot be started; Install it from example\.test") as caught:
        read_access(path)

    assert caught.value.__context__ is None


def test_a_program_that_needs_a_terminal_does_not_run_without_one(tmp_path: Path):
    path = kubeconfig(tmp_path, "touch ran", interactiveMode="Always")
    program = f"from scoped_secrets.kube.credentials import read_access; read_access({path!r})"

    ended = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert "use a terminal" in ended.stderr
    assert not (tmp_path / "ran").exists()


def test_ctrl_c_of_the_program_ends_the_command(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        read_access(kubeconfig(tmp_path, "kill -INT $$"))


def test_a_name_without_a_slash_is_looked_up_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = kubeconfig(tmp_path, prints(ONE), command="plugin")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    access = read_access(path)

    assert access is not None
    assert access.authorization == SecretValue(b"Bearer one")
