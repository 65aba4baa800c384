"""Find the cluster to use, or the programs to start one, in the order that the ecosystem knows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.build import HELM, built_assets
from tests.cluster.errors import AssetsError

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUIRED_PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
HELM_VERSION = re.compile(r"v4\.\d")


@dataclass(frozen=True, slots=True)
class Assets:
    """A folder with the programs of a cluster."""

    folder: Path

    def has(self, program: str) -> bool:
        """Tell whether the folder holds a program; only the required ones are always there."""
        return (self.folder / program).exists()

    def program(self, name: str) -> str:
        """Return the path of a program.

        Raises:
            AssetsError: The folder does not hold it.
        """
        if not self.has(name):
            raise AssetsError(f"{self.folder} has no {name}: add it, or unset KUBEBUILDER_ASSETS")
        return str(self.folder / name)


def find_assets(environment: Mapping[str, str]) -> Assets:
    """Return the programs that KUBEBUILDER_ASSETS names, otherwise our own, built when need be.

    Raises:
        AssetsError: The folder lacks a program, or the build is not possible.
    """
    named = environment.get("KUBEBUILDER_ASSETS")
    assets = Assets(Path(named).resolve() if named else built_assets(environment))
    for program in REQUIRED_PROGRAMS:
        assets.program(program)
    return assets


def existing_kubeconfig(environment: Mapping[str, str]) -> Path | None:
    """Return the kubeconfig of the existing cluster that the person chose, if they chose one.

    USE_EXISTING_CLUSTER=true is the choice and KUBECONFIG names the cluster. There is no default: a
    test run that falls back to the kubeconfig in the home folder writes into somebody's cluster.

    Raises:
        AssetsError: The choice was made, but KUBECONFIG names no file.
    """
    if environment.get("USE_EXISTING_CLUSTER", "").lower() != "true":
        return None
    kubeconfig = environment.get("KUBECONFIG", "")
    if not kubeconfig or not Path(kubeconfig).is_file():
        raise AssetsError(
            "USE_EXISTING_CLUSTER is true, but KUBECONFIG names no file: set it to the kubeconfig of "
            "the cluster that the tests may write to"
        )
    return Path(kubeconfig).resolve()


def find_kubectl(environment: Mapping[str, str]) -> str:
    """Return a kubectl for an existing cluster: of KUBEBUILDER_ASSETS, of PATH, or built.

    Raises:
        AssetsError: There is none and it cannot be built.
    """
    if not environment.get("KUBEBUILDER_ASSETS"):
        found = shutil.which("kubectl", path=environment.get("PATH"))
        if found is not None:
            return found
    return find_assets(environment).program("kubectl")


def helm_binary(environment: Mapping[str, str] = os.environ) -> Path:
    """Return a helm of version 4: the one that HELM_BINARY names, the one on PATH, otherwise our own build.

    Raises:
        AssetsError: HELM_BINARY names none of version 4, or the build is not possible.
    """
    named = environment.get("HELM_BINARY")
    if named:
        if not _is_helm(named, environment):
            raise AssetsError("HELM_BINARY names no helm of version 4: correct it, or unset it to have one built")
        return Path(named).resolve()
    found = shutil.which("helm", path=environment.get("PATH"))
    if found is not None and _is_helm(found, environment):
        return Path(found)
    return built_assets(environment, HELM) / HELM.binary


def _is_helm(program: str, environment: Mapping[str, str]) -> bool:
    """Tell whether a program says that it is helm 4; an older one applies the chart in another way."""
    arguments = [program, "version", "--template={{.Version}}"]
    try:
        result = subprocess.run(
            arguments, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return result.returncode == 0 and HELM_VERSION.match(result.stdout.strip()) is not None
