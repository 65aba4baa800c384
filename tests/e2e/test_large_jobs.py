"""Jobs up to the limits of DESIGN section 5 get every byte."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.e2e.lab import definition, file, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e

LARGEST_FILE = 512 * 1024
LARGEST_VARIABLE = 32 * 1024
BLOBS = 3
# More than one Secret holds, and less than Linux lets a process start with.
VARIABLES = 34


def test_a_job_larger_than_one_secret_gets_every_byte_from_several(lab: Lab):
    namespace = lab.organization().namespace("web")
    blobs = {f"/data/blob-{number}.bin": random_bytes(lab, LARGEST_FILE) for number in range(BLOBS)}
    variables = {f"VARIABLE_{number}": random_text(lab, LARGEST_VARIABLE) for number in range(VARIABLES)}
    items = list(variables.items())
    halves = [dict(items[: VARIABLES // 2]), dict(items[VARIABLES // 2 :])]
    definitions = [
        *(definition(namespace, f"blob-{number}", files=[file(*blob)]) for number, blob in enumerate(blobs.items())),
        *(definition(namespace, f"variables-{number}", env=half) for number, half in enumerate(halves)),
    ]
    # One by one: a request with all of them would be larger than the API server takes.
    for one in definitions:
        lab.define(one)
    probe = Probe()
    for name, value in variables.items():
        probe.variable(name, value)
    for path, blob in blobs.items():
        probe.file(path, blob, "600")
    run = pod_run(namespace, "large", ",".join(one["metadata"]["name"] for one in definitions), probe.hold())

    lab.start(run)
    lab.wait_until_held(run)
    existing = lab.bundle_secrets(namespace)
    lab.release(run)

    lab.finish(run)
    assert len(existing) >= 4
    spec = lab.pod(run)["spec"]
    (volume,) = (volume for volume in spec["volumes"] if "projected" in volume)
    assert {source["secret"]["name"] for source in volume["projected"]["sources"]} <= set(existing)
    from_secrets = {variable["valueFrom"]["secretKeyRef"]["name"] for variable in spec["containers"][0]["env"]}
    assert len(from_secrets) >= 2


def random_bytes(lab: Lab, size: int) -> bytes:
    """Return so many bytes that no compression makes smaller."""
    begin = lab.value().encode()
    return begin + secrets.token_bytes(size - len(begin))


def random_text(lab: Lab, size: int) -> str:
    """Return so many characters."""
    begin = lab.value()
    return begin + secrets.token_hex(size)[: size - len(begin)]
