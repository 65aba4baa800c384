"""Makes the bodies of a pod's bundle Secrets from a bundle layout (DESIGN section 7).

Plaintext exists only while one body is made and sent.
"""

import base64
from collections.abc import Iterator, Mapping

from scoped_secrets import names
from scoped_secrets.controller.pods import PodRecord
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.value_from import Sources
from scoped_secrets.core.decide import Granted
from scoped_secrets.core.injection.layout import BundlePart
from scoped_secrets.core.scope.slot import Slot
from scoped_secrets.redaction import RedactedDict

__all__ = ["secret_bodies"]


def secret_bodies(record: PodRecord, granted: Granted, unsealer: Unsealer, sources: Sources) -> Iterator[RedactedDict]:
    """Yield the bodies of a pod's bundle Secrets, the first part last.

    The pod's volume waits for the first part, so that no container starts before all parts exist. Each body is made
    when the caller asks for it; the caller drops it before asking for the next one.

    Raises:
        UnsealError: A value cannot be read.
    """
    slots = {
        slotted.definition.location: slotted.slot
        for applied in granted.grant.applied
        for slotted in applied.resolution.contributors
    }
    first, *others = granted.injection.layout.parts
    for part in reversed(others):
        yield _secret_body(record, part.name, _unsealed(part, slots, unsealer, sources))
    data = _unsealed(first, slots, unsealer, sources)
    data[names.RESOLUTION_FILE] = _encoded(granted.injection.resolution.encode())
    yield _secret_body(record, first.name, data)


def _unsealed(part: BundlePart, slots: Mapping[str, Slot], unsealer: Unsealer, sources: Sources) -> RedactedDict:
    return RedactedDict(
        (
            each.data_key,
            _encoded(unsealer.unseal(each.resolved, slots[each.resolved.definition.location], sources).reveal()),
        )
        for each in part.entries
    )


def _secret_body(record: PodRecord, name: str, data: RedactedDict) -> RedactedDict:
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": record.name,
        "uid": record.uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }
    return RedactedDict(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": record.namespace,
                "labels": {names.MANAGED_BY_LABEL: names.DISTRIBUTION, names.POD_UID_LABEL: record.uid},
                "ownerReferences": [owner],
            },
            "type": "Opaque",
            "immutable": True,
            "data": data,
        }
    )


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
