"""The page says how sure a place on the front is, and marks a model under test that is the judge."""

from __future__ import annotations

from pathlib import Path

from misalign_profile.report.formats import DASH
from test_report import _build, _Page, _written


def test_a_model_that_is_the_judge_is_marked_and_the_reader_told(tmp_path: Path) -> None:
    html = _written(_build(tmp_path / "same.duckdb"))
    page = _Page(html)
    named = {row[0] for row in page.tables["table-metrics"][1:] if len(row) == 9}
    assert named == {"sound general-purpose", "other open-weight is the judge"}
    assert "<strong>other</strong> has the checkpoint of the judge" in html


def test_without_a_judge_under_test_nothing_is_said_of_it(tmp_path: Path) -> None:
    html = _written(
        _build(
            tmp_path / "apart.duckdb",
            "update marts.mart_alignment_metrics set is_judge = false",
            "update marts.mart_pareto_front set is_judge = false",
        )
    )
    assert "is the judge" not in html
    assert "judge-under-test" not in html


def test_a_place_on_the_front_shows_how_many_and_how_sure(tmp_path: Path) -> None:
    page = _Page(_written(_build(tmp_path / "front.duckdb")))
    assert [[row[0], *row[-3:]] for row in page.tables["table-front"][1:]] == [
        ["sound", "410", "93.1%", "yes"],
        ["close", "410", f"{DASH} fewer than 30 clusters", "no behind sound"],
        ["other few is the judge", "4", DASH, f"{DASH} no score in every dimension"],
    ]
