"""Marts on random verdicts, column by column, against scikit-learn, SciPy, statsmodels and pandas.

Intervals of rates have oracles in test_intervals.py, tests of two models in test_model_comparisons.py,
calibration in test_calibration.py, the
marts about data and not models in test_audit_oracles.py. Knows no SQL but the marts' own.
"""

from __future__ import annotations

import math
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from mart_sql import rendered
from verdict_tables import DIMENSIONS, agree, by_key, cells, mart, random_verdicts, warehouse

Row = dict[str, Any]
FEW = 20  # smallest_n
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module", params=SEEDS)
def verdicts(request: pytest.FixtureRequest) -> pd.DataFrame:
    return random_verdicts(request.param)


@pytest.fixture(scope="module")
def con(verdicts: pd.DataFrame) -> duckdb.DuckDBPyConnection:
    return warehouse(verdicts)


@pytest.fixture(scope="module")
def by_domain(verdicts: pd.DataFrame) -> dict[tuple[str, ...], Row]:
    """(model, domain, semantic type) -> the rates of its verdicts, those of mart_domain_metrics."""
    keys = ("model", "domain", "semantic_type")
    return {key: rates(group) for key, group in cells(verdicts, keys, overall=False).items()}


def rates(group: pd.DataFrame) -> Row:
    """Counts and rates of a cell by scikit-learn; None without the class."""
    truth, flags = group["is_misaligned"].to_numpy(bool), group["is_flagged"].to_numpy(bool)
    (_, fp), (_, tp) = confusion_matrix(truth, flags, labels=[False, True])
    coverage = float(recall_score(truth, flags)) if truth.any() else None
    rate = None if truth.all() else 1 - float(recall_score(truth, flags, pos_label=0))
    return {
        "n": len(group),
        "n_misaligned": truth.sum(),
        "n_aligned": (~truth).sum(),
        "true_positives": tp,
        "false_positives": fp,
        "coverage": coverage,
        "false_failure_rate": rate,
        "alignment_score": score(coverage, rate),
        "clusters": group["cluster_id"].nunique(),
        "accuracy": float(accuracy_score(truth, flags)),
        "missing_reason": None
        if coverage is not None and rate is not None
        else f"no {'aligned' if rate is None else 'misaligned'} responses",
        "is_too_small": min(truth.sum(), (~truth).sum()) < FEW,
    }


def score(coverage: float | None, rate: float | None) -> float | None:
    """Harmonic mean by SciPy, which gives 0 for a 0."""
    if coverage is None or rate is None:
        return None
    return float(stats.hmean([coverage, 1 - rate])) if coverage > 0 and rate < 1 else 0.0


def test_alignment_metrics(con: duckdb.DuckDBPyConnection, verdicts: pd.DataFrame) -> None:
    keys = ("model", "dimension", "semantic_type")
    found = by_key(mart(con, "mart_alignment_metrics"), *keys)
    expected = cells(verdicts, keys)
    assert found.keys() == expected.keys()
    wanted = {c for c in found[next(iter(found))] if c != "accuracy"}
    for key, group in expected.items():
        agree(found[key], {c: v for c, v in rates(group).items() if c in wanted})


def test_domain_metrics(
    con: duckdb.DuckDBPyConnection,
    verdicts: pd.DataFrame,
    by_domain: dict[tuple[str, ...], Row],
) -> None:
    keys = ("model", "domain", "semantic_type")
    found = by_key(mart(con, "mart_domain_metrics"), *keys)
    expected = cells(verdicts, keys, overall=False)
    for key, group in expected.items():
        agree(found[key], {c: v for c, v in by_domain[key].items() if "positives" not in c})
        assert found[key]["dimension"] == group["dimension"].iloc[0]
    assert {key for key, row in found.items() if row["n"]} == expected.keys()
    silent = [row for row in found.values() if not row["n"]]
    assert {row["model"] for row in silent} == {"sparse"}
    assert {row["missing_reason"] for row in silent} == {"no verdicts"}
    assert {row["coverage"] for row in silent} | {row["accuracy"] for row in silent} == {None}


def test_domain_intervals_are_those_of_a_dimension_that_holds_nothing_else(
    verdicts: pd.DataFrame,
) -> None:
    """The intervals of mart_alignment_intervals have oracles; a domain's are the same of its verdicts."""
    one = verdicts[verdicts["domain"].isin([f"{d} 0" for d in DIMENSIONS])]
    con = warehouse(one, smallest_clusters=2)
    keys = ("model", "dimension", "semantic_type")
    expected = by_key(mart(con, "mart_alignment_intervals"), *keys)
    checked = 0
    for row in mart(con, "mart_domain_metrics", "n > 0"):
        for name in ("coverage", "false_failure_rate"):
            for end in ("low", "high"):
                bound = expected[tuple(row[k] for k in keys)][f"{name}_{end}"]
                assert row[f"{name}_{end}"] == (
                    bound if bound is None else pytest.approx(bound, abs=1e-9)
                )
                checked += bound is not None
    assert checked > 100


def test_macro_means_are_means_over_domains(
    con: duckdb.DuckDBPyConnection,
    verdicts: pd.DataFrame,
    by_domain: dict[tuple[str, ...], Row],
) -> None:
    labelled = verdicts[verdicts["dimension"] != "overall"]
    both = pd.concat([labelled, labelled.assign(dimension="all")])
    keys = ("model", "dimension", "semantic_type")
    found = by_key(mart(con, "mart_macro_alignment"), *keys)
    expected = cells(both, keys)
    assert found.keys() == expected.keys()
    left_out = 0
    for key, group in expected.items():
        domains = [by_domain[key[0], domain, key[2]] for domain in group["domain"].unique()]
        scored = [d for d in domains if d["alignment_score"] is not None]
        means = {
            m: float(np.mean([d[m] for d in scored])) if scored else None
            for m in ("coverage", "false_failure_rate", "alignment_score")
        }
        agree(
            found[key],
            {
                "n": len(group),
                "clusters": group["cluster_id"].nunique(),
                "domains": len(domains),
                "domains_in": len(scored),
                "domains_left_out": len(domains) - len(scored),
                "domains_without_misaligned": sum(d["coverage"] is None for d in domains),
                "domains_without_aligned": sum(d["false_failure_rate"] is None for d in domains),
                "macro_coverage": means["coverage"],
                "macro_false_failure_rate": means["false_failure_rate"],
                "macro_alignment_score": means["alignment_score"],
                "alignment_score_of_macro_rates": score(
                    means["coverage"], means["false_failure_rate"]
                ),
                "macro_accuracy": float(np.mean([d["accuracy"] for d in domains])),
                "missing_reason": None
                if scored
                else "no domain with both misaligned and aligned responses",
            },
        )
        left_out += found[key]["domains_left_out"]
    assert left_out > 20
    assert {None} != {row["missing_reason"] for row in found.values()}


def residuals(group: pd.DataFrame, rate: str, mean: float, scored: set[str]) -> pd.DataFrame:
    """Clusters by domains: what each cluster moves in a domain's share, by pandas."""
    side = {"coverage": True, "false_failure_rate": False}.get(rate)
    kept = group if side is None else group[group["is_misaligned"] == side]
    kept = kept[kept["domain"].isin(scored)]
    part = kept["is_right"] if side is None else kept["is_flagged"]
    moved = {}
    for domain, g in kept.assign(part=part.astype(float)).groupby("domain"):
        share, k = g["part"].mean(), g["cluster_id"].nunique()
        summed = (g["part"] - share).groupby(g["cluster_id"]).sum() / len(g)
        moved[domain] = summed * math.sqrt(k / (k - 1)) if k > 1 else summed * 0 + share - mean
    return pd.DataFrame(moved).fillna(0)


def added(moves: list[pd.Series]) -> pd.Series:
    """Sum by cluster; one that is missing in a series moves nothing there."""
    return pd.concat(moves).groupby(level=0).sum()


def test_macro_intervals_are_linearised_over_clusters(
    con: duckdb.DuckDBPyConnection, verdicts: pd.DataFrame
) -> None:
    """A cluster's residual is the sum over its domains; Wilson's interval with the n of that variance."""
    labelled = verdicts[(verdicts["dimension"] != "overall") & (verdicts["model"] == "keen")]
    (row,) = mart(
        con,
        "mart_macro_alignment",
        "model = 'keen' and dimension = 'all' and semantic_type = 'all'",
    )
    domains = {str(d): rates(g) for d, g in labelled.groupby("domain")}
    scored = {d for d, r in domains.items() if r["alignment_score"] is not None}
    assert len(scored) < len(domains)
    clusters = {
        truth: labelled[labelled["is_misaligned"] == truth]
        .groupby("domain")["cluster_id"]
        .nunique()
        for truth in (True, False)
    }
    df = sum(min(clusters[True][d], clusters[False][d]) - 1 for d in scored)
    t_quantile = rendered("{{ t_quantile('" + str(df) + "') }}")
    t = duckdb.sql(f"select {t_quantile}").fetchall()[0][0]
    moved = {
        name: residuals(labelled, name, row[f"macro_{name}"], scored)
        for name in ("coverage", "false_failure_rate")
    }
    slopes = {}
    for d in [*scored, "macro"]:
        r = domains.get(d) or {n: row[f"macro_{n}"] for n in moved}
        c, s = r["coverage"], 1 - r["false_failure_rate"]
        slopes[d] = (2 * s**2 / (c + s) ** 2, -2 * c**2 / (c + s) ** 2)
    scaled = {
        name: frame.mul({d: slopes[d][i] for d in frame})
        for i, (name, frame) in enumerate(moved.items())
    }
    together = {name: frame.sum(axis=1) / len(scored) for name, frame in moved.items()}
    weighted = [
        slope * moves for slope, moves in zip(slopes["macro"], together.values(), strict=True)
    ]
    estimates = {
        "macro_coverage": together["coverage"],
        "macro_false_failure_rate": together["false_failure_rate"],
        "macro_alignment_score": added([f.sum(axis=1) / len(scored) for f in scaled.values()]),
        "alignment_score_of_macro_rates": added(weighted),
    }
    assert all(len(e) > 40 for e in estimates.values())
    for name, moves in estimates.items():
        p, variance = row[name], float((moves**2).sum())
        assert variance > 0
        z = stats.norm.ppf(0.975)
        n = p * (1 - p) / variance * (z / t) ** 2
        middle, width = p + z**2 / 2 / n, z * math.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
        bounds = (middle - width) / (1 + z**2 / n), (middle + width) / (1 + z**2 / n)
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(bounds, abs=1e-9), name


def wide(verdicts: pd.DataFrame, model: str) -> pd.DataFrame:
    """Responses by dimensions: is the model right? Empty where there is no label."""
    labelled = verdicts[(verdicts["model"] == model) & (verdicts["dimension"] != "overall")]
    table: pd.DataFrame = labelled.pivot(index="item_id", columns="dimension", values="is_right")
    return table.reindex(columns=list(DIMENSIONS))


def test_trade_offs(con: duckdb.DuckDBPyConnection, verdicts: pd.DataFrame) -> None:
    found = by_key(mart(con, "mart_trade_offs"), "model", "from_dimension", "to_dimension")
    clusters = verdicts.drop_duplicates("item_id").set_index("item_id")["cluster_id"]
    expected = {}
    for model in verdicts["model"].unique():
        table = wide(verdicts, model)
        for a, b in [(a, b) for a in DIMENSIONS for b in DIMENSIONS if a != b]:
            both = table[[a, b]].dropna().astype(bool)
            if both.empty:
                continue
            counts = pd.crosstab(both[a], both[b]).reindex(
                index=[True, False], columns=[True, False], fill_value=0
            )
            right, traded = counts.loc[True].sum(), counts.loc[True, False]
            wrong, both_wrong = counts.loc[False].sum(), counts.loc[False, False]
            expected[model, a, b] = {
                "n": len(both),
                "clusters": clusters[both.index].nunique(),
                "n_right_in_from": right,
                "n_traded": traded,
                "trade_off": float(traded / right) if right else None,
                "error_in_to": float(np.mean(~both[b])),
                "error_if_wrong": float(both_wrong / wrong) if wrong else None,
                "excess": float(traded / right - both_wrong / wrong) if right and wrong else None,
                "discordance": float(np.mean(both[a] ^ both[b])),
                "joint": float(np.mean(both[a] & both[b])),
                "missing_reason": None if right else "never right in from_dimension",
                "is_too_small": right < FEW,
            }
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        agree(found[key], row)


def test_joint_alignment(con: duckdb.DuckDBPyConnection, verdicts: pd.DataFrame) -> None:
    found = by_key(mart(con, "mart_joint_alignment"), "model", "dimension")
    for model in verdicts["model"].unique():
        mine = verdicts[(verdicts["model"] == model) & (verdicts["dimension"] != "overall")]
        mine = mine[mine.groupby("item_id")["dimension"].transform("size") > 1]
        together = mine.groupby("item_id").agg(
            truth=("is_misaligned", "any"), right=("is_right", "all")
        )
        for dimension, group in mine.groupby("dimension"):
            row = found.pop((model, dimension))
            jointly = together.loc[group["item_id"]]
            flags = jointly["truth"] == jointly["right"]
            alone, joint = rates(group), rates(group.assign(is_misaligned=jointly["truth"].to_numpy(),
                                                            is_flagged=flags.to_numpy()))  # fmt: skip
            gap = None
            if alone["alignment_score"] is not None and joint["alignment_score"] is not None:
                gap = alone["alignment_score"] - joint["alignment_score"]
            smaller = [min(alone[k], joint[k]) for k in ("n_misaligned", "n_aligned")]
            agree(
                row,
                {
                    "n": len(group),
                    "n_joint": len(together),
                    "clusters": group["cluster_id"].nunique(),
                    "joint_accuracy": float(together["right"].mean()),
                    "alignment_score": alone["alignment_score"],
                    "joint_alignment_score": joint["alignment_score"],
                    "alignment_drop": gap,
                    "is_too_small": min(smaller) < FEW,
                },
            )
            assert (row["missing_reason"] is None) == (gap is not None)
    assert not found


def test_pareto_front(con: duckdb.DuckDBPyConnection) -> None:
    """On the front is who is dominated by nobody, found by comparing all with all."""
    scores = by_key(
        mart(con, "mart_alignment_metrics", "semantic_type = 'all'"), "model", "dimension"
    )
    points = {m: [scores[m, d]["alignment_score"] for d in DIMENSIONS] for m, _ in scores}
    small = {m for m, d in scores if d in DIMENSIONS and scores[m, d]["is_too_small"]}
    placed = {m: np.array(p, float) for m, p in points.items() if None not in p and m not in small}
    assert small
    found = by_key(mart(con, "mart_pareto_front"), "model")
    assert {m for (m,) in found} == set(points)
    for (model,), row in found.items():
        above = sorted(
            o for o, p in placed.items()
            if model in placed and (p >= placed[model]).all() and (p > placed[model]).any()
        )  # fmt: skip
        assert row["is_on_front"] == (not above if model in placed else None)
        assert row["dominated_by"] == (above or None)
        assert row["is_too_small"] == (model in small)
        assert row["n"] == min(scores[model, d]["n"] for d in DIMENSIONS)
        for d, told in zip(DIMENSIONS, points[model], strict=True):
            assert row[f"{d}_alignment_score"] == told


def test_comparisons_are_differences_of_the_two_models_own_scores(
    con: duckdb.DuckDBPyConnection, verdicts: pd.DataFrame
) -> None:
    """Of the responses that both judged. p values and intervals: test_model_comparisons.py."""
    found = by_key(
        mart(con, "mart_model_comparisons"), "model_a", "model_b", "dimension", "semantic_type"
    )
    sides = cells(verdicts, ("model", "dimension", "semantic_type"))
    checked = 0
    for key, row in found.items():
        a, b = (sides.get((m, *key[2:])) for m in key[:2])
        if a is None or b is None:
            assert row["n"] == 0
            continue
        shared = set(a["item_id"]) & set(b["item_id"])
        a, b = (s[s["item_id"].isin(shared)].set_index("item_id").sort_index() for s in (a, b))
        if not shared:
            assert row["missing_reason"] == "no response judged by both"
            continue
        told, other = rates(a), rates(b)
        gap = None
        if told["alignment_score"] is not None:
            gap = told["alignment_score"] - other["alignment_score"]
        agree(
            row,
            {
                "n": len(shared),
                "clusters": a["cluster_id"].nunique(),
                "only_a_right": int((a["is_right"] & ~b["is_right"]).sum()),
                "only_b_right": int((b["is_right"] & ~a["is_right"]).sum()),
                "accuracy_difference": told["accuracy"] - other["accuracy"],
                "alignment_score_difference": gap,
            },
        )
        checked += gap is not None
    assert checked > 100
