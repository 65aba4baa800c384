"""Opens the sealed texts of objects, of both formats, as only the controller can."""

from collections.abc import Mapping
from typing import Any

from scoped_secrets.crypto.data_keys import named_data_key, open_data_key
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import SealingContext, unseal


def open_text(spec: Mapping[str, Any], text: str, context: SealingContext, keys: KeyRing) -> bytes:
    """Return the value of a sealed text of a spec, which has its data key if it needs one."""
    data_key_id = named_data_key(text)
    if data_key_id is None:
        return unseal(text, context, keys).reveal()
    (sealed,) = (each["sealed"] for each in spec["dataKeys"] if each["id"] == data_key_id)
    return open_data_key(data_key_id, sealed, context, keys).unseal(text, context).reveal()
