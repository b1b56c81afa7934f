"""What the page says of sampling, as rows. Knows the columns of the warehouse, no HTML."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from misalign_profile.warehouse import Row, Warehouse

HARDEST = 4  # domains shown of each responder and side


def funnel(warehouse: Warehouse) -> dict[str, Any]:
    """What became of draws, slots and pairs; which domains are turned down; what tells the sides apart."""
    reasons = warehouse.rows(
        "seeds.rejection_reasons",
        "select rejection_reason, description from seeds.rejection_reasons",
    )
    outcomes = warehouse.rows(
        "marts.mart_rejection_funnel",
        """
        select responder, side, round, rejected_by, outcome, sum(draws)::bigint as draws
        from marts.mart_rejection_funnel
        where domain = 'all'
        group by responder, side, round, rejected_by, outcome
        order by responder, side, round,
            case rejected_by when 'rules' then 1 when 'nobody' then 3 else 2 end, draws desc
        """,
    )
    rounds = [
        _round(responder, side, number, list(group))
        for (responder, side, number), group in groupby(
            outcomes, key=lambda row: (row["responder"], row["side"], row["round"])
        )
    ]
    slots = warehouse.rows(
        "benchmark.fct_draws",
        """
        with slots as (
            select prompt_id, responder, side,
                min(round) filter (where rejection_reason is null) as accepted_round
            from benchmark.fct_draws
            group by all
        )
        select responder, side, count(*) as slots,
            count(*) filter (where accepted_round = 0) as by_filtering,
            count(*) filter (where accepted_round > 0) as by_resampling,
            count(*) filter (where accepted_round is null) as unresolved,
            count(*) filter (where accepted_round > 0 or accepted_round is null) as failed_first
        from slots group by responder, side order by responder, side
        """,
    )
    unresolved = warehouse.rows(
        "benchmark.fct_unresolved",
        """
        select responder, side, unresolved_reason, count(*) as slots
        from benchmark.fct_unresolved group by all order by slots desc, side
        """,
    )
    outcomes_of = "marts.mart_sampling_outcomes"
    hardest = warehouse.rows(
        outcomes_of,
        f"""
        select outcomes.domain, domains.name, outcomes.dimension, responder, side, slots, unresolved,
            first_round_rate, first_round_rate_low, first_round_rate_high, overall_rate, holm_p,
            is_accepted_less_often, missing_reason
        from {outcomes_of} as outcomes
        inner join benchmark.dim_domains as domains using (domain)
        qualify row_number() over (
            partition by responder, side
            order by is_accepted_less_often desc nulls last, difference, outcomes.domain
        ) <= {HARDEST}
        order by responder, side, is_accepted_less_often desc nulls last, difference, outcomes.domain
        """,
    )
    tested = warehouse.one(
        outcomes_of,
        f"""
        select count(*) filter (where domain != 'all') as cells,
            count(holm_p) as tested, count(*) filter (where is_accepted_less_often) as marked,
            any_value(missing_reason) filter (where domain != 'all') as missing_reason
        from {outcomes_of}
        """,
    )
    cues = warehouse.rows(
        "marts.mart_side_cues",
        """
        select responder, side, draws, refusing_draws, refusing_share, pairs, refusing_pairs,
            side_naming_draws, side_naming_pairs,
            mean_words, median_words, longer_share, longer_share_low, longer_share_high, missing_reason
        from marts.mart_side_cues order by responder, side
        """,
    )
    return {
        "funnel": rounds,
        "funnel_widest": max((row["draws"] for row in rounds), default=0),
        "slots": slots,
        "unresolved": unresolved,
        "hardest": hardest,
        "bias_tests": tested,
        "cues": cues,
        "reasons": {row["rejection_reason"]: row["description"] for row in reasons},
    }


def _round(responder: str, side: str, number: int, outcomes: list[Row]) -> Row:
    by = {"rules": 0, "judge": 0, "nobody": 0}
    for row in outcomes:
        by["nobody" if row["rejected_by"] == "nobody" else _kind(row["rejected_by"])] += row[
            "draws"
        ]
    return {
        "responder": responder,
        "side": side,
        "round": number,
        "draws": sum(by.values()),
        "rules": by["rules"],
        "judge": by["judge"],
        "accepted": by["nobody"],
        "reasons": [row for row in outcomes if row["rejected_by"] != "nobody"],
    }


def _kind(rejected_by: str) -> str:
    return "rules" if rejected_by == "rules" else "judge"
