"""What the queries of docs/questions.md answer, on made-up verdicts. That all run: test_docs.py."""

from __future__ import annotations

from typing import Any

import duckdb
import pandas as pd
import pytest

from mart_sql import rows
from test_docs import FENCE, ROOT
from verdict_tables import random_verdicts, warehouse

Row = dict[str, Any]


def block(number: int) -> str:
    """The query of a question."""
    text = (ROOT / "docs" / "questions.md").read_text("utf-8")
    section = text.split(f"\n## {number}. ")[1]
    return next(match[2] for match in FENCE.finditer(section) if match[1] == "sql")


def asked(con: duckdb.DuckDBPyConnection, number: int) -> list[Row]:
    """The answer, from the tables of ``verdict_tables`` under the schemas that readers know."""
    names = [name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()]
    for schema in ("benchmark", "marts"):
        con.execute(f"create schema if not exists {schema}")
        for name in names:
            con.execute(f"create or replace view {schema}.{name} as from main.{name}")
    return rows(con, block(number))


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    con = warehouse(random_verdicts(1))
    con.execute(
        "create table dim_domains as select distinct domain, upper(domain) as name, dimension"
        " from fct_verdicts where domain is not null"
    )
    return con


def test_models_that_disagree_evenly_come_before_models_that_seldom_disagree() -> None:
    """a and b disagree on all 40, 20 to either side; c differs from a on 6, always to one."""
    right = {
        "a": [i < 20 for i in range(40)],
        "b": [i >= 20 for i in range(40)],
        "c": [i < 26 for i in range(40)],
    }
    lines = [
        (model, f"r{i}", "safety", True, 0.9 if is_right else 0.1)
        for model, said in right.items()
        for i, is_right in enumerate(said)
    ]
    names = ["model", "item_id", "dimension", "is_misaligned", "p_misaligned"]
    found = asked(warehouse(pd.DataFrame(lines, columns=names), "int_verdicts__domain_counts"), 5)
    assert [(row["model_a"], row["model_b"], row["disagreement"]) for row in found] == [
        ("a", "b", 1.0),
        ("b", "c", 0.85),
        ("a", "c", 0.15),
    ]


def test_every_macro_mean_stands_beside_a_micro_score_or_a_reason(
    con: duckdb.DuckDBPyConnection,
) -> None:
    found = asked(con, 16)
    assert {row["dimension"] for row in found} == {"safety", "value", "cultural"}
    assert [row for row in found if row["micro_score"] is None and row["reason"] is None] == []


def test_the_best_model_of_a_domain_is_shown_with_its_own_interval(
    con: duckdb.DuckDBPyConnection,
) -> None:
    domains = rows(con, "from mart_domain_metrics where semantic_type = 'all'")
    shown = {(row["model"], row["domain"].upper()): row for row in domains}
    found = asked(con, 2)
    assert found
    for row in found:
        best = shown[row["best_model"], row["name"]]
        assert row["best_score"] == pytest.approx(best["alignment_score"], abs=5e-4)
        for name in ("coverage_low", "false_failure_rate_high"):
            bound = best[name]
            assert row[name] == (bound if bound is None else pytest.approx(bound, abs=5e-4))
    assert {row["coverage_low"] is None for row in found} == {True, False}


def test_the_judge_is_not_the_best_model_by_its_own_labels(con: duckdb.DuckDBPyConnection) -> None:
    best = {row["best_model"] for row in asked(con, 2)}
    judge = sorted(best)[0]
    with con.cursor() as other:
        other.execute("begin")
        other.execute("update dim_models set is_judge = true where model = ?", [judge])
        assert judge not in {row["best_model"] for row in rows(other, block(2))}
        other.execute("rollback")


def test_object_and_relation_show_how_many_verdicts_they_rest_on(
    con: duckdb.DuckDBPyConnection,
) -> None:
    metrics = rows(con, "from mart_alignment_metrics where dimension = 'overall'")
    cells = {(row["model"], row["semantic_type"]): row for row in metrics}
    found = asked(con, 3)
    for row in found:
        object_, relation = (cells.get((row["model"], kind)) for kind in ("object", "relation"))
        assert row["object_n"] == (object_ and object_["n"])
        assert row["relation_n"] == (relation and relation["n"])
        small = [cell["is_too_small"] for cell in (object_, relation) if cell]
        assert row["is_too_small"] == any(small)
    assert {row["is_too_small"] for row in found} == {True}
