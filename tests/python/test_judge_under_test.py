"""A model under test with the judge's checkpoint is known, whatever it is called. Knows no figures of it."""

from __future__ import annotations

import duckdb
import jinja2

from mart_sql import ROOT, rows

TABLES = """
create table models as select *, 'transformers' as engine, 'float32' as dtype, null as category,
    'full' as prompt_style, '' as note from (values
    ('judge', 'lab/a', 'one'), ('the same', 'lab/a', 'one'), ('older', 'lab/a', 'two'),
    ('newest', 'lab/a', null), ('other', 'lab/b', null), ('once a judge', 'lab/b', null),
    ('idle', 'lab/a', 'one')
) as t(model, source, revision);
create table roles as select 'here' as target, * from (values
    ('judge', 'judge'), ('model_under_test', 'the same'), ('model_under_test', 'older'),
    ('model_under_test', 'newest'), ('model_under_test', 'other')
) as t(role, model);
insert into roles values ('elsewhere', 'judge', 'once a judge'), ('here', 'classifier', 'once a judge');
create table int_responses__sampled as from (values ('writer', 'once a judge'), ('writer', 'stranger'))
    as t(responder, judge);
"""


def judges(pairs_source: str = "") -> dict[str, bool]:
    """``is_judge`` of every model of the target 'here'."""
    con = duckdb.connect()
    con.execute(TABLES)
    sql = (ROOT / "models" / "benchmark" / "dim_models.sql").read_text("utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    made = environment.from_string(sql).render(
        ref=lambda name: name, var={"pairs_source": pairs_source}.get, target={"name": "here"}
    )
    con.execute(f"create table dim_models as {made}")
    return {row["model"]: row["is_judge"] for row in rows(con, "from dim_models")}


def test_source_and_revision_decide_and_not_the_name() -> None:
    assert judges() == {
        "judge": True,
        "the same": True,
        "older": False,
        "newest": False,
        "other": False,
        "once a judge": False,  # a judge in another target
    }


def test_whoever_judged_imported_pairs_is_a_judge_too() -> None:
    found = judges("pairs.csv")
    assert {model for model, is_judge in found.items() if is_judge} == {
        *("judge", "the same"),
        *("once a judge", "other"),  # other has its checkpoint
        "stranger",
    }
    assert found["writer"] is False
