"""The project's own manifests, as ``scoped-secrets run --install`` applies them.

There is one copy of them, ``manifests/``: beside the source root in a checkout, inside the package in a wheel.
"""

from pathlib import Path
from typing import Any

import yaml

import scoped_secrets
from scoped_secrets.errors import ConfigurationError

__all__ = ["read_manifest"]


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
