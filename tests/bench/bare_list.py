"""The floor of a restart: list everything page by page, decode it and hash each object.

Run in a process of its own, as the controller is. It prints its processor time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import sys
from pathlib import Path

from scoped_secrets import names
from tests.bench.api import Bare
from tests.bench.objects import KINDS, PODS_OF_ALL_NAMESPACES


async def main(kubeconfig: Path) -> None:
    """Read all kinds that the controller reads, and of pods those that it reads."""
    digests: dict[str, bytes] = {}
    async with Bare.open(kubeconfig) as bare:
        selectors = dict.fromkeys(KINDS, "") | {PODS_OF_ALL_NAMESPACES: names.INJECT_LABEL}
        for path, selector in selectors.items():
            async for page in bare.pages(path, selector=selector):
                for item in page["items"]:
                    digests[item["metadata"]["uid"]] = hashlib.sha256(json.dumps(item).encode()).digest()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"objects": len(digests), "cpu": usage.ru_utime + usage.ru_stime}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
