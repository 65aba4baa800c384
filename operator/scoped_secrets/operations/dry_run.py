"""How far a write goes: it is stored, checked by admission, or only printed."""

from enum import StrEnum
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.kube.client import Body

__all__ = ["DryRun", "manifest_of"]

_WRITTEN: Final = ("name", "namespace", "labels", "annotations")


class DryRun(StrEnum):
    """A write that stores nothing, as in kubectl.

    Attributes:
        CLIENT: Nothing is sent; the result is what would be sent.
        SERVER: The API server and admission check it; the result is what they would store.
    """

    CLIENT = "client"
    SERVER = "server"


def manifest_of(body: Body) -> dict[str, Any]:
    """Return an object as a person keeps it in Git: without its status and without what the API server adds."""
    metadata = {key: body["metadata"][key] for key in _WRITTEN if body["metadata"].get(key)}
    if "annotations" in metadata:
        # kubectl's copy repeats the whole object, as it was before.
        kept = {name: text for name, text in metadata["annotations"].items() if name != names.LAST_APPLIED_ANNOTATION}
        metadata = {key: value for key, value in metadata.items() if key != "annotations"}
        metadata |= {"annotations": kept} if kept else {}
    written = {key: value for key, value in body.items() if key not in ("status", "metadata", "spec")}
    return {**written, "metadata": metadata, "spec": body["spec"]}
