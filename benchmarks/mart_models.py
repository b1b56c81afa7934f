"""The SQL of models without dbt: a reference is the table of that name, a var that of dbt_project.yml.

Knows nothing about what is in the models.
"""

from __future__ import annotations

from typing import Any

import duckdb
import jinja2
import yaml
from harness import ROOT

MACROS = ("metrics", "protocols", "intervals", "comparisons", "macro_averages", "judge_error")


def project_vars() -> dict[str, Any]:
    """The vars as the project sets them; one that differs by target is a mapping."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "dbt_project.yml").read_text("utf-8"))["vars"]
    return found


def rendered(sql: str, **changes: Any) -> str:
    """SQL with calls of the metric macros, as dbt would write it; ``changes`` are vars."""
    macros = "".join((ROOT / "macros" / f"{name}.sql").read_text("utf-8") for name in MACROS)
    names: dict[str, Any] = {
        "var": (project_vars() | changes).__getitem__,
        "ref": lambda name: name,
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return environment.from_string(macros + sql).render(names).strip()


def model(name: str) -> str:
    """The text of a dbt model."""
    (path,) = (ROOT / "models").glob(f"*/{name}.sql")
    return path.read_text("utf-8")


def build(con: duckdb.DuckDBPyConnection, name: str, **changes: Any) -> None:
    """Create the table of a model."""
    con.execute(f"create table {name} as {rendered(model(name), **changes)}")
