"""Write what follows from the chart: ``python -m tests.chart.generate`` (``make chart``).

``manifests/`` is what the chart renders with its defaults, without the labels that only helm needs; the table in the
chart's README is made from the comments of its values; its definitions are those of ``crds/``, and the annotations that
its policy knows are those of ``names.py``. A test compares them.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from scoped_secrets import names
from scoped_secrets.api.crds import render_crds
from scoped_secrets.core.policy.issuer_presets import PRESETS
from tests.chart.helm import CHART, ROOT, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

HEADER = "# Generated from the chart with its default values by `make chart`; do not edit.\n"
ANNOTATIONS_HEADER = "# Generated from operator/scoped_secrets/names.py by `make chart`; do not edit.\n"
PRESETS_HEADER = (
    "# Generated from operator/scoped_secrets/core/policy/issuer_presets.py by `make chart`; do not edit.\n"
)
# Only helm looks at these; whoever applies manifests is another manager.
HELMS_OWN = re.compile(r"^ +(app\.kubernetes\.io/managed-by: Helm|helm\.sh/chart: .*)\n", re.MULTILINE)
SOURCE = re.compile(r"^# Source: scoped-secrets/templates/(\S+)\n", re.MULTILINE)

# Every template with its file, in the order in which a file has them. Definitions are in crds/.
MANIFESTS: Mapping[str, Sequence[str]] = {
    "10-roles.yaml": (
        "controller/serviceaccount.yaml",
        "admission/serviceaccount.yaml",
        "controller/rbac.yaml",
        "admission/rbac.yaml",
        "public-key.yaml",
        "aggregated-roles.yaml",
    ),
    "20-controller.yaml": ("controller/deployment.yaml", "controller/poddisruptionbudget.yaml"),
    "30-admission.yaml": (
        "admission/service.yaml",
        "admission/trusted-issuers.yaml",
        "admission/deployment.yaml",
        "admission/poddisruptionbudget.yaml",
    ),
    "40-webhooks.yaml": ("webhooks.yaml",),
    "45-injected.yaml": ("injected.yaml",),
    "50-metrics.yaml": ("metrics.yaml",),
    "60-opt-in-warnings.yaml": ("opt-in-warnings.yaml",),
    "70-guard.yaml": ("guard.yaml",),
    "80-network-policies.yaml": ("networkpolicies.yaml",),
}
VALUE_FROM = "value-from.yaml"
VALUE_FROM_HEADER = """\
# Generated from the chart by `make chart`; do not edit.
#
# The role for `valueFrom.secretKeyRef`: the controller reads the native Secrets that ScopedSecrets name. It is off by
# default; apply it with "kubectl apply -f manifests/optional/value-from.yaml".
#
# Consider the consequences. The controller may then get every Secret of the cluster by name. A user who may create or
# change a ScopedSecret in a namespace can have the Secrets of that namespace delivered into jobs of its scope: the
# right to edit ScopedSecrets includes the right to read the Secrets next to them.
"""
VALUE_FROM_FOOTER = """\
# For one namespace instead of the cluster, apply the following instead, with `resourceNames` if you know them:
#
"""
TABLE_BEGIN, TABLE_END = "<!-- values: begin -->\n", "<!-- values: end -->\n"


def main() -> int:
    """Write every generated file that differs, and say which."""
    # The chart renders these files; the manifests follow from them.
    (CHART / "files" / "pod-annotations.yaml").write_text(pod_annotations(), encoding="utf-8")
    (CHART / "files" / "issuer-presets.yaml").write_text(issuer_presets(), encoding="utf-8")
    for path, text in generated().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))  # noqa: T201 - what a person wants to know
    return 0


def generated() -> dict[Path, str]:
    """Return the content of every file that follows from the chart or goes into it."""
    readme = CHART / "README.md"
    return {
        **{CHART / "files" / "crds" / name: text for name, text in render_crds().items()},
        CHART / "files" / "pod-annotations.yaml": pod_annotations(),
        CHART / "files" / "issuer-presets.yaml": issuer_presets(),
        **manifests(),
        readme: with_table(readme.read_text(encoding="utf-8"), (CHART / "values.yaml").read_text(encoding="utf-8")),
    }


def pod_annotations() -> str:
    """Return the annotations that have a meaning on a pod, by who writes them, for the chart's policy."""
    by_writer = {"author": names.AUTHOR_ANNOTATIONS, "admission": names.ADMISSION_ANNOTATIONS}
    return ANNOTATIONS_HEADER + "".join(
        f"{writer}:\n" + "".join(f"- {annotation}\n" for annotation in annotations)
        for writer, annotations in by_writer.items()
    )


def issuer_presets() -> str:
    """Return the kinds that presets of trusted issuers read, for the chart's role."""
    owners = {
        name: [{"apiVersion": kind.api_version, "kind": kind.kind, "resource": kind.resource} for kind in preset.owners]
        for name, preset in PRESETS.items()
        if preset.owners
    }
    return PRESETS_HEADER + yaml.safe_dump(owners, sort_keys=False)


def manifests() -> dict[Path, str]:
    """Return the files of ``manifests/`` that are rendered."""
    folder = ROOT / "manifests"
    parts = _by_template({"crds": {"install": False}})
    unknown = set(parts) - {template for templates in MANIFESTS.values() for template in templates}
    if unknown:
        raise ValueError(f"no manifest takes {', '.join(sorted(unknown))}: add it to MANIFESTS")
    files = {
        folder / name: HEADER + "---\n".join("---\n".join(parts[template]) for template in templates)
        for name, templates in MANIFESTS.items()
    }
    return {**files, folder / "optional" / VALUE_FROM: _value_from()}


def _value_from() -> str:
    whole = _by_template({"valueFrom": {"enabled": True}})[VALUE_FROM]
    one = _by_template({"valueFrom": {"enabled": True, "namespaces": ["acme-web"]}})[VALUE_FROM]
    # What the template itself says is already said above.
    documents = [re.sub(r"\A(#.*\n)+", "", document) for document in whole]
    optional = "---\n".join(re.sub(r"\A(#.*\n)+", "", document) for document in one)
    commented = "".join(f"# {line}\n" for line in optional.splitlines())
    return VALUE_FROM_HEADER + "---\n".join(documents) + VALUE_FROM_FOOTER + commented


def _by_template(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the rendered documents as text, with their comments, by template."""
    parts: dict[str, list[str]] = {}
    for document in re.split(r"^---\n", rendered(values, "--skip-tests").output, flags=re.MULTILINE):
        found = SOURCE.search(document)
        if found is not None:
            text = HELMS_OWN.sub("", document[found.end() :]).strip("\n") + "\n"
            parts.setdefault(found[1], []).append(text)
    return parts


@dataclass(frozen=True, slots=True)
class Value:
    """One value that can be set: its path, its default as people write it, and its comment."""

    path: str
    default: str
    comment: str

    def row(self) -> str:
        """Return its line of the table."""
        return f"| `{self.path}` | `{self.default}` | {self.comment} |\n"


def with_table(readme: str, values: str) -> str:
    """Return a README whose table is the one of these values."""
    before, _, rest = readme.partition(TABLE_BEGIN)
    _, _, after = rest.partition(TABLE_END)
    table = "| value | default | meaning |\n| --- | --- | --- |\n" + "".join(one.row() for one in described(values))
    return f"{before}{TABLE_BEGIN}{table}{TABLE_END}{after}"


def described(values: str) -> list[Value]:
    """Return every value of a values file with its comment, in the file's order.

    A mapping whose keys have comments is a group; any other key is one value, and has a comment of its own.

    Raises:
        ValueError: A value has no comment; which one.
    """
    return list(_described(yaml.compose(values), values.splitlines(), ""))


def _described(node: Any, lines: Sequence[str], prefix: str) -> Iterator[Value]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        comment = _comment(lines, key.start_mark.line)
        if comment is None:
            if not isinstance(value, yaml.MappingNode) or not value.value:
                raise ValueError(f"{path} has no comment in values.yaml")
            yield from _described(value, lines, f"{path}.")
        else:
            yield Value(path, _written(value), comment)


def _comment(lines: Sequence[str], line: int) -> str | None:
    """Return the comment directly above a line, as one line."""
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("# "):
        line -= 1
        found.insert(0, lines[line].lstrip().removeprefix("# "))
    return " ".join(found) or None


def _written(node: Any) -> str:
    return json.dumps(yaml.safe_load(yaml.serialize(node)), ensure_ascii=False, separators=(", ", ": "))


if __name__ == "__main__":
    sys.exit(main())
