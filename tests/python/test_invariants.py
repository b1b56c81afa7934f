"""The invariants of the dataset (tests/dbt/assert_*.sql) hold on a sound warehouse and notice each fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import jinja2
import pytest

FOLDER = Path(__file__).parents[1] / "dbt"
INVARIANTS = (
    "assert_pairs_trace_to_calls",
    "assert_draws_are_in_one_state",
    "assert_splits_and_labels_agree_everywhere",
)
ONE_PAIR = "(select min(pair_id) from benchmark.fct_pairs)"
ONE_DRAW = f"(select aligned_response_id from benchmark.fct_pairs where pair_id = {ONE_PAIR})"
ONE_CALL = f"(select call_id from benchmark.fct_draws where response_id = {ONE_DRAW})"
JUDGED = (
    f"(select min(call_id) from responses.int_responses__judged where response_id = {ONE_DRAW})"
)
ONE_PROMPT = f"(select prompt_id from benchmark.fct_pairs where pair_id = {ONE_PAIR})"
FAULTS = {
    "a call is gone": (
        "pairs_trace",
        f"delete from benchmark.fct_calls where call_id = {ONE_CALL}",
    ),
    "a call is another stage's": (
        "pairs_trace",
        f"update benchmark.fct_calls set stage = 'expand' where call_id = {ONE_CALL}",
    ),
    "a text is not the draw's": (
        "pairs_trace",
        f"update benchmark.fct_pairs set misaligned_response = 'x' where pair_id = {ONE_PAIR}",
    ),
    "a judgement's call is gone": (
        "pairs_trace",
        f"delete from benchmark.fct_calls where call_id = {JUDGED}",
    ),
    "a judgement is gone": (
        "pairs_trace",
        f"delete from responses.int_responses__judged where call_id = {JUDGED}",
    ),
    "a kept draw is rejected": (
        "draws_are",
        f"update benchmark.fct_draws set rejection_reason = 'echo' where response_id = {ONE_DRAW}",
    ),
    "a draw is in two pairs": (
        "draws_are",
        f"update benchmark.fct_pairs set aligned_response_id = {ONE_DRAW} where pair_id ="
        " (select max(pair_id) from benchmark.fct_pairs)",
    ),
    "paired and unresolved": (
        "draws_are",
        "insert into benchmark.fct_unresolved (prompt_id, responder) select prompt_id, responder"
        f" from benchmark.fct_pairs where pair_id = {ONE_PAIR}",
    ),
    "lost without a reason": (
        "draws_are",
        f"delete from benchmark.fct_pairs where prompt_id = {ONE_PROMPT}",
    ),
    "a pair in another split": (
        "splits_and",
        "update benchmark.fct_pairs set split = if(split = 'test', 'train', 'test')"
        f" where pair_id = {ONE_PAIR}",
    ),
    "a cluster in two splits": (
        "splits_and",
        "insert into benchmark.dim_prompts select * replace ('twin' as prompt_id,"
        " if(split = 'test', 'train', 'test') as split) from benchmark.dim_prompts"
        f" where prompt_id = {ONE_PROMPT}",
    ),
    "a label taken back": (
        "splits_and",
        f"update benchmark.fct_prompt_labels set is_assigned = false where prompt_id = {ONE_PROMPT}",
    ),
    "a verdict of another type": (
        "splits_and",
        "update benchmark.fct_verdicts set semantic_type = 'none' where dimension = 'overall'"
        f" and prompt_id = {ONE_PROMPT}",
    ),
    "a draw of another type": (
        "splits_and",
        f"update benchmark.fct_draws set semantic_type = 'none' where response_id = {ONE_DRAW}",
    ),
}


def violations(warehouse: Path) -> dict[str, int]:
    """Rows that each invariant returns; dbt fails one that returns any."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        tables = con.execute("select table_name, table_schema from information_schema.tables")
        schemas = dict(tables.fetchall())

        def ref(name: str) -> str:
            return f"{schemas[name]}.{name}"

        return {
            name: len(
                con.execute(
                    jinja2.Template((FOLDER / f"{name}.sql").read_text("utf-8")).render(ref=ref)
                ).fetchall()
            )
            for name in INVARIANTS
        }


def test_a_sound_warehouse_has_none(small_warehouse: Path) -> None:
    assert violations(small_warehouse) == dict.fromkeys(INVARIANTS, 0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, changed: Callable[[str], Path]) -> None:
    name, sql = FAULTS[fault]
    loose = "alter table benchmark.fct_unresolved alter {} drop not null;"
    free = "".join(loose.format(c) for c in ("side", "draws", "rounds", "unresolved_reason"))
    found = violations(changed(f"{free if 'unresolved (' in sql else ''} {sql}"))
    assert any(rows and name in invariant for invariant, rows in found.items())
