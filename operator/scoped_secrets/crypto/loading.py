"""Loads the sealing library while a command waits for the API server."""

import importlib
import threading

__all__ = ["load_in_background"]


def load_in_background() -> None:
    """Import `crypto.primitives` in a thread; what needs it meanwhile waits for it, or gets the error of the import."""
    threading.Thread(target=importlib.import_module, args=("scoped_secrets.crypto.primitives",)).start()
