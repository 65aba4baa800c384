"""The manifests that the release ships: what ``run --install`` applies, and what the doctor expects in a cluster.

There is one copy of them, ``manifests/``: beside the source root in a checkout, inside the package in a wheel.
"""

from pathlib import Path
from typing import Any, Final

import yaml

import scoped_secrets
from scoped_secrets.errors import ConfigurationError

__all__ = [
    "GUARD_MANIFEST",
    "INJECTED_MANIFEST",
    "NAMESPACE_MANIFEST",
    "OPT_IN_MANIFEST",
    "ROLES_MANIFEST",
    "WEBHOOKS_MANIFEST",
    "read_manifest",
]

NAMESPACE_MANIFEST: Final = "00-namespace.yaml"
ROLES_MANIFEST: Final = "10-roles.yaml"
WEBHOOKS_MANIFEST: Final = "40-webhooks.yaml"
INJECTED_MANIFEST: Final = "45-injected.yaml"
OPT_IN_MANIFEST: Final = "60-opt-in-warnings.yaml"
GUARD_MANIFEST: Final = "70-guard.yaml"


def read_manifest(name: str) -> list[dict[str, Any]]:
    """Return the objects of one manifest.

    Raises:
        ConfigurationError: The installation is incomplete.
    """
    package = Path(scoped_secrets.__file__).parent
    for folder in (package / "manifests", package.parent.parent / "manifests"):
        path = folder / name
        if path.is_file():
            return [document for document in yaml.safe_load_all(path.read_text()) if document]
    raise ConfigurationError(
        f"manifest {name} is missing from the installation; install {scoped_secrets.__name__} again"
    )
