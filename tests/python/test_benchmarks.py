"""The benchmarks run and check what they measure; their figures are nobody's business here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import dedup  # type: ignore[import-not-found]
import engines  # type: ignore[import-not-found]
import interval_coverage  # type: ignore[import-not-found]
import marts  # type: ignore[import-not-found]
from corpus import SHAPES  # type: ignore[import-not-found]
from harness import tables  # type: ignore[import-not-found]


def test_fingerprints_are_measured_beside_the_package() -> None:
    package, *ours = dedup.fingerprints(100)
    assert package.ratio is None
    assert len(ours) == 4
    assert all(record.ratio == record.rate / package.rate for record in ours)
    assert tables([package, *ours]).count("\n| ") == 1 + len(ours) + 1


def test_the_index_finds_the_same_pairs() -> None:
    theirs, ours = dedup.index(60, 16)
    assert theirs.note == ours.note
    assert ours.ratio == theirs.seconds / ours.seconds


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_measured(shape: str) -> None:
    records = [record for n in (100, 400) for record in dedup.scale(shape, n, 10)]
    (growth,) = dedup.growth(records)
    assert growth.note.startswith("exponent")


@pytest.mark.parametrize("kind", ["gemma2", "qwen3_moe"])
def test_engines_are_measured_beside_what_they_avoid(kind: str) -> None:
    plan = engines.PLANS["tiny"]
    *peers, first, second, third = engines.choose(kind, plan)
    rates = {r.case.partition(": ")[2]: r.rate for r in peers}
    assert {r.beside: pytest.approx(r.rate / r.ratio) for r in (first, second, third)} == rates
    assert all(r.note.endswith("of a large matrix product") for r in (first, second, third))
    one, three = engines.judge(kind, plan)
    assert three.n == 3 * one.n
    together, continuous = engines.generate(kind, plan, 2)
    assert together.n == continuous.n > 0


def test_intervals_are_held_against_the_truth_that_was_simulated() -> None:
    """Six equal verdicts a cluster: the marts' intervals hold what is true, and miss what is not."""
    cell = interval_coverage.case((0.7, 0.2), 40, 6, 50)
    for name in ("coverage", "false_failure_rate", "alignment_score", "score_difference"):
        assert getattr(cell, name) > 0.8, name
    rows = [{"x_low": 0.4, "x_high": 0.6}, {"x_low": 0.6, "x_high": 0.8}, {"x_low": None}]
    assert interval_coverage.held(rows, "x", 0.5, 3) == 0.5
    assert interval_coverage.table([cell]).count("|\n") == 3


@pytest.mark.parametrize("missing", [0, 0.1])
def test_marts_and_pandas_find_the_same_figures(tmp_path: Path, missing: float) -> None:
    """All of them, with the same weights; also where models did not judge the same responses."""
    path = tmp_path / "warehouse.duckdb"
    marts.make(path, 12_000, missing)
    *single, together = marts.marts(path, 20, "")
    assert together.seconds == pytest.approx(sum(record.seconds for record in single))
    ours, *theirs = marts.beside(path, 20, together.seconds)
    assert [r.ratio for r in theirs] == [pytest.approx(r.seconds / ours.seconds) for r in theirs]
    assert all(record.note.endswith("equal to 1e-9") for record in theirs)


def test_a_figure_that_differs_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    marts.make(path, 12_000)
    marts.marts(path, 20, "")
    with marts.connect(path) as con:
        con.execute("update mart_joint_alignment set alignment_drop = alignment_drop + 1e-6")
    with pytest.raises(RuntimeError, match="mart_joint_alignment: figures differ"):
        marts.beside(path, 20, 1.0)
