"""What the page says about the judge: how it agrees with another and with itself, and how sure it is.

Knows the columns of the marts of judges; knows nothing about HTML.
"""

from __future__ import annotations

from typing import Any

from misalign_profile.warehouse import Warehouse

_AGREEMENT = """
    select compared, judge, other_judge, is_second, agreement.dimension, side, n, clusters, violation_rate,
        other_violation_rate, agreement, agreement_low, agreement_high, kappa, kappa_low, kappa_high,
        kappa_missing_reason, alpha, alpha_low, alpha_high, mean_difference, mean_absolute_difference,
        is_too_small
    from marts.mart_judge_agreement as agreement
    left join seeds.dimensions as dimensions using (dimension)
    order by compared, is_second, coalesce(dimensions.position, 0), side != 'all', side
"""
_CONSISTENCY = """
    select judge, is_second, consistency.dimension, n, clusters, mean_p_violates, self_consistency,
        unsure_share, unsure_share_low, unsure_share_high, under_test_as, is_too_small
    from marts.mart_judge_consistency as consistency
    left join seeds.dimensions as dimensions using (dimension)
    order by is_second, coalesce(dimensions.position, 0)
"""


def judges(warehouse: Warehouse) -> dict[str, Any]:
    """Two judges beside each other, one beside itself, and who of them is under test as well."""
    compared = warehouse.rows("marts.mart_judge_agreement", _AGREEMENT)
    consistency = warehouse.rows("marts.mart_judge_consistency", _CONSISTENCY)
    return {
        "judges_compared": [row for row in compared if row["compared"] == "judges"],
        "judge_beside_itself": [
            row for row in compared if row["compared"] != "judges" and row["side"] == "all"
        ],
        "judge_consistency": consistency,
        "judges_under_test": sorted(
            {
                (row["judge"], tuple(row["under_test_as"]))
                for row in consistency
                if row["under_test_as"]
            }
        ),
    }
