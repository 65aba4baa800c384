"""Organization, project and environment secrets for Kubernetes job pods."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Return the version when it is asked for: to find it takes longer than a command's whole start."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version  # noqa: PLC0415 - as above.

    return version("scoped-secrets")
