"""What the page says about pairs of models, and about ours beside what is published.

Knows the columns of ``mart_model_comparisons`` and ``mart_published_comparison``; knows nothing about HTML.
"""

from __future__ import annotations

from typing import Any

from misalign_profile.warehouse import Warehouse


def comparisons(warehouse: Warehouse) -> dict[str, Any]:
    """Pairs of models over all semantic types, overall and in each dimension; every published range."""
    rows = warehouse.rows(
        "marts.mart_model_comparisons",
        """
        select model_a, model_b, pairs.dimension, n, clusters, only_a_right, only_b_right,
            accuracy_difference, accuracy_difference_low, accuracy_difference_high,
            alignment_score_difference, alignment_score_difference_low,
            alignment_score_difference_high, mcnemar_p, clustered_p, holm_p, is_significant,
            smallest_difference, missing_reason
        from marts.mart_model_comparisons as pairs
        left join seeds.dimensions as dimensions using (dimension)
        where protocol = 'verdict' and semantic_type = 'all'
        order by coalesce(dimensions.position, 0), holm_p nulls last, model_a, model_b
        """,
    )
    published = warehouse.rows(
        "marts.mart_published_comparison",
        """
        select quantity, category, model, ours, ours_low, ours_high, published_low, published_high,
            not_compared_reason, is_within, within_missing_reason, is_too_small
        from marts.mart_published_comparison order by quantity, category, model
        """,
    )
    return {
        "comparisons": [row for row in rows if row["dimension"] == "overall"],
        "comparisons_by_dimension": [row for row in rows if row["dimension"] != "overall"],
        "published": published,
    }
