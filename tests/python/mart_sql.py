"""The SQL of a mart without dbt: a reference is the table of that name in an empty database.

Does not know what is in the marts.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import jinja2

ROOT = Path(__file__).resolve().parents[2]
VARS: dict[str, Any] = {
    "confidence_level": 0.95,
    "comparison_power": 0.8,
    "bootstrap_replicates": 200,
    "smallest_clusters": 10,
    "smallest_n": 20,
    "calibration_bins": 10,
    "include_seed_prompts": False,
    "pairs_source": "",
}
MACROS = (
    "metrics",
    "protocols",
    "intervals",
    "comparisons",
    "agreement",
    "judge_error",
    "macro_averages",
    "keep_first",
    "text_id",
)


def rendered(sql: str, **changes: Any) -> str:
    """SQL with calls of the metric macros, as dbt would write it; ``changes`` are vars."""
    names: dict[str, Any] = {"var": (VARS | changes).__getitem__, "ref": lambda name: name}
    return _template(sql).render(names).strip()


@cache
def _template(sql: str) -> jinja2.Template:
    """The SQL after all macros, compiled once: compiling takes longer than most marts of a test."""
    macros = "".join((ROOT / "macros" / f"{name}.sql").read_text("utf-8") for name in MACROS)
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(macros + sql)


def build(con: duckdb.DuckDBPyConnection, *models: str, **changes: Any) -> None:
    """Create the tables of these models, in this order."""
    for model in models:
        (path,) = (ROOT / "models").glob(f"*/{model}.sql")
        con.execute(f"create table {model} as {rendered(path.read_text('utf-8'), **changes)}")


def rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, as dicts."""
    cursor = con.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
