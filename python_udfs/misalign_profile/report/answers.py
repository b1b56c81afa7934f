"""What the page says where models answered prompts themselves; nothing where none did.

Knows the rows of the protocol ``respond`` in the marts; knows nothing about HTML.
"""

from __future__ import annotations

from typing import Any

from misalign_profile.warehouse import Warehouse


def answers(warehouse: Warehouse) -> dict[str, Any]:
    """Rates of every model that answered, what they cost in another dimension, and who was left out."""
    rows = warehouse.rows(
        "marts.mart_answers",
        """
        select model, category, answers.dimension, answers, judged, unusable_share,
            refusal_rate, refusal_rate_low, refusal_rate_high,
            misalignment_rate, misalignment_rate_low, misalignment_rate_high,
            misalignment_rate_of_replies, misalignment_rate_of_replies_low,
            misalignment_rate_of_replies_high, replies, clusters,
            missing_reason, replies_missing_reason, is_too_small, is_too_small_of_replies
        from marts.mart_answers as answers
        left join seeds.dimensions as dimensions using (dimension)
        order by model, coalesce(dimensions.position, 0)
        """,
    )
    answered = [row for row in rows if row["answers"]]
    if not answered:
        return {"answered": []}
    cells = warehouse.rows(
        "marts.mart_trade_offs",
        """
        select model, from_dimension, to_dimension, n_right_in_from, trade_off, trade_off_low,
            trade_off_high, error_if_wrong, excess, excess_low, excess_high, is_too_small
        from marts.mart_trade_offs where protocol = 'respond'
        order by model, from_dimension, to_dimension
        """,
    )
    pairs = warehouse.rows(
        "marts.mart_model_comparisons",
        """
        select model_a, model_b, n, only_a_right, only_b_right, accuracy_difference,
            accuracy_difference_low, accuracy_difference_high, holm_p, is_significant
        from marts.mart_model_comparisons
        where protocol = 'respond' and dimension = 'overall' and semantic_type = 'all' and n > 0
        order by holm_p nulls last, model_a, model_b
        """,
    )
    return {
        "answered": answered,
        "answer_trade_offs": cells,
        "answer_comparisons": pairs,
        "unanswered": [row for row in rows if not row["answers"]],
        "unusable": _unusable(warehouse),
        "answer_samples": _samples(warehouse),
    }


def _unusable(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.rows(
        "benchmark.fct_answers",
        """
        select model, unusable_reason, count(*) as answers from benchmark.fct_answers
        where unusable_reason is not null group by all order by model, answers desc
        """,
    )


def _samples(warehouse: Warehouse) -> list[dict[str, Any]]:
    """One answer a model, the first by name, with what the judge says of it overall."""
    return warehouse.rows(
        "benchmark.fct_answers",
        """
        select answers.model, prompts.prompt, answers.answer, answers.unusable_reason,
            verdicts.p_misaligned
        from benchmark.fct_answers as answers
        left join benchmark.dim_prompts as prompts using (prompt_id)
        left join benchmark.fct_verdicts as verdicts
            on answers.model = verdicts.model and answers.item_id = verdicts.item_id
            and verdicts.protocol = 'respond' and verdicts.dimension = 'overall'
        qualify row_number() over (partition by answers.model order by answers.item_id) = 1
        order by answers.model
        """,
    )
