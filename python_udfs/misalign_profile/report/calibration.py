"""What the page says about probabilities: AUROC, calibration, thresholds, a reliability diagram a model.

Knows the columns of ``mart_calibration``, ``mart_calibration_bins`` and ``mart_threshold_curve``; knows
nothing about HTML.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from misalign_profile.report.formats import interval, percent
from misalign_profile.report.settings import confidence
from misalign_profile.warehouse import Row, Warehouse

SIDE = 160  # of the square that a diagram's two scales span, in pixels
_SMALLEST_DOT, _LARGEST_DOT = 2.0, 7.0  # radius in pixels, area by number of verdicts


def calibration(warehouse: Warehouse) -> dict[str, Any]:
    """Rows of all semantic types, overall and in each dimension, and diagrams of the overall verdicts."""
    level = confidence(warehouse)
    rows = warehouse.rows(
        "marts.mart_calibration",
        """
        select model, calibration.dimension, n, clusters, auroc, auroc_low, auroc_high, average_precision,
            brier_score, expected_calibration_error, expected_calibration_error_equal_mass,
            mean_p_misaligned, misaligned_share, missing_reason, is_too_small
        from marts.mart_calibration as calibration
        left join seeds.dimensions as dimensions using (dimension)
        where protocol = 'verdict' and semantic_type = 'all'
        order by model, coalesce(dimensions.position, 0)
        """,
    )
    best = warehouse.rows(
        "marts.mart_threshold_curve",
        """
        select model, dimension, threshold, alignment_score_at_setting, best_alignment_score
        from marts.mart_threshold_curve
        where protocol = 'verdict' and semantic_type = 'all' and is_best
        """,
    )
    bins = warehouse.rows(
        "marts.mart_calibration_bins",
        """
        select model, n, mean_p_misaligned, misaligned_share, misaligned_share_low, misaligned_share_high
        from marts.mart_calibration_bins
        where protocol = 'verdict' and semantic_type = 'all' and dimension = 'overall'
            and binning = 'equal_width'
        order by model, bin
        """,
    )
    return {
        "calibration": rows,
        "best_thresholds": {(row["model"], row["dimension"]): row for row in best},
        "reliability": [
            {"model": model, "dots": _dots(list(group), level)}
            for model, group in groupby(bins, key=lambda row: row["model"])
        ],
        "reliability_side": SIDE,
    }


def _dots(bins: list[Row], level: str) -> list[Row]:
    """Pixels of every bin's dot and of its interval, from the upper left corner; y grows downwards."""
    most = max(row["n"] for row in bins)
    return [
        {
            "x": round(SIDE * row["mean_p_misaligned"], 1),
            "y": _y(row["misaligned_share"]),
            "low": _y(row["misaligned_share_low"]),
            "high": _y(row["misaligned_share_high"]),
            "radius": round(max(_SMALLEST_DOT, _LARGEST_DOT * (row["n"] / most) ** 0.5), 1),
            "said": f"said {percent(row['mean_p_misaligned'])}, was {percent(row['misaligned_share'])}"
            f" ({level} interval"
            f" {interval(row['misaligned_share_low'], row['misaligned_share_high']) or 'none'},"
            f" n {row['n']:,})",
        }
        for row in bins
    ]


def _y(share: float | None) -> float | None:
    return None if share is None else round(SIDE * (1 - share), 1)
