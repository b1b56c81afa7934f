"""The page on probabilities: the marts' numbers, and dots where the numbers are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from misalign_profile.report.formats import DASH, interval
from test_report import _build, _Page, _written


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _written(_build(tmp_path_factory.mktemp("calibration") / "tiny.duckdb"))


def test_the_table_shows_the_marts(html: str) -> None:
    assert [row[1:] for row in _Page(html).tables["table-calibration"][1:]] == [
        [
            *(
                "Overall",
                f"91.2% {interval(0.89, 0.93)}",
                "88.7%",
                "0.12",
                "4.5%",
                "5.1%",
                "47.0%",
                "49.4%",
            ),
            *("84.3%", "86.1%", "0.35", "810", "400"),
        ],
        [
            *(
                "Value few",
                f"{DASH} no misaligned responses",
                DASH,
                "0.25",
                "30.0%",
                "31.0%",
                "30.0%",
                "0.0%",
            ),
            *(DASH, DASH, DASH, "4", "4"),
        ],
    ]


def test_a_diagram_has_a_dot_a_bin_where_the_bin_is(html: str) -> None:
    """160 pixels a side, upwards: said 5%, was 10%; said 95%, was 75%, a quarter of the area, no interval."""
    (diagram,) = re.findall(
        r'<svg role="img" aria-label="Reliability diagram of sound".*?</svg>', html, re.S
    )
    assert re.findall(r'<circle cx="([^"]*)" cy="([^"]*)" r="([^"]*)"', diagram) == [
        ("8.0", "144.0", "7.0"),
        ("152.0", "40.0", "3.5"),
    ]
    assert re.findall(r'<path d="([^"]*)" stroke="#1c2430"', diagram) == ["M8.0 150.4V136.0"]
    assert f"said 5.0%, was 10.0% (95% interval {interval(0.06, 0.15)}, n 400)" in diagram
    assert "said 95.0%, was 75.0% (95% interval none, n 100)" in diagram


def test_without_probabilities_the_section_is_left_out(tmp_path: Path) -> None:
    marts = ("calibration", "calibration_bins", "threshold_curve")
    text = _written(
        _build(tmp_path / "none.duckdb", *(f"delete from marts.mart_{m}" for m in marts))
    )
    assert "table-calibration" not in text
    assert "Reliability diagram" not in text
