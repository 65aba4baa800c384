"""Organization, project and environment secrets for Kubernetes job pods."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("scoped-secrets")
