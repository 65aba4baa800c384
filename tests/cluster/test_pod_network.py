"""Clusters beside each other have different addresses for their pods."""

from __future__ import annotations

import secrets
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.cluster.errors import StartError
from tests.cluster.pod_network import PodNetwork
from tests.cluster.run_directory import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path


def test_each_cluster_gets_a_range_that_no_other_has():
    taken: set[str] = set()

    def reserve(name: str) -> bool:
        is_free = name not in taken
        taken.add(name)
        return is_free

    networks = [PodNetwork.choose(reserve) for _ in range(256)]

    assert len({network.range for network in networks}) == 256
    with pytest.raises(StartError, match="other clusters have all addresses"):
        PodNetwork.choose(reserve)


def test_a_name_is_reserved_until_its_run_directory_is_closed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    name = f"test-{secrets.token_hex(8)}"
    first, second = RunDirectory.create("test"), RunDirectory.create("test")
    try:
        assert first.reserve(name)
        assert not second.reserve(name)
        first.close()
        assert second.reserve(name)
    finally:
        first.close()
        second.close()
