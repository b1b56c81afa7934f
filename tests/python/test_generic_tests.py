"""Every generic data test of this project passes a good table and fails a bad one."""

from __future__ import annotations

from pathlib import Path

import duckdb
import jinja2
import pytest

FOLDER = Path(__file__).parents[1] / "dbt" / "generic"
# test -> its arguments, the good rows of t(a, b), and bad rows that each must make it fail
CASES: dict[str, tuple[dict[str, object], list[str], list[list[str]]]] = {
    "unique_combination": (
        {"columns": ["a", "b"]},
        ["(1, 'x')", "(1, 'y')", "(2, 'x')"],
        [["(1, 'x')"], ["(7, null)", "(7, null)"]],
    ),
    "is_between": (
        {"column_name": "a", "low": 0, "high": 1},
        ["(0, 'x')", "(1, 'x')", "(0.5, 'x')", "(null, 'x')"],
        [["(-0.001, 'x')"], ["(1.001, 'x')"], ["('nan', 'x')"], ["('infinity', 'x')"]],
    ),
    "is_true": (
        {"expression": "a > 0 or b = 'x'"},
        ["(1, 'y')", "(0, 'x')"],
        [["(0, 'y')"], ["(null, 'y')"]],
    ),
    "covers": (
        {"column_name": "a", "to": "vocabulary", "field": "word", "condition": "expected.word < 3"},
        ["(1, 'x')", "(2, 'x')"],
        [],  # a row too few, see below
    ),
    "is_text_id": (
        {"column_name": "b", "text": "a::varchar"},
        ["(1, left(md5('1.0'), 16))"],
        [["(1, 'x')"], ["(1, null)"], ["(1, md5('1.0'))"]],
    ),
}


def failures(name: str, rows: list[str]) -> int:
    """Rows that the test returns over t(a, b); dbt fails a test that returns any."""
    source = (FOLDER / f"{name}.sql").read_text("utf-8")
    source = source.replace("{% test ", "{% macro ").replace("{% endtest %}", "{% endmacro %}")
    macro = getattr(jinja2.Template(source).module, name)
    con = duckdb.connect()
    con.execute("create table t (a double, b varchar)")
    con.execute("create table vocabulary as select * from (values (1), (2), (3)) v(word)")
    if rows:
        con.execute(f"insert into t values {', '.join(rows)}")
    return len(con.execute(macro(model="t", **CASES[name][0])).fetchall())


def test_every_generic_test_has_a_case() -> None:
    assert {path.stem for path in FOLDER.glob("*.sql")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_passes_good_rows(name: str) -> None:
    assert failures(name, CASES[name][1]) == 0


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name in CASES for bad in CASES[name][2]])
def test_fails_on_bad_rows(name: str, bad: list[str]) -> None:
    assert failures(name, CASES[name][1] + bad) > 0


def test_covers_fails_on_missing_rows() -> None:
    assert failures("covers", ["(1, 'x')"]) == 1
    assert failures("covers", []) == 2
