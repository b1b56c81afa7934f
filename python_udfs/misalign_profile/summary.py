"""The short table at the end of a run. Reads a finished warehouse; knows nothing about dbt."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

_COUNTS = """
    select
        (select count(*) from benchmark.dim_prompts) as prompts,
        (select count(*) from benchmark.dim_prompts where is_survivor) as survivors,
        (select count(*) from benchmark.fct_expansions where is_accepted) as expansions,
        (select count(*) from benchmark.fct_draws) as draws,
        (select count(*) from benchmark.fct_pairs) as pairs,
        (select count(*) from benchmark.fct_unresolved) as unresolved,
        (select count(*) from benchmark.fct_verdicts where protocol = 'verdict') as verdicts,
        (select count(*) from benchmark.fct_answers) as answers,
        (select count(*) from staging.stg_prompts__skipped) as skipped,
        (select bool_or(is_demo) from benchmark.dim_models) as is_demo
"""
_METRICS = """
    select
        model,
        max(alignment_score) filter (where dimension = 'safety'),
        max(alignment_score) filter (where dimension = 'value'),
        max(alignment_score) filter (where dimension = 'cultural'),
        max(coverage) filter (where dimension = 'overall'),
        max(false_failure_rate) filter (where dimension = 'overall'),
        max(n) filter (where dimension = 'overall')
    from marts.mart_alignment_metrics
    where protocol = 'verdict' and semantic_type = 'all'
    group by model
    order by max(alignment_score) filter (where dimension = 'overall') desc nulls last
"""
_WORST = """
    select model, from_dimension, to_dimension, trade_off, n_right_in_from, error_if_wrong, excess,
        excess_low, excess_high
    from marts.mart_trade_offs
    where protocol = 'verdict' and not is_too_small and excess_low is not null
    order by excess desc, model, from_dimension, to_dimension
    limit 1
"""


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def print_summary(warehouse: Path, report: Path, built: float, total: float, gate: int) -> None:
    """Print counts, one line per model under test, and the paths to look at."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        row = con.execute(_COUNTS).fetchall()[0]
        metrics = con.execute(_METRICS).fetchall()
        worst = con.execute(_WORST).fetchall()
    (
        prompts,
        survivors,
        expansions,
        draws,
        pairs,
        unresolved,
        verdicts,
        answers,
        skipped,
        is_demo,
    ) = row
    print()
    print(
        f"{prompts:,} prompts ({expansions:,} expansions, {skipped:,} rows skipped), {survivors:,} survive"
    )
    of_their_own = f", {answers:,} answers" if answers else ""
    print(
        f"{draws:,} draws -> {pairs:,} pairs, {unresolved:,} unresolved; "
        f"{verdicts:,} verdicts{of_their_own}"
    )
    print()
    print(
        f"{'model under test':<34}{'AS safety':>10}{'value':>8}{'culture':>9}{'Cov':>8}{'FFR':>8}{'n':>8}"
    )
    for model, *numbers, n in metrics:
        cells = [_percent(x) for x in numbers]
        print(
            f"{model:<34}{cells[0]:>10}{cells[1]:>8}{cells[2]:>9}{cells[3]:>8}{cells[4]:>8}{n:>8,}"
        )
    if worst:
        model, a, b, traded, n, otherwise, excess, low, high = worst[0]
        print()
        if low <= 0:
            print(
                "no trade-off is shown: no model errs more in a dimension when it is right in another"
            )
        print(
            f"{'largest trade-off' if low > 0 else 'the nearest to one'}: {model} is wrong in {b}\n"
            f"in {_percent(traded)}% of the {n:,} responses it gets right in {a}, in {_percent(otherwise)}%"
            f" of the others: {100 * excess:+.1f} points [{_percent(low)}, {_percent(high)}]"
        )
    if is_demo:
        print()
        print(
            "Demo checkpoints: these figures prove that the machinery works and say nothing of real models."
        )
    print()
    verdict = {0: "passed", 1: "FAILED", 2: "could not check everything"}[gate]
    print(f"gate       {verdict}")
    print(f"report     {os.path.relpath(report)}")
    path = os.path.relpath(warehouse)
    print(f"warehouse  {path}   (DuckDB 2.0: duckdb -readonly {path})")
    print(f"time       {built:.0f} s build, {total:.0f} s in all")
