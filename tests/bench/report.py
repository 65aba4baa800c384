"""Figures as a table for people and as JSON for programs."""

from __future__ import annotations

import itertools
import json
import math
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Goal:
    """What DESIGN section 9 wants of a figure."""

    limit: float
    of_ratio: bool = False
    """Whether the limit is the ratio's and not the figure's own."""
    is_least: bool = False
    """Whether the figure must reach the limit, as a rate must, and not stay below it."""

    def is_met(self, row: Row) -> bool:
        """Tell whether a row is as it should be."""
        value = row.ratio if self.of_ratio else row.ours
        if value is None:
            return False
        return value >= self.limit if self.is_least else value <= self.limit

    def __str__(self) -> str:
        """Return it as the table shows it."""
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}{'x' if self.of_ratio else ''}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside its floor.

    ``ours`` and ``floor`` are medians over the rounds, in ``unit``. The ratios are taken round by round, so that a
    machine whose speed drifts changes both sides of each.
    """

    bench: str
    figure: str
    unit: str
    ours: float
    floor: float | None = None
    floor_name: str = ""
    ratios: tuple[float, ...] = ()
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """Return the median of the ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def verdict(self) -> str:
        """Return whether the goal is met, in one word."""
        if self.goal is None:
            return ""
        return "met" if self.goal.is_met(self) else "MISSED"

    def cells(self) -> list[str]:
        """Return the row as text."""
        ratios = (min(self.ratios), self.ratio or 0.0, max(self.ratios)) if self.ratios else ()
        return [
            self.bench,
            self.figure,
            f"{_short(self.ours)} {self.unit}".strip(),
            f"{_short(self.floor)} ({self.floor_name})" if self.floor is not None else "",
            " / ".join(f"{ratio:.2f}" for ratio in ratios),
            str(self.goal or ""),
            self.verdict,
        ]

    def document(self) -> dict[str, Any]:
        """Return the row for programs."""
        least, most = (min(self.ratios), max(self.ratios)) if self.ratios else (None, None)
        ratio = {"ratio_min": least, "ratio": self.ratio, "ratio_max": most}
        return {**asdict(self), **ratio, "goal": str(self.goal) if self.goal else None, "verdict": self.verdict}


HEADINGS = ["bench", "figure", "ours", "floor", "ratio min / median / max", "goal", ""]


@dataclass(slots=True)
class Report:
    """The rows so far, and why some are missing."""

    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def table(self) -> str:
        """Return everything as text."""
        lines = [HEADINGS, *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        text.insert(1, "-" * min(sum(widths), 150))
        text += [f"{name}: skipped: {reason}" for name, reason in self.skipped.items()]
        return "\n".join([*text, self.summary()])

    def summary(self) -> str:
        """Return in one line how many goals are met."""
        verdicts = [row.verdict for row in self.rows if row.goal is not None]
        return f"goals: {verdicts.count('met')} met, {verdicts.count('MISSED')} missed"

    def write_json(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Write the rows, with what machine they are of."""
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        rows = [row.document() for row in self.rows]
        document = {"machine": machine, "settings": settings, "rows": rows, "skipped": self.skipped}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")


def compare(
    bench: str,
    figure: str,
    unit: str,
    ours: Sequence[float],
    floor: Sequence[float],
    floor_name: str,
    goal: Goal | None = None,
) -> Row:
    """Return a row from one figure per round of ours and of the floor.

    A round in which the floor was too small for the clock has no ratio.
    """
    ratios = tuple(mine / theirs for mine, theirs in zip(ours, floor, strict=True) if theirs > 0)
    return Row(bench, figure, unit, statistics.median(ours), statistics.median(floor), floor_name, ratios, goal)


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least this share of the samples do not exceed."""
    return sorted(samples)[max(0, math.ceil(share * len(samples)) - 1)]


def slope(points: Mapping[float, float]) -> float:
    """Return the exponent with which a figure grows: the slope of the straight line through the points' logarithms."""
    horizontal = [math.log(number) for number in points]
    vertical = [math.log(value) for value in points.values()]
    return statistics.linear_regression(horizontal, vertical).slope


def growth(points: Mapping[int, float]) -> float | None:
    """Return the exponent with which a figure grows above its value at the first point, ``None`` if noise hides it.

    A busy machine makes a start with few definitions as slow as one with many. Then the figures do not ascend, and
    their slope, which would be small or negative, says nothing.
    """
    (_, least), *others = points.items()
    above = {float(size): value - least for size, value in others}
    steps = list(above.values())
    if len(steps) <= 1 or steps[0] <= 0 or any(after <= before for before, after in itertools.pairwise(steps)):
        return None
    return slope(above)


def _short(value: float) -> str:
    """Return a number with as many digits as say something."""
    if value == 0:
        return "0"
    digits = max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"
