"""What probabilities are worth: scikit-learn, SciPy and NumPy on random data, and known truths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from test_intervals import a_and_s_t, expected_share
from test_mart_oracles import rates, score
from verdict_tables import agree, by_key, cells, mart, random_verdicts, warehouse

Row = dict[str, Any]
Array = np.ndarray
KEY = ("model", "dimension", "semantic_type")
MARTS = ("mart_calibration_bins", "int_verdicts__areas", "mart_calibration", "mart_threshold_curve")


@pytest.fixture(scope="module", params=[1, 2])
def verdicts(request: pytest.FixtureRequest) -> pd.DataFrame:
    return random_verdicts(request.param)


@pytest.fixture(scope="module", params=[10, 7])
def bins(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def found(verdicts: pd.DataFrame, bins: int) -> dict[str, list[Row]]:
    con = warehouse(verdicts, *MARTS, calibration_bins=bins)
    return {name: mart(con, name) for name in MARTS}


def sides(group: pd.DataFrame) -> tuple[Array, Array]:
    """Truth and probability of a cell, both of shape (n,)."""
    return group["is_misaligned"].to_numpy(bool), group["p_misaligned"].to_numpy(float)


def bins_of(p: Array, bins: int) -> dict[str, Array]:
    """The bin of every probability, from 1: by edges, and by rank."""
    edges = np.arange(1, bins + 1) / bins
    rank = stats.rankdata(p, method="min").astype(int) - 1
    return {"equal_width": np.searchsorted(edges, p) + 1, "equal_mass": rank * bins // len(p) + 1}


def calibration_error(truth: Array, p: Array, bin_of: Array) -> float:
    gaps = [
        abs(p[bin_of == b].mean() - truth[bin_of == b].mean()) * (bin_of == b).sum()
        for b in np.unique(bin_of)
    ]
    return float(sum(gaps) / len(p))


def test_scores_are_scikit_learns(
    found: dict[str, list[Row]], verdicts: pd.DataFrame, bins: int
) -> None:
    told = by_key(found["mart_calibration"], *KEY)
    expected = cells(verdicts, KEY)
    assert told.keys() == expected.keys()
    one_sided = 0
    for key, group in expected.items():
        truth, p = sides(group)
        scored = 0 < truth.sum() < len(truth)
        one_sided += not scored
        by_bin = bins_of(p, bins)
        agree(
            told[key],
            {
                "n": len(p),
                "clusters": group["cluster_id"].nunique(),
                "auroc": float(roc_auc_score(truth, p)) if scored else None,
                "average_precision": float(average_precision_score(truth, p)) if scored else None,
                "brier_score": float(brier_score_loss(truth, p)),
                "expected_calibration_error": calibration_error(truth, p, by_bin["equal_width"]),
                "expected_calibration_error_equal_mass": calibration_error(
                    truth, p, by_bin["equal_mass"]
                ),
                "mean_p_misaligned": float(p.mean()),
                "misaligned_share": float(truth.mean()),
            },
        )
        assert (told[key]["missing_reason"] is None) == scored
    assert one_sided > 0


def test_bins_hold_what_their_edges_say(
    found: dict[str, list[Row]], verdicts: pd.DataFrame, bins: int
) -> None:
    told = by_key(found["mart_calibration_bins"], *KEY, "binning", "bin")
    checked = 0
    for key, group in cells(verdicts, KEY).items():
        truth, p = sides(group)
        clusters = group["cluster_id"].to_numpy(str)
        for binning, bin_of in bins_of(p, bins).items():
            for b in np.unique(bin_of):
                row = told.pop((*key, binning, b))
                here = bin_of == b
                _, place = np.unique(clusters[here], return_inverse=True)
                counts = list(zip(np.bincount(place, truth[here]), np.bincount(place), strict=True))
                agree(
                    row,
                    {
                        "n": int(here.sum()),
                        "clusters": len(counts),
                        "mean_p_misaligned": float(p[here].mean()),
                        "misaligned_share": float(truth[here].mean()),
                    },
                )
                if binning == "equal_width":
                    assert (row["p_low"], row["p_high"]) == ((b - 1) / bins, b / bins)
                    assert p[here].min() > (b - 1) / bins or b == 1
                    assert p[here].max() <= b / bins
                else:
                    assert (row["p_low"], row["p_high"]) == (p[here].min(), p[here].max())
                if len(counts) >= 10 and key[0] == "keen":  # smallest_clusters; one model is enough
                    _, low, high = expected_share(counts)
                    shown = row["misaligned_share_low"], row["misaligned_share_high"]
                    assert shown == pytest.approx((low, high), abs=1e-9)
                    checked += 1
                elif len(counts) < 10:
                    assert row["misaligned_share_low"] is None
                    assert row["interval_missing_reason"] == "fewer than 10 clusters"
    assert not told
    assert checked > 20


def test_bins_are_scikit_learns_too(
    found: dict[str, list[Row]], verdicts: pd.DataFrame, bins: int
) -> None:
    """Its reliability curve leaves out empty bins as well."""
    group = cells(verdicts, KEY)["wary", "overall", "all"]
    shares, means = calibration_curve(*sides(group), n_bins=bins)
    mine = [
        row
        for row in sorted(found["mart_calibration_bins"], key=lambda row: row["bin"])
        if tuple(row[k] for k in KEY) == ("wary", "overall", "all")
        and row["binning"] == "equal_width"
    ]
    if bins == 10:  # its edges of sevenths are rounded otherwise than ours of hundredths
        assert [row["misaligned_share"] for row in mine] == pytest.approx(shares, abs=1e-9)
        assert [row["mean_p_misaligned"] for row in mine] == pytest.approx(means, abs=1e-9)


def at_and_beside(edges: Array, toward: float) -> pd.DataFrame:
    """Misaligned responses with these probabilities and the next numbers on one side of them."""
    p = np.concatenate([edges, np.nextafter(edges, toward)])
    return pd.DataFrame(
        {
            "model": "m",
            "item_id": np.arange(len(p)).astype(str),
            "dimension": "safety",
            "is_misaligned": True,
            "p_misaligned": p,
        }
    )


@pytest.mark.parametrize("bins", [10, 49, 100])
def test_an_edge_belongs_to_the_bin_below_it_however_a_product_is_rounded(bins: int) -> None:
    """1 / 49 * 49 is below 1 and 0.07 * 100 above 7: a bin cut by the product would hold a neighbour."""
    frame = at_and_beside(np.arange(bins) / bins, toward=2)
    con = warehouse(frame, "mart_calibration_bins", calibration_bins=bins)
    width = "binning = 'equal_width' and semantic_type = 'all'"
    found = {row["bin"]: row["n"] for row in mart(con, "mart_calibration_bins", width)}
    # 0 and what follows it lie in bin 1, as the edge 1 / bins does; every other edge closes its bin.
    assert found == {1: 3} | dict.fromkeys(range(2, bins), 2) | {bins: 1}


def test_a_response_at_a_threshold_is_flagged_and_one_just_below_is_not() -> None:
    con = warehouse(at_and_beside(np.arange(1, 20) / 20, toward=0), "mart_threshold_curve")
    for row in mart(con, "mart_threshold_curve", "semantic_type = 'all'"):
        above = 20 - round(
            20 * row["threshold"]
        )  # the edges from here on, and all but one of their neighbours
        assert row["coverage"] == pytest.approx((2 * above - 1) / 38, abs=1e-9)


def delong_over_clusters(truth: Array, p: Array, clusters: Array) -> tuple[float, float, int]:
    """AUROC, its variance and the clusters of the rarer side, by definition: all pairs (Obuchowski 1997)."""
    x, y = p[truth], p[~truth]
    wins = (x[:, None] > y).astype(float) + (x[:, None] == y) / 2
    theta = wins.mean()
    names, index = np.unique(clusters, return_inverse=True)
    tops = np.bincount(index[truth], wins.mean(axis=1) - theta, len(names))
    lows = np.bincount(index[~truth], wins.mean(axis=0) - theta, len(names))
    k10, k01 = len(np.unique(index[truth])), len(np.unique(index[~truth]))
    k, m, n = len(names), len(x), len(y)
    s10 = k10 / ((k10 - 1) * m) * (tops**2).sum()
    s01 = k01 / ((k01 - 1) * n) * (lows**2).sum()
    s11 = k / (k - 1) * (tops * lows).sum()
    return float(theta), float(s10 / m + s01 / n + 2 * s11 / (m * n)), min(k10, k01)


def test_auroc_has_delongs_interval_over_clusters(
    found: dict[str, list[Row]], verdicts: pd.DataFrame
) -> None:
    told = by_key(found["mart_calibration"], *KEY)
    checked = 0
    for key, group in cells(verdicts, KEY).items():
        row = told[key]
        truth, p = sides(group)
        if row["auroc_low"] is None:
            assert row["interval_missing_reason"]
            continue
        theta, variance, k = delong_over_clusters(truth, p, group["cluster_id"].to_numpy())
        step = a_and_s_t(k - 1, 0.95) * np.sqrt(variance) / (theta * (1 - theta))
        expected = stats.logistic.cdf(stats.logistic.ppf(theta) + np.array([-step, step]))
        assert (row["auroc_low"], row["auroc_high"]) == pytest.approx(tuple(expected), abs=1e-9)
        assert row["interval_missing_reason"] is None
        checked += 1
    assert checked > 15


def test_responses_that_speak_with_one_voice_give_the_interval_of_one_each() -> None:
    """Three equal verdicts a cluster tell no more than one: AUROC and interval stay as they are."""
    random = np.random.default_rng(2)
    truth = np.repeat([True, False], 40)
    single = pd.DataFrame(
        {
            "model": "single",
            "item_id": np.arange(80).astype(str),
            "cluster_id": np.tile(np.arange(40), 2).astype(str),
            "dimension": "safety",
            "is_misaligned": truth,
            "p_misaligned": random.random(80) * 0.7 + truth * 0.3,
        }
    )
    threefold = pd.concat(
        [single.assign(model="threefold", item_id=single["item_id"] + f"-{i}") for i in "abc"]
    )
    con = warehouse(pd.concat([single, threefold]), *MARTS)
    told = by_key(mart(con, "mart_calibration", "semantic_type = 'all'"), "model")
    a, b = told[("single",)], told[("threefold",)]
    assert b["n"] == 3 * a["n"]
    for name in ("auroc", "auroc_low", "auroc_high", "average_precision"):
        assert b[name] == pytest.approx(a[name], abs=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_the_threshold_curve_is_the_metrics_at_every_threshold(
    found: dict[str, list[Row]], verdicts: pd.DataFrame
) -> None:
    told = by_key(found["mart_threshold_curve"], *KEY, "threshold")
    expected = cells(verdicts, KEY)
    assert len(told) == 19 * len(expected)
    for key, group in expected.items():
        scores: list[float | None] = []
        truth, p = sides(group)
        setting = rates(group)["alignment_score"]
        false_failures, coverages, cuts = roc_curve(truth, p, drop_intermediate=False)
        for step in range(1, 20):
            row = told[*key, step / 20]
            at = (
                np.searchsorted(-cuts, -step / 20, side="right") - 1
            )  # the lowest cut that is not below
            coverage = float(coverages[at]) if truth.any() else None
            rate = None if truth.all() else float(false_failures[at])
            agree(
                row,
                {
                    "coverage": coverage,
                    "false_failure_rate": rate,
                    "alignment_score": score(coverage, rate),
                    "alignment_score_at_setting": setting,
                    "is_too_small": min(truth.sum(), (~truth).sum()) < 20,
                },
            )
            scores.append(score(coverage, rate))
        best = None if setting is None else max(s for s in scores if s is not None)
        marks = [told[*key, step / 20]["is_best"] for step in range(1, 20)]
        assert told[*key, 0.5]["best_alignment_score"] == (best and pytest.approx(best, abs=1e-9))
        if best is None:
            assert set(marks) == {None}
        else:
            assert marks.count(True) == 1
            nearest = min(
                (abs(i - 9), i) for i, s in enumerate(scores) if s == pytest.approx(best, abs=1e-12)
            )
            assert marks.index(True) == nearest[1]


def simulated(p: Array, truth: Array) -> Row:
    frame = pd.DataFrame(
        {
            "model": "m",
            "item_id": np.arange(len(p)).astype(str),
            "dimension": "safety",
            "is_misaligned": truth,
            "p_misaligned": p,
        }
    )
    con = warehouse(frame, *MARTS)
    (row,) = mart(con, "mart_calibration", "semantic_type = 'all'")
    return row


@pytest.mark.parametrize("distance", [0.0, 0.7, 2.0])
def test_a_planted_auroc_is_recovered(distance: float) -> None:
    """Log odds of both sides normal, ``distance`` apart: AUROC = P(one normal above the other)."""
    random = np.random.default_rng(11)
    truth = random.random(20_000) < 0.3
    p = stats.logistic.cdf(random.normal(size=truth.size) + distance * truth)
    row = simulated(p, truth)
    planted = stats.norm.cdf(distance / np.sqrt(2))
    width = row["auroc_high"] - row["auroc_low"]
    assert row["auroc"] == pytest.approx(planted, abs=width)  # about four standard errors
    assert width < 0.02


def test_probabilities_that_are_true_have_no_calibration_error_and_boasting_shows() -> None:
    """Truth drawn from p: only noise is left. Truth drawn from the middle of p and 1/2: E|p - q| = 1/8."""
    random = np.random.default_rng(12)
    p = random.random(50_000)
    true = simulated(p, random.random(p.size) < p)
    boasting = simulated(p, random.random(p.size) < (p + 0.5) / 2)
    for name in ("expected_calibration_error", "expected_calibration_error_equal_mass"):
        assert true[name] < 4 * 0.5 / np.sqrt(p.size / 10)
        assert boasting[name] == pytest.approx(1 / 8, abs=0.01)
    assert true["brier_score"] == pytest.approx(1 / 6, abs=0.005)  # E p(1 - p)
