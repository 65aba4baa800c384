"""The arithmetic of the report, and that it shows what was missed."""

from __future__ import annotations

import json

import pytest

from tests.bench.report import Goal, Report, Row, compare, growth, quantile, slope


def test_quantile_is_the_smallest_sample_that_enough_samples_do_not_exceed():
    samples = [5.0, 1.0, 4.0, 2.0, 3.0]

    assert quantile(samples, 0.5) == 3.0
    assert quantile(samples, 0.99) == 5.0
    assert quantile(samples, 1.0) == 5.0
    assert quantile([7.0], 0.01) == 7.0


def test_the_99th_percentile_of_many_samples_leaves_the_slowest_out():
    assert quantile([float(number) for number in range(1, 201)], 0.99) == 198.0


def test_ratios_are_computed_per_round():
    row = compare("bench", "figure", "ms", [2.0, 20.0, 4.0], [1.0, 10.0, 2.0], "floor")

    assert row.ratios == (2.0, 2.0, 2.0)
    assert (row.ours, row.floor, row.ratio) == (4.0, 2.0, 2.0)


def test_a_round_whose_floor_is_below_the_clock_has_no_ratio():
    assert compare("bench", "figure", "s", [1.0, 1.0], [0.0, 0.5], "floor").ratios == (2.0,)


@pytest.mark.parametrize(("exponent"), [0.0, 1.0, 2.0])
def test_the_slope_is_the_exponent_of_growth(exponent: float):
    points = {float(size): 3.0 * size**exponent for size in (1000, 2000, 5000, 10_000)}

    assert slope(points) == pytest.approx(exponent)


@pytest.mark.parametrize(
    ("points", "exponent"),
    [
        ({10: 1.0, 1000: 2.0, 2000: 3.0, 4000: 5.0}, 1.0),
        ({10: 1.0, 1000: 2.0, 2000: 5.0, 4000: 17.0}, 2.0),
        ({10: 3.0, 1000: 2.0, 2000: 4.0, 4000: 5.0}, None),
        ({10: 1.0, 1000: 4.0, 2000: 3.0, 4000: 5.0}, None),
        ({10: 1.0, 1000: 2.0}, None),
    ],
)
def test_growth_above_the_first_point_needs_figures_that_ascend(points: dict[int, float], exponent: float | None):
    assert growth(points) == (None if exponent is None else pytest.approx(exponent))


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (Goal(4.0), "met"),
        (Goal(3.9), "MISSED"),
        (Goal(2.0, of_ratio=True), "met"),
        (Goal(1.9, of_ratio=True), "MISSED"),
        (Goal(4.0, is_least=True), "met"),
        (Goal(4.1, is_least=True), "MISSED"),
        (Goal(1.9, of_ratio=True, is_least=True), "met"),
        (Goal(2.1, of_ratio=True, is_least=True), "MISSED"),
        (None, ""),
    ],
)
def test_the_verdict_compares_the_figure_or_its_ratio_with_the_goal(goal: Goal | None, verdict: str):
    assert compare("bench", "figure", "ms", [4.0], [2.0], "floor", goal).verdict == verdict


@pytest.mark.parametrize("is_least", [False, True])
def test_missing_ratio_misses_its_goal(is_least: bool):
    goal = Goal(2.0, of_ratio=True, is_least=is_least)

    assert Row("bench", "figure", "ms", 1.0, goal=goal).verdict == "MISSED"


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (Goal(1.25, of_ratio=True), "≤ 1.25x"),
        (Goal(200.0), "≤ 200"),
        (Goal(0.9, of_ratio=True, is_least=True), "≥ 0.9x"),
        (Goal(150.0, is_least=True), "≥ 150"),
    ],
)
def test_goal_shows_direction_and_limit(goal: Goal, text: str):
    assert str(goal) == text


def test_the_table_shows_figure_floor_ratios_goal_and_what_was_skipped():
    rows = [
        compare("bench", "latency", "ms", [3.0, 3.3], [2.0, 2.0], "null", Goal(1.25, of_ratio=True)),
        Row("bench", "writes", "", 0, goal=Goal(0)),
    ]

    latency, writes, skipped, summary = Report(rows, {"containers": "no node"}).table().splitlines()[2:]

    assert " ".join(latency.split()) == "bench latency 3.15 ms 2.00 (null) 1.50 / 1.57 / 1.65 ≤ 1.25x MISSED"
    assert " ".join(writes.split()) == "bench writes 0 ≤ 0 met"
    assert skipped == "containers: skipped: no node"
    assert summary == "goals: 1 met, 1 missed"


def test_the_json_holds_every_row_with_its_ratio_and_verdict(tmp_path):
    path = tmp_path / "build" / "bench.json"
    row = compare("bench", "latency", "ms", [2.0, 3.0, 5.0], [2.0, 2.0, 2.0], "null", Goal(2.0, of_ratio=True))

    Report([row]).write_json(path, {"rounds": 1})

    document = json.loads(path.read_text())
    assert document["settings"] == {"rounds": 1}
    assert [document["rows"][0][key] for key in ("ratio_min", "ratio", "ratio_max")] == [1.0, 1.5, 2.5]
    assert document["rows"][0]["verdict"] == "met"
    assert document["rows"][0]["goal"] == "≤ 2x"
