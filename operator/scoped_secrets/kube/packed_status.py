"""Packs stored statuses: as dictionaries, those of thousands of definitions would be most of the inventory's memory.

A status is JSON, compressed with the words that nearly every status has: 150 bytes instead of 800.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["pack_status", "unpack_status"]

_LEVEL: Final = 6
# Raw deflate with a window of 2 KB, which holds the words and costs little to set up.
_WINDOW_BITS: Final = -11
_MEMORY_LEVEL: Final = 5
# What occurs most stands last. A change of the words needs no migration: packed statuses are in memory only.
_WORDS: Final = (
    b'"missingEntries":[{"kind":"Env","name":""}],"envCount":1,"fileCount":1,"keyId":"","observedGeneration":1,'
    b'"shadows":["/"],{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"no other definition holds '
    b'the same slot","observedGeneration":1,"reason":"Unique","status":"False","type":"Conflicted"},'
    b'{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"no wider definition is final","observedGeneration":1,'
    b'"reason":"NotBlocked","status":"False","type":"Blocked"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":'
    b'"jobs of this scope may use it where policy allows","observedGeneration":1,"reason":"Available","status":"True",'
    b'"type":"Ready"}],"entries":[{"changedTime":"2026-01-01T00:00:00Z","fingerprint":"","kind":"File","name":"'
)


def pack_status(status: Mapping[str, Any]) -> bytes:
    """Return a status in a form that is equal for equal statuses with the same order of members."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, zdict=_WORDS)
    return packer.compress(json.dumps(status, separators=(",", ":")).encode()) + packer.flush()


def unpack_status(packed: bytes) -> Mapping[str, Any]:
    """Return what `pack_status` has packed."""
    status: Mapping[str, Any] = json.loads(zlib.decompressobj(_WINDOW_BITS, zdict=_WORDS).decompress(packed))
    return status
