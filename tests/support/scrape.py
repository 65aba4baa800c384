"""What a scrape holds, and what an expression of PromQL asks for."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_DURATION = re.compile(r"\[[^\]]*\]")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
_NAME = re.compile(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_PARTS = ("_bucket", "_count", "_sum")

FROM_OUTSIDE = {"job", "instance", "le"}
"""Labels that Prometheus itself adds, and the one of histograms."""


@dataclass
class Scrape:
    """The names of all series that may appear, and the labels and values that did."""

    families: set[str] = field(default_factory=set)
    types: dict[str, str] = field(default_factory=dict)
    labels: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (sample, given), value in self.samples.items() if sample == name and wanted <= given)

    def has(self, series: str) -> bool:
        """Tell whether a series of this name may appear."""
        return series in self.families or any(
            series == f"{family}{part}" for family, kind in self.types.items() if kind == "histogram" for part in _PARTS
        )


def parse_scrape(*texts: str) -> Scrape:
    """Read the metrics of one or several processes."""
    scrape = Scrape()
    for text in texts:
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            scrape.families.add(name)
            scrape.types[name] = family.type
            for sample in family.samples:
                scrape.labels[sample.name] |= sample.labels.keys()
                scrape.samples[sample.name, frozenset(sample.labels.items())] = sample.value
    return scrape


def names_in(expression: str) -> set[str]:
    """Return the names of the series that an expression asks for."""
    bare = _GROUPING.sub(" ", _DURATION.sub(" ", re.sub(r"\{[^}]*\}", " ", _STRING.sub('""', expression))))
    return {name for name in _NAME.findall(bare) if name.lower() not in _WORDS}


def labels_in(expression: str) -> dict[str, set[str]]:
    """Return the labels that an expression selects by, by the name of the series."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, matchers in _SELECTOR.findall(_STRING.sub('""', expression)):
        found[name] |= {label.strip() for label in re.findall(r"([a-zA-Z_]\w*)\s*[=!]", matchers)}
    return found


def groupings_in(expression: str) -> set[str]:
    """Return the labels that an expression groups by."""
    return {label.strip() for group in _GROUPING.findall(expression) for label in group.split(",") if label.strip()}
