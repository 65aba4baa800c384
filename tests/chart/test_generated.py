"""Everything that follows from the chart, or goes into it from elsewhere, is up to date."""

from __future__ import annotations

import pytest
import yaml

from tests.chart.generate import MANIFESTS, described, generated, with_table
from tests.chart.helm import CHART, ROOT, rendered

# helm is built from its Go module, as the test cluster is.
pytestmark = pytest.mark.integration


def test_generated_files_match_the_committed_ones():
    different = [
        str(path.relative_to(ROOT))
        for path, text in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]

    assert different == [], "run make chart"


def test_chart_contains_the_committed_crds():
    for path in (ROOT / "crds").glob("*.yaml"):
        assert (CHART / "files" / "crds" / path.name).read_text() == path.read_text()
    rendered_specs = {one["metadata"]["name"]: one["spec"] for one in rendered().documents if "Custom" in one["kind"]}
    committed = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")]
    assert rendered_specs == {one["metadata"]["name"]: one["spec"] for one in committed}


def test_manifests_are_the_rendered_defaults_without_helm_metadata():
    manifests = [
        document for name in MANIFESTS for document in yaml.safe_load_all((ROOT / "manifests" / name).read_text())
    ]
    defaults = rendered({"crds": {"install": False}}, "--skip-tests").documents
    for document in defaults:
        for label in ("app.kubernetes.io/managed-by", "helm.sh/chart"):
            del document["metadata"]["labels"][label]

    def order(document: dict[str, object]) -> str:
        return str((document["kind"], document["metadata"]))

    assert sorted(manifests, key=order) == sorted(defaults, key=order)


def test_kustomization_lists_every_manifest():
    kustomization = yaml.safe_load((ROOT / "manifests" / "kustomization.yaml").read_text())

    assert kustomization["resources"] == sorted(path.name for path in (ROOT / "manifests").glob("[0-9]*.yaml"))


def test_check_finds_a_value_without_a_comment():
    with pytest.raises(ValueError, match=r"image\.tag has no comment"):
        described("image:\n  # Where.\n  repository: a\n  tag: ''\n")


def test_readme_table_lists_every_value_with_its_comment():
    values = "# One.\none: 1\ngroup:\n  # Two lines\n  # of text.\n  two: {a: b}\n"

    readme = with_table("before\n<!-- values: begin -->\nold\n<!-- values: end -->\nafter\n", values)

    assert "old" not in readme
    assert '| `one` | `1` | One. |\n| `group.two` | `{"a": "b"}` | Two lines of text. |\n' in readme
    assert readme.startswith("before\n")
    assert readme.endswith("after\n")
