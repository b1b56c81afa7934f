"""The bootstrap's sums: tiles do not matter, and a pair rests on what both models judged."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pytest

from mart_sql import build, rendered, rows

REPLICATES = 75  # not a multiple of the replicates that share a hash


def counts(clusters: int) -> duckdb.DuckDBPyConnection:
    """Two models, each on clusters of its own and on common ones."""
    con = duckdb.connect()
    con.execute(
        f"""
        create table counts as
        select m as model, 'c' || c as cluster_id, 1 + (c * 7 + m) % 5 as n,
            if(c % 4 = 0, null, c % 3) as hits
        from range({clusters}) as t (c) cross join range(2) as u (m)
        where (c + m) % 3 > 0
        """
    )
    return con


def drawn(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, int], int]:
    """The weight of every cluster and replicate; replicate -1 is the data as they are."""
    weights = rendered("{{ bootstrap_weights('counts') }}", bootstrap_replicates=REPLICATES)
    found = con.execute(f"select cluster_id, replicate, weight from ({weights})").fetchall()
    return {(cluster, replicate): weight for cluster, replicate, weight in found}


@pytest.mark.parametrize("tile", [1, 7, 64, 512])
def test_sums_are_those_of_the_weights_whatever_the_tile(tile: int) -> None:
    con = counts(100)
    call = f"{{{{ bootstrap_sums('counts', ['model'], ['n', 'hits'], tile={tile}) }}}}"
    sql = rendered(call, bootstrap_replicates=REPLICATES)
    found = {(r["model"], r["replicate"]): (r["n"], r["hits"]) for r in rows(con, sql)}
    weights = drawn(con)
    data = con.execute("select model, cluster_id, n, coalesce(hits, 0) from counts").fetchall()
    assert len(found) == 2 * (REPLICATES + 1)
    for (model, replicate), sums in found.items():
        of_model = [
            (weights.get((c, replicate), 0), n, hits) for m, c, n, hits in data if m == model
        ]
        assert sums == (
            sum(w * n for w, n, _ in of_model),
            sum(w * hits for w, _, hits in of_model),
        )


def warehouse(models: dict[str, float]) -> duckdb.DuckDBPyConnection:
    """Verdicts of these models on 80 clusters; the number is the share of responses that one skips."""
    con = duckdb.connect()
    con.execute(
        "create table fct_verdicts (protocol varchar, model varchar, item_id varchar, cluster_id varchar,"
        " dimension varchar, semantic_type varchar, is_misaligned boolean, is_flagged boolean,"
        " is_right boolean as (is_flagged = is_misaligned))"
    )
    random = np.random.default_rng(4)
    lines: list[tuple[Any, ...]] = []
    for cluster in range(80):
        for item in range(6):
            for name, skipped in models.items():
                said, skips = random.random(2)
                if skips < skipped:
                    continue
                place = (
                    f"r{cluster}-{item}",
                    f"c{cluster}",
                    "safety",
                    ["object", "relation"][cluster % 2],
                )
                lines.append(("verdict", name, *place, item % 2 == 0, bool(said < 0.6)))
    con.executemany("insert into fct_verdicts values (?, ?, ?, ?, ?, ?, ?, ?)", lines)
    return con


def pair(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    build(
        con,
        "int_verdicts__model_pairs",
        "int_verdicts__counts_to_compare",
        "mart_comparison_intervals",
    )
    return rows(
        con,
        "select * from mart_comparison_intervals where model_a = 'a' and model_b = 'b'"
        " order by semantic_type",
    )


def test_what_one_model_skipped_does_not_count_for_the_other() -> None:
    """A pair's intervals are those of the responses that both judged, whoever else judged what."""
    everything = warehouse({"a": 0.2, "b": 0.1, "c": 0.5})
    common = warehouse({"a": 0.2, "b": 0.1, "c": 0.5})
    common.execute("delete from fct_verdicts where model = 'c'")
    common.execute(
        "delete from fct_verdicts where item_id not in"
        " (select item_id from fct_verdicts group by item_id having count(*) = 2)"
    )
    found, expected = pair(everything), pair(common)
    assert [row["semantic_type"] for row in found] == ["all", "object", "relation"]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == (
                pytest.approx(value, abs=1e-12) if isinstance(value, float) else value
            )


def test_models_that_judged_nothing_in_common_have_no_interval() -> None:
    con = warehouse({"a": 0, "b": 0})
    con.execute("delete from fct_verdicts where (model = 'a') = (item_id like '%-1')")
    assert pair(con) == []
