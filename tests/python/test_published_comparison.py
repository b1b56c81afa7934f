"""Ours beside the published ranges: when the two may be compared, and what is said where they may not."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pytest

from mart_sql import ROOT, build, rows

TABLES = """
create table dim_published_ranges as
    select quantity, model_category, low / 100 as low, high / 100 as high, statement, source
    from read_csv('{ranges}', header = true);
create table dim_prompts as
    from (values ('source', 20100), ('source', 48), ('expansion', 9)) as t(origin, copies);
create table dim_models as select *, false as is_demo from (values
    ('tuned', 'lab/tuned', 'fine-tuned', ['model_under_test']),
    ('general', 'lab/general', 'general-purpose', ['model_under_test']),
    ('classifier', 'google/gemma-2-9b-it', null, ['classifier']),
    ('expander', 'Qwen/Qwen3-30B-A3B-Instruct-2507', null, ['expander']),
    ('responder', 'mistralai/Mistral-7B-Instruct-v0.3', null, ['responder']),
    ('judge', 'lab/judge', null, ['judge'])
) as t(model, source, category, roles);
create table dim_settings as select * from (values
    ('label_threshold', '0.5'), ('near_duplicate_max_distance', '10'), ('near_duplicate_min_jaccard', '0'),
    ('temperature', '0.7'), ('top_p', '0.9'), ('max_new_tokens', '512'), ('candidates_per_side', '3'),
    ('resampling_rounds', '2'), ('response_prompts_limit', '0'), ('pairs_imported', 'false'),
    ('include_seed_prompts', 'false'), ('prompts_limit', '0'), ('expansion_target', '100'),
    ('smallest_n', '20')
) as t(setting, value);
create table mart_alignment_metrics as
    select 'verdict' as protocol, model, category, is_demo, 'overall' as dimension, 'all' as semantic_type,
        false as is_too_small,
        0.64 as alignment_score, 0.62 as alignment_score_low, 0.66 as alignment_score_high, 0.99 as coverage,
        0.98 as coverage_low, 1.0 as coverage_high, 0.53 as false_failure_rate,
        0.5 as false_failure_rate_low, 0.55 as false_failure_rate_high
    from dim_models where category is not null;
create table mart_trade_offs as
    select 'verdict' as protocol, model, category, is_demo, false as is_too_small,
        'safety' as from_dimension, to_dimension,
        trade_off, trade_off - 0.1 as trade_off_low,
        trade_off + 0.1 as trade_off_high
    from dim_models cross join (values (0.2e0, 'value'), (0.3e0, 'cultural')) as t(trade_off, to_dimension)
    where category is not null;
"""


MADE_BY_DEMO = "made or judged by demo or scripted models"


def compared(*changes: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of the mart by quantity and model, after some changes to a run that may be compared."""
    con = duckdb.connect()
    con.execute(TABLES.format(ranges=ROOT / "seeds" / "published_ranges.csv"))
    for change in changes:
        con.execute(change)
    build(con, "mart_published_comparison")
    found = rows(con, "select * from mart_published_comparison")
    return {(row["quantity"], row["model"]): row for row in found}


def test_published_settings_and_models_may_be_compared() -> None:
    found = compared()
    scores = {key: row for key, row in found.items() if key[0] != "trade_off"}
    assert set(scores) == {
        ("alignment_score", "general"),
        ("alignment_score", "tuned"),
        ("coverage", "tuned"),
        ("false_failure_rate", "tuned"),
    }
    assert all(row["may_be_compared"] for row in scores.values())
    assert {key: row["is_within"] for key, row in scores.items()} == {
        ("alignment_score", "general"): False,  # 64 of 79-86
        ("alignment_score", "tuned"): True,  # 64 of 63-66
        ("coverage", "tuned"): False,  # 99, up to 97.6
        ("false_failure_rate", "tuned"): None,  # 53, above 50: so is any larger value
    }
    one_sided = scores.pop(("false_failure_rate", "tuned"))
    assert (
        one_sided["within_missing_reason"] == "one bound alone is published, and ours keeps to it"
    )
    assert {row["within_missing_reason"] for row in scores.values()} == {None}


def test_a_smaller_value_than_the_largest_published_one_is_not_within() -> None:
    found = compared("update mart_alignment_metrics set coverage = 0.01")
    assert found["coverage", "tuned"]["may_be_compared"]
    assert found["coverage", "tuned"]["is_within"] is None


def test_the_largest_trade_off_keeps_its_own_interval_and_its_own_size() -> None:
    """Planted: 0.9 of three responses, without an interval, above 0.3 of many."""
    found = compared(
        "insert into mart_trade_offs by name select 'verdict' as protocol, 'general' as model,"
        " 'general-purpose' as category, false as is_demo, true as is_too_small, 0.9 as trade_off,"
        " 'value' as from_dimension, 'safety' as to_dimension",
        "insert into mart_trade_offs by name select 'verdict' as protocol, 'tuned' as model,"
        " 'fine-tuned' as category, false as is_demo, true as is_too_small,"
        " 'value' as from_dimension, 'safety' as to_dimension",
    )
    columns = ("ours", "ours_low", "ours_high", "is_too_small")
    assert tuple(found["trade_off", "general"][c] for c in columns) == (0.9, None, None, True)
    tuned = tuple(found["trade_off", "tuned"][c] for c in columns)
    assert tuned == pytest.approx((0.3, 0.2, 0.4, False))


def test_a_model_without_a_trade_off_keeps_its_row() -> None:
    row = compared("update mart_trade_offs set trade_off = null")["trade_off", "general"]
    assert (row["ours"], row["ours_low"], row["is_too_small"]) == (None, None, True)


def test_trade_offs_are_shown_and_never_compared() -> None:
    row = compared()["trade_off", "general"]
    assert (row["ours"], row["ours_low"], row["ours_high"]) == pytest.approx((0.3, 0.2, 0.4))
    assert (row["published_low"], row["published_high"]) == (0.12, 0.34)
    assert not row["may_be_compared"]
    assert row["not_compared_reason"] == "the published formula is not known"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update mart_alignment_metrics set is_demo = true", "a demo or scripted model"),
        ("update dim_models set is_demo = true where model = 'judge'", MADE_BY_DEMO),
        ("update dim_models set is_demo = true where model = 'expander'", MADE_BY_DEMO),
        ("update dim_settings set value = '0.8' where setting in ('top_p', 'temperature')",
         "other settings than published: temperature, top_p"),
        ("update dim_settings set value = 'true' where setting = 'include_seed_prompts'",
         "other prompts than published: include_seed_prompts"),
        ("update dim_settings set value = '16' where setting in ('prompts_limit', 'expansion_target')",
         "other prompts than published: expansion_target, prompts_limit"),
        ("delete from dim_prompts where copies = 48", "other prompts than published: source_prompts"),
        ("delete from dim_prompts", "other prompts than published: source_prompts"),
        ("update dim_settings set value = 'true' where setting in ('pairs_imported', 'include_seed_prompts')",
         "pairs were imported, and whether they are the published ones is not known"),
        ("update dim_models set source = 'lab/x' where model in ('responder', 'classifier')",
         "other models than published: classifier, responder"),
        ("update mart_alignment_metrics set is_too_small = true", "too few responses"),
    ],
)  # fmt: skip
def test_every_reason_forbids_the_comparison(change: str, reason: str) -> None:
    for key, row in compared(change).items():
        if key[0] != "trade_off":
            assert row["not_compared_reason"] == reason
            assert (row["may_be_compared"], row["is_within"]) == (False, None)
            assert row["within_missing_reason"] == reason


def test_the_published_settings_are_vars_that_a_build_records() -> None:
    mart = (ROOT / "models" / "marts" / "mart_published_comparison.sql").read_text("utf-8")
    named = set(re.findall(r'^    "(\w+)": ', mart, re.M))
    recorded = (ROOT / "models" / "benchmark" / "dim_settings.sql").read_text("utf-8")
    assert named
    assert named - {"source_prompts"} <= set(re.findall(r"[\"'](\w+)[\"']", recorded))
