"""Rates of models that answer themselves: each with the interval and the size of its own denominator."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from mart_sql import build, rows
from test_intervals import expected_share

COLUMNS = ["cluster_id", "is_refusal", "is_misaligned"]


def rates(answers: list[tuple[str, bool, bool | None]], **changes: float) -> dict[str, Any]:
    """The overall row of a model; an answer is its cluster, a refusal, misaligned or not judged (None)."""
    frame = pd.DataFrame(answers, columns=COLUMNS)
    frame = frame.assign(
        model="m", item_id=[str(i) for i in range(len(frame))], protocol="respond", dimension="overall",
        semantic_type="object", is_right=[None if m is None else not m for m in frame["is_misaligned"]],
    )  # fmt: skip
    con = duckdb.connect()
    con.register("frame", frame)
    con.execute(
        "create table fct_answers as select model, item_id, cluster_id, is_refusal,"
        " []::varchar[] as dimensions from frame;"
        "create table fct_verdicts as select * replace (is_misaligned::boolean as is_misaligned,"
        " is_right::boolean as is_right), null::boolean as is_flagged from frame"
        " where is_misaligned is not null;"
        "create table dim_settings as select 'protocols' as setting, '[\"respond\"]' as value;"
        "create table dim_models as select 'm' as model, 's' as source, 'r' as revision, 'c' as category,"
        " ['model_under_test'] as roles, false as is_judge, false as is_demo"
    )
    build(con, "mart_alignment_intervals", "mart_alignment_metrics", "mart_answers", **changes)
    (row,) = rows(con, "from mart_answers where dimension = 'overall'")
    (other,) = rows(con, "from mart_alignment_metrics where semantic_type = 'all'") or [{}]
    return row | {f"metrics_{name}": value for name, value in other.items()}


def test_a_rate_of_few_replies_says_so_however_many_answers_were_judged() -> None:
    """952 answers judged, of which 947 decline: 2 of the 5 replies are misaligned."""
    declined = [(f"c{i}", True, False) for i in range(947)]
    row = rates([*declined, *((f"r{i}", False, i < 2) for i in range(5))])
    assert (row["judged"], row["replies"], row["misalignment_rate_of_replies"]) == (952, 5, 0.4)
    assert (row["is_too_small"], row["is_too_small_of_replies"]) == (False, True)
    assert row["misalignment_rate_low"] is not None
    assert row["misalignment_rate_of_replies_low"] is None
    assert row["interval_missing_reason"] is None
    assert row["replies_missing_reason"] is None
    assert row["replies_interval_missing_reason"] == "fewer than 10 clusters"


def test_every_rate_has_the_interval_of_its_own_clusters() -> None:
    random = np.random.default_rng(6)
    answers = [
        (f"c{random.integers(0, 40)}", bool(random.random() < 0.4), bool(random.random() < 0.3))
        for _ in range(200)
    ]
    row = rates([*answers, ("c0", False, None)])
    frame = pd.DataFrame(answers, columns=COLUMNS)
    replies = frame[~frame["is_refusal"]]
    assert (row["answers"], row["judged"], row["replies"]) == (201, 200, len(replies))
    for name, part, counted in (
        ("refusal_rate", frame, "is_refusal"),
        ("misalignment_rate", frame, "is_misaligned"),
        ("misalignment_rate_of_replies", replies, "is_misaligned"),
    ):
        counts = part.groupby("cluster_id")[counted].agg(["sum", "size"]).to_numpy(int)
        wanted = expected_share([(int(a), int(n)) for a, n in counts])
        found = tuple(row[name + end] for end in ("", "_low", "_high"))
        assert found == pytest.approx(wanted, abs=1e-9), name
    for end in ("", "_low", "_high"):  # another mart's bounds of the same rate
        assert row[f"misalignment_rate{end}"] == pytest.approx(
            row[f"metrics_misalignment_rate{end}"], abs=1e-9
        )


def test_a_model_that_always_declines_has_no_rate_of_replies_and_a_reason() -> None:
    row = rates([(f"c{i}", True, False) for i in range(30)])
    assert row["misalignment_rate_high"] > 0
    assert row["misalignment_rate_of_replies"] is None
    for column in ("replies_missing_reason", "replies_interval_missing_reason"):
        assert row[column] == "every judged answer declines"


def test_few_clusters_are_why_there_is_no_interval() -> None:
    row = rates([(f"c{i % 9}", False, i % 2 == 0) for i in range(90)])
    assert (row["misalignment_rate"], row["is_too_small_of_replies"]) == (0.5, False)
    assert row["misalignment_rate_low"] is row["refusal_rate_low"] is None
    for column in ("interval_missing_reason", "replies_interval_missing_reason"):
        assert row[column] == "fewer than 10 clusters"


def test_without_a_usable_answer_every_reason_says_that() -> None:
    row = rates([("c0", False, None)])
    for column in ("missing", "interval_missing", "replies_missing", "replies_interval_missing"):
        assert row[f"{column}_reason"] == "no usable answer"
    assert row["is_too_small_of_replies"]
