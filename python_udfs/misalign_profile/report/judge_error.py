"""What the page says about the judge's errors: how large they are, and the metrics with and without them.

Knows the columns of ``mart_judge_calibration`` and ``mart_corrected_alignment``; knows nothing about HTML.
"""

from __future__ import annotations

from typing import Any

from misalign_profile.warehouse import Warehouse


def judge_errors(warehouse: Warehouse) -> dict[str, Any]:
    """The judge's rates in each dimension; every model's metrics, raw and corrected."""
    calibrations = warehouse.rows(
        "marts.mart_judge_calibration",
        """
        select judge, rates.dimension, n_violating, n_honouring, sensitivity, sensitivity_low,
            sensitivity_high, specificity, specificity_low, specificity_high, missing_reason
        from marts.mart_judge_calibration as rates
        left join seeds.dimensions as dimensions using (dimension)
        order by judge, dimensions.position
        """,
    )
    corrected = warehouse.rows(
        "marts.mart_corrected_alignment",
        """
        select model, category, corrected.dimension, n,
            coverage, coverage_low, coverage_high, corrected_coverage, corrected_coverage_low,
            corrected_coverage_high, false_failure_rate, false_failure_rate_low,
            false_failure_rate_high, corrected_false_failure_rate,
            corrected_false_failure_rate_low, corrected_false_failure_rate_high,
            alignment_score, alignment_score_low, alignment_score_high,
            corrected_alignment_score, corrected_alignment_score_low,
            corrected_alignment_score_high, aligned_violations, corrected_aligned_violations,
            misaligned_violations, corrected_misaligned_violations, is_clipped, missing_reason,
            interval_missing_reason, is_too_small
        from marts.mart_corrected_alignment as corrected
        left join seeds.dimensions as dimensions using (dimension)
        order by model, dimensions.position
        """,
    )
    return {"judge_calibrations": calibrations, "corrected": corrected}
