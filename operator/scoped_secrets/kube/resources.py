"""The resources that the operator watches, and the kinds of objects that an inventory is built from."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from scoped_secrets import names

__all__ = ["PODS", "RESOURCES", "Kind", "Resource"]


class Resource(NamedTuple):
    """A resource of the Kubernetes API."""

    group: str
    version: str
    plural: str


class Kind(StrEnum):
    """A kind of object that an inventory is built from."""

    NAMESPACE = "Namespace"
    SCOPED_SECRET = names.SCOPED_SECRET_KIND
    SECRET_POLICY = names.SECRET_POLICY_KIND


PODS: Final = Resource("", "v1", "pods")

RESOURCES: Final[Mapping[Kind, Resource]] = {
    Kind.NAMESPACE: Resource("", "v1", "namespaces"),
    Kind.SCOPED_SECRET: Resource(names.GROUP, names.VERSION, names.SCOPED_SECRET_PLURAL),
    Kind.SECRET_POLICY: Resource(names.GROUP, names.VERSION, names.SECRET_POLICY_PLURAL),
}
"""The resource of each kind."""
