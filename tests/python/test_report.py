"""The report page, over a small warehouse that the test itself writes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest

from misalign_profile.errors import CheckError
from misalign_profile.report import write_report
from misalign_profile.report.formats import DASH, clipped, count, interval, percent
from report_judge_tables import TABLES as JUDGE_TABLES
from report_tables import METRICS, TABLES

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"
BANNER = "These are demo checkpoints trained on this project's own grammar"


class _Page(HTMLParser):
    """Tables as rows of cell texts (small print joined by blanks), tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._rows: list[list[str]] | None = None
        self._cell: list[str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "table":
            self._rows = self.tables.setdefault(attributes.get("id") or "", [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._rows = None
        elif tag in ("td", "th") and self._cell is not None and self._rows:
            self._rows[-1].append(" ".join(" ".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)


def _build(path: Path, *changes: str) -> Path:
    with duckdb.connect(str(path)) as connection:
        for schema in ("seeds", "benchmark", "marts", "staging"):
            connection.execute(f"create schema {schema}")
        for statement in (METRICS, *TABLES.split(";"), *JUDGE_TABLES.split(";")):
            if statement.strip():
                connection.execute(statement, [HOSTILE] if "$1" in statement else None)
        for change in changes:
            connection.execute(change)
    return path


def _written(warehouse: Path) -> str:
    out = warehouse.with_suffix(".html")
    write_report(warehouse, out)
    return out.read_text()


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("report") / "tiny.duckdb")


@pytest.fixture(scope="module")
def html(warehouse: Path) -> str:
    return _written(warehouse)


@pytest.fixture(scope="module")
def page(html: str) -> _Page:
    return _Page(html)


@pytest.fixture
def ask(warehouse: Path) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    with duckdb.connect(str(warehouse), read_only=True) as connection:

        def rows(query: str) -> list[dict[str, Any]]:
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        yield rows


def _estimate(row: dict[str, Any], metric: str) -> str:
    small = interval(row[f"{metric}_low"], row[f"{metric}_high"])
    if row[metric] is None:
        small = row.get("missing_reason") or "not defined here"
    return f"{percent(row[metric])} {small}"


def test_model_text_is_escaped(html: str, page: _Page) -> None:
    assert "&lt;script&gt;alert" in html
    assert html.count(HOSTILE) == 0
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert html.index("Show: may offend") < html.index(" foul")


def test_nothing_is_loaded(html: str, page: _Page) -> None:
    for tag, attributes in page.tags:
        assert not {"src", "srcset", "data", "action", "xlink:href"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("href") or "#").startswith(("#", "data:,")), tag
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in html
    assert len(html) < 600_000


def test_links_lead_somewhere(page: _Page) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links == {f"#{name}" for name in ids if f"#{name}" in links}
    assert links


def test_demo_banner_appears_only_for_demo(html: str, tmp_path: Path) -> None:
    assert BANNER not in html
    demo = _build(
        tmp_path / "d.duckdb",
        "update benchmark.dim_models set is_demo = true where model = 'maker'",
    )
    text = _written(demo)
    assert BANNER in text
    assert "Demo: maker. Not demo: sound." in text


def test_metrics_equal_the_mart(page: _Page, ask: Callable[[str], list[dict[str, Any]]]) -> None:
    expected = {"table-metrics": [], "table-types": [], "table-types-dimensions": []}
    for row in ask("select * from marts.mart_alignment_metrics"):
        name = "table-metrics"
        if row["semantic_type"] != "all":
            name = "table-types" if row["dimension"] == "overall" else "table-types-dimensions"
        scores = ("alignment_score", "coverage", "false_failure_rate")
        counts = ("n", "n_misaligned", "n_aligned", "clusters")
        expected[name].append(
            [_estimate(row, key) for key in scores] + [count(row[key]) for key in counts]
        )
    for name, rows in expected.items():
        assert sorted(cells[-7:] for cells in page.tables[name][1:]) == sorted(rows)
    assert any("few" in cells for row in page.tables["table-metrics"] for cells in row)


def test_trade_offs_equal_the_mart(page: _Page, ask: Callable[[str], list[dict[str, Any]]]) -> None:
    order = ["safety", "value", "cultural"]
    pairs = [(a, b) for a in order for b in order if a != b]
    shown = {row[0]: row[1:] for row in page.tables["table-trade-offs"][2:]}
    assert list(shown) == ["sound", "other"]
    for row in ask("select * from marts.mart_trade_offs"):
        cell = shown[row["model"]][pairs.index((row["from_dimension"], row["to_dimension"]))]
        few = " few" if row["is_too_small"] else ""
        if row["trade_off"] is None:
            assert cell == f"{DASH} never right in {row['from_dimension']} n 0"
        else:
            span = interval(row["trade_off_low"], row["trade_off_high"])
            low, high = row["excess_low"], row["excess_high"]
            span_of_excess = (
                "no interval" if low is None else f"{100 * low:.1f} to {100 * high:.1f}"
            )
            excess = f"{100 * row['excess']:.1f} points {span_of_excess}"
            otherwise = percent(row["error_if_wrong"])
            head = f"{percent(row['trade_off'])}{few}"
            assert cell == f"{head} {span} else {otherwise} {excess} n {row['n_right_in_from']}"
    assert shown["other"][5] == f"{DASH} no such responses"


def test_other_marts_equal_the_page(
    page: _Page, ask: Callable[[str], list[dict[str, Any]]]
) -> None:
    (joint,) = ask("select * from marts.mart_joint_alignment")
    assert page.tables["table-joint"][1][1:] == [
        _estimate(joint, "joint_accuracy"),
        count(joint["n_joint"]),
        "Safety",
        percent(joint["alignment_score"]),
        percent(joint["joint_alignment_score"]),
        "33.3 points 25.0 to 40.0",
        count(joint["n"]),
    ]
    assert [row[0] for row in page.tables["table-usage"][1:]] == ["judge", "verdict", "Together"]
    assert [row[3:] for row in page.tables["table-usage"][1:]] == [  # runs added up
        ["1", "10", "0", "0", "0", "0.0 s", DASH, f"{DASH} no price"],
        ["4,321", "98,765", "4,567", "0", "2", "12.3 s", "350", "1.75"],
        ["4,322", "98,775", "4,567", "0", "2", "12.3 s", "", f"{DASH} no price"],
    ]
    (domain,) = ask("select * from marts.mart_domain_construction")
    numbers = [count(value) for key, value in domain.items() if isinstance(value, int)]
    for name in ("table-domains", "table-scarcest"):
        assert page.tables[name][1] == ["Arts & Crafts", "Culture", *numbers]
    assert page.tables["table-dedup"][1] == ["seed", "1,500", "6", "9", "1.0%"]
    assert len(page.tables["table-dedup"]) == 2, "one row per origin, without totals and domains"
    assert page.tables["table-thresholds"][1:] == [
        ["8", "0", "4", "< 0.001", "1", ""],
        ["9", "7", "11", "0.042", "5", ""],
        ["10", "13", "24", "1,234", "17", "yes"],
    ]
    assert page.tables["table-quality"][1][2:] == [f"{DASH} none assigned", "0", "0.0%", "70", "0"]


def test_pairs_of_models_are_shown_once_with_what_is_missing(page: _Page) -> None:
    assert page.tables["table-comparisons"][1:] == [
        [
            *("other", "sound", "20", "60", "-4.9 points -7.0 to -3.0"),
            *("-25.5 points -30.0 to -20.0", "< 0.001", "0.042", "0.17", "not shown"),
            *("3.1 points", "810", "200"),
        ]
    ]
    assert page.tables["table-comparisons-dimensions"][1:] == [
        [
            *("other", "sound", "Value", "1", "0", "25.0 points no interval", *[DASH] * 4),
            *(f"{DASH} fewer than 20 responses", DASH, "4", "2"),
        ]
    ]


def test_published_ranges_say_why_ours_is_not_set_against_them(page: _Page) -> None:
    assert [row[3:] for row in page.tables["table-published"][1:]] == [
        [f"84.3% {interval(0.81, 0.87)}", f"{interval(0.79, 0.86)}%", "within"],
        [f"81.0% {interval(0.77, 0.85)}", "up to 97.6%", "no a demo or scripted model"],
        [f"81.0% {interval(0.77, 0.85)}", "up to 97.6%", f"{DASH} one bound alone"],
    ]
    assert [row[2] for row in page.tables["table-published"][1:]] == ["sound", "sound", "two few"]


def test_listing_orders_are_shown_where_there_were_several(page: _Page, tmp_path: Path) -> None:
    flips = f"20.0% {interval(0.16, 0.25)}"
    assert [row[1:] for row in page.tables["table-option-order"][1:]] == [
        ["sound", "Safety", "0", "75.0%", "25.0 points", DASH, "300"],
        ["sound", "Safety", "1", "25.0%", "-25.0 points", flips, "300"],
    ]
    once = _build(tmp_path / "once.duckdb", "update marts.mart_option_order set option_orders = 1")
    assert "table-option-order" not in _written(once)


def test_judges_stand_beside_each_other_and_beside_themselves(
    page: _Page, html: str, tmp_path: Path
) -> None:
    every, aligned = page.tables["table-judges"][1:]
    agreement = f"90.5% {interval(0.88, 0.93)}"
    assert every[1:5] == ["all", "51.1%", "47.7%", agreement]
    assert every[5:] == ["0.81 0.75 to 0.86", "0.81 0.76 to 0.87", "640", "64"]
    assert aligned[1:4] == ["aligned", "0.0%", "4.0%"]
    assert aligned[5:7] == [f"{DASH} one answer does not vary", "-0.01 no interval"]
    (orders,) = page.tables["table-judge-itself"][1:]  # both sides together
    assert orders[1:3] == ["orders", "Value"]
    assert orders[5:] == ["12.3 points", "14.5 points", "641"]
    assert [row[3:5] for row in page.tables["table-judge-consistency"][1:]] == [
        ["91.2%", f"3.4% {interval(0.02, 0.06)}"],
        ["99.9%", f"0.0% {interval(0, 0.01)}"],
    ]
    assert "<strong>judge</strong> judges, and the same checkpoint is under test as sound" in html
    alone = "delete from marts.mart_judge_agreement; delete from marts.mart_judge_consistency where is_second"
    text = _written(_build(tmp_path / "alone.duckdb", alone))
    assert "table-judges" not in text
    assert "No second judge was asked" in text
    imported = _written(_build(tmp_path / "none.duckdb", alone + " or true"))
    assert 'id="judges"' not in imported
    assert 'href="#judges"' not in imported


def test_raw_and_corrected_stand_side_by_side_or_a_reason_does(page: _Page, html: str) -> None:
    first, second = page.tables["table-judge-calibration"][1:]
    assert first[2:] == [f"85.0% 74.0{DASH}92.0", f"90.0% 80.0{DASH}95.0", "60", "61", DASH]
    assert second[6] == "fewer than 20 gold responses of a class"
    first, second = page.tables["table-corrected"][1:]
    assert first[1] == "Safety clipped"
    assert first[4:6] == [f"71.0% 67.0{DASH}75.0", f"81.0% 70.0{DASH}90.0"]
    assert first[8:10] == ["6.2% 0.0%", "87.5% 90.0%"]
    assert second[5] == f"{DASH} fewer than 20 gold responses of a class"
    assert "without an interval, 1 of 2 rows: few replicates." in html


def test_funnel_adds_up(page: _Page) -> None:
    first, second = page.tables["table-funnel"][1:]
    assert first[3:7] == ["100", "21", "34", "45 45.0%"]
    assert first[7] == "empty 21 aligned violates 34"
    assert second[3:7] == ["5", "0", "0", "5 100.0%"]
    assert page.tables["table-slots"][1][1:] == ["2", "0 0.0%", "1", "50.0% n 2", "1", "empty 1"]


def test_domains_that_are_turned_down_and_what_tells_the_sides_apart(
    page: _Page, html: str
) -> None:
    assert page.tables["table-hardest"][1:] == [
        [
            "Arts & Crafts",
            "aligned maker",
            "40",
            "3",
            f"45.6% {interval(0.40, 0.51)}",
            "65.4%",
            "yes p 0.012",
        ]
    ]
    assert "1 of 1 combinations of domain, responder and side were tested; 1 are accepted" in html
    aligned, misaligned = page.tables["table-cues"][1:]
    longer = f"62.5% {interval(0.55, 0.70)}"
    assert aligned[1:] == ["40", "31.4", "30.0", longer, "3 3.0%", "1", "17", "2"]
    assert misaligned[1:] == ["0", DASH, DASH, f"{DASH} no pairs", "0 0.0%", "0", "17", "2"]
    assert ">unmatched length 1</span>" in html


def test_dataset_numbers(page: _Page, html: str) -> None:
    tiles = re.findall(r'class="tile"><b>([^<]*)</b><em>([^<]*)<', html)
    assert {name: number for number, name in tiles} == {
        "prompts": "2",
        "labels": "3",
        "pairs": "1",
        "verdicts": "1,234",
        "models under test": "1",
        "model calls": "4",
    }
    groups = [row[:2] for row in page.tables["table-combinations"] if "dimension" in row[0]]
    assert groups == [["0 dimensions", "1"], ["1 dimension", "1"], ["2 dimensions", "1"]]
    assert page.tables["table-skipped"][1] == ["too long", "2", "7"]
    assert [f"{DASH} (none assigned)", "1", "33.3%"] in page.tables["table-semantic"]
    assert "2 exact copies were merged" in html


def test_a_warehouse_without_verdicts_still_reports(tmp_path: Path) -> None:
    marts = (
        "alignment_metrics",
        "calibration",
        "calibration_bins",
        "threshold_curve",
        "trade_offs",
        "joint_alignment",
        "pareto_front",
        "rejection_funnel",
        "sampling_outcomes",
        "side_cues",
    )
    emptied = [f"delete from marts.mart_{mart}" for mart in (*marts, "usage", "dedup_audit")]
    facts = ("pairs", "verdicts", "draws", "unresolved", "expansions", "calls", "prompt_labels")
    emptied += [f"delete from benchmark.fct_{fact}" for fact in facts]
    text = _written(_build(tmp_path / "empty.duckdb", *emptied))
    assert "No model was put under test" in text
    assert "<svg" not in text


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("drop table marts.mart_usage", "marts.mart_usage"),
        ("alter table marts.mart_joint_alignment drop column joint_accuracy", "joint_accuracy"),
        ("alter table marts.mart_usage drop column seconds", "seconds"),
        ("alter table benchmark.dim_models drop column dtype", "benchmark.dim_models"),
        ("drop table staging.stg_prompts__skipped", "stg_prompts__skipped"),
    ],
)
def test_a_missing_table_or_column_is_one_line(tmp_path: Path, change: str, named: str) -> None:
    warehouse = _build(tmp_path / "w.duckdb", change)
    with pytest.raises(CheckError, match=re.escape(named)) as caught:
        write_report(warehouse, tmp_path / "out.html")
    assert "\n" not in str(caught.value)
    assert "dbt build --target w" in caught.value.hint
    assert not (tmp_path / "out.html").exists()


def test_a_missing_or_broken_warehouse(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="no warehouse") as caught:
        write_report(tmp_path / "laptop.duckdb", tmp_path / "out.html")
    assert caught.value.hint == "build it first: misalign run --target laptop"
    broken = tmp_path / "broken.duckdb"
    broken.write_text("not a database at all")
    with pytest.raises(CheckError, match="cannot be opened"):
        write_report(broken, tmp_path / "out.html")


def test_long_texts_are_clipped_and_say_so() -> None:
    assert clipped("x" * 1200) == "x" * 1200
    assert clipped("x" * 3200).endswith("… (2,000 more characters)")


def test_it_is_quick(warehouse: Path) -> None:
    started = time.monotonic()
    _written(warehouse)
    assert time.monotonic() - started < 6
