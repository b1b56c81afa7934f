"""Scripted models whose errors are known, and whether the marts find them out.

Every verdict is drawn with a rate that the test sets: by dimension, by semantic type, and with a known
tendency to be right in two dimensions of the same response. An estimate may differ from the truth by
chance, so it is allowed four standard errors, which chance exceeds once in 16,000 times; the seed is fixed.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import duckdb
import pandas as pd
import pytest

from test_mart_oracles import score
from verdict_tables import DIMENSIONS, TYPES, Scripted, by_key, mart, ordered_pairs, warehouse

PROMPTS = 1_000  # of each semantic type, with an aligned and a misaligned response
ERRORS = 4.0  # standard errors that chance is allowed


def rates(
    safety: tuple[float, float],
    value: tuple[float, float],
    cultural: tuple[float, float],
    harder: float = 0.1,
) -> Any:
    """Coverage and false failure rate by dimension and type: relation is harder, in both."""
    found = {}
    for dimension, (coverage, rate) in zip(DIMENSIONS, (safety, value, cultural), strict=True):
        for kind in TYPES:
            more = harder * (kind == "relation")
            found[dimension, kind] = (coverage - more, rate + more)
    return found


MODELS = {
    m.name: m
    for m in (
        Scripted("independent", rates((0.9, 0.1), (0.7, 0.3), (0.6, 0.4), harder=0), together=0.0),
        Scripted("alike", rates((0.8, 0.2), (0.8, 0.2), (0.5, 0.4)), together=0.9),
        Scripted("trading", rates((0.7, 0.3), (0.6, 0.4), (0.6, 0.3)), together=-0.45),
        Scripted("safe alone", rates((0.98, 0.02), (0.4, 0.3), (0.3, 0.3)), together=0.3),
    )
}


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    drawn = [m.verdicts(seed, PROMPTS) for seed, m in enumerate(MODELS.values(), 20)]
    return warehouse(pd.concat(drawn, ignore_index=True))


def near(estimate: float, truth: float, n: int) -> float:
    """Distance of a share of ``n`` independent draws from the truth, in standard errors."""
    distance = abs(estimate - truth) / math.sqrt(truth * (1 - truth) / n)
    assert distance < ERRORS, (estimate, truth, n)
    return distance


def test_coverage_and_false_failure_rate_of_every_dimension_and_type(
    con: duckdb.DuckDBPyConnection,
) -> None:
    found = by_key(mart(con, "mart_alignment_metrics"), "model", "dimension", "semantic_type")
    distances = []
    for model, dimension, kind in product(MODELS.values(), DIMENSIONS, TYPES):
        row = found[model.name, dimension, kind]
        coverage, rate = model.rates[dimension, kind]
        assert (row["n_misaligned"], row["n_aligned"]) == (PROMPTS, PROMPTS)
        distances += [
            near(row["coverage"], coverage, PROMPTS),
            near(row["false_failure_rate"], rate, PROMPTS),
        ]
        wanted = score(coverage, rate)
        assert wanted is not None
        assert row["alignment_score"] == pytest.approx(wanted, abs=ERRORS / math.sqrt(PROMPTS))
    mean_square = sum(d**2 for d in distances) / len(distances)
    spread = math.sqrt(2 / len(distances))  # of a mean of squared standard normal draws, mean 1
    assert abs(mean_square - 1) < ERRORS * spread, "not as near, or nearer, than chance brings them"


def test_intervals_hold_the_truth_about_as_often_as_they_say(
    con: duckdb.DuckDBPyConnection,
) -> None:
    found = by_key(mart(con, "mart_alignment_metrics"), "model", "dimension", "semantic_type")
    held = []
    for model, dimension, kind in product(MODELS.values(), DIMENSIONS, TYPES):
        row = found[model.name, dimension, kind]
        coverage, rate = model.rates[dimension, kind]
        truths = {
            "coverage": coverage,
            "false_failure_rate": rate,
            "alignment_score": score(coverage, rate),
        }
        held += [row[f"{n}_low"] <= t <= row[f"{n}_high"] for n, t in truths.items()]
    assert len(held) == 108
    assert 0.95 - ERRORS * math.sqrt(0.05 * 0.95 / 72) < sum(held) / len(held)


@pytest.mark.parametrize("model", MODELS)
def test_the_trade_off_between_any_two_dimensions(
    con: duckdb.DuckDBPyConnection, model: str
) -> None:
    """P(wrong in b | right in a), by the bivariate normal distribution."""
    planted = MODELS[model]
    found = by_key(
        mart(con, "mart_trade_offs", f"model = '{model}'"), "from_dimension", "to_dimension"
    )
    for a, b in ordered_pairs():
        row = found[a, b]
        cases = list(product(TYPES, (True, False)))
        right_a, right_b, joint = (
            sum(f(*case) for case in cases) / len(cases)
            for f in (
                lambda kind, truth: planted.right(a, kind, truth),  # noqa: B023
                lambda kind, truth: planted.right(b, kind, truth),  # noqa: B023
                lambda kind, truth: planted.both_right(a, b, kind, truth),  # noqa: B023
            )
        )
        assert row["n"] == 6 * PROMPTS
        near(row["trade_off"], planted.trade_off(a, b), row["n_right_in_from"])
        near(row["error_in_to"], 1 - right_b, row["n"])
        near(row["joint"], joint, row["n"])
        near(row["discordance"], right_a + right_b - 2 * joint, row["n"])


def test_independent_errors_show_no_trade_off_and_traded_ones_do(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """Beyond the error where a is wrong: nothing where errors are independent, less where they go together,
    more where the model is right in one dimension at the cost of another."""
    found = by_key(mart(con, "mart_trade_offs"), "model", "from_dimension", "to_dimension")
    for a, b in ordered_pairs():
        for model, sign in (("independent", 0), ("alike", -1), ("trading", 1)):
            row, planted = found[model, a, b], MODELS[model]
            if sign == 0:
                assert planted.trade_off(a, b) == pytest.approx(
                    1 - planted.right(b, "object", True)
                )
            smaller = min(row["n_right_in_from"], row["n_wrong_in_from"])
            error = ERRORS * math.sqrt(0.25 / smaller)
            excess = row["excess"]
            assert abs(excess) < error if sign == 0 else excess * sign > error, (
                model,
                a,
                b,
                excess,
            )
            if sign:
                assert sign * row["excess_low"] > 0 < sign * row["excess_high"]


@pytest.mark.parametrize("model", MODELS)
def test_the_share_of_responses_that_are_right_in_all_dimensions(
    con: duckdb.DuckDBPyConnection, model: str
) -> None:
    """By the trivariate normal distribution; of independent errors it is the product."""
    planted = MODELS[model]
    (row,) = mart(con, "mart_joint_alignment", f"model = '{model}' and dimension = 'safety'")
    near(row["joint_accuracy"], planted.all_right(), 6 * PROMPTS)
    if planted.together == 0:
        assert planted.all_right() == pytest.approx(0.9 * 0.7 * 0.6, abs=1e-4)


def test_the_better_model_is_found_and_equal_ones_are_not_told_apart() -> None:
    """A difference of 0.1 in value is far above what 6,000 responses need; in safety there is none."""
    better = Scripted("better", rates((0.8, 0.2), (0.8, 0.2), (0.6, 0.3)))
    worse = Scripted("worse", rates((0.8, 0.2), (0.7, 0.3), (0.6, 0.3)))
    verdicts = pd.concat([better.verdicts(1, 500), worse.verdicts(2, 500)], ignore_index=True)
    con = warehouse(verdicts)
    pairs = mart(con, "mart_model_comparisons", "semantic_type = 'all'")
    found = by_key(pairs, "dimension")
    assert found[("value",)]["is_significant"]
    assert found[("value",)]["accuracy_difference"] == pytest.approx(0.1, abs=0.035)
    assert found[("value",)]["accuracy_difference_low"] > 0
    assert not found[("safety",)]["is_significant"]
    assert not found[("cultural",)]["is_significant"]
    front = by_key(mart(con, "mart_pareto_front"), "model")
    assert {m for (m,), row in front.items() if row["is_on_front"]} <= {"better", "worse"}


def test_macro_means_of_planted_domains_are_not_those_of_verdicts() -> None:
    """A large easy domain and three small hard ones: micro says 0.86, macro says 0.6, both as planted."""
    easy = Scripted("m", rates((0.95, 0.05), (0.95, 0.05), (0.95, 0.05))).verdicts(1, 2_000)
    parts = [easy.assign(domain=easy["dimension"] + " easy")]
    for number in range(3):
        hard = Scripted("m", rates((0.5, 0.5), (0.5, 0.5), (0.5, 0.5))).verdicts(2 + number, 150)
        label = f"hard{number}"
        parts.append(
            hard.assign(
                domain=hard["dimension"] + label,
                item_id=hard["item_id"] + label,
                cluster_id=hard["cluster_id"] + label,
            )
        )
    con = warehouse(pd.concat(parts, ignore_index=True))
    where = "dimension = 'safety' and semantic_type = 'object'"
    (macro,) = mart(con, "mart_macro_alignment", where)
    (micro,) = mart(con, "mart_alignment_metrics", where)
    planted = (0.95 + 3 * 0.5) / 4
    error = math.sqrt(0.95 * 0.05 / 2_000 + 3 * 0.25 / 150) / 4
    assert abs(macro["macro_coverage"] - planted) < ERRORS * error
    assert abs(macro["macro_false_failure_rate"] - (1 - planted)) < ERRORS * error
    assert macro["macro_coverage_high"] - macro["macro_coverage_low"] == pytest.approx(
        3.92 * error, rel=0.1
    )
    near(micro["coverage"], (2_000 * 0.95 + 450 * 0.5) / 2_450, 2_450)
    assert abs(macro["macro_alignment_score"] - planted) < 2 * ERRORS * error
    assert macro["domains_in"] == 4
