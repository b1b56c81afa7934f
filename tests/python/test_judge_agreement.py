"""Agreement of judges: scikit-learn's kappa, krippendorff's alpha, planted truth, cases at the edge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import duckdb
import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from mart_sql import build, rows

Row = dict[str, Any]
MODELS = (
    "int_judgements__compared",
    "mart_judge_agreement_intervals",
    "mart_judge_agreement",
    "mart_judge_consistency",
)
VARS = {"verdict_threshold": 0.5, "judge_unsure_within": 0.1}
ESTIMATES = ("agreement", "kappa", "alpha", "probability_alpha")
Said = tuple[str, str, str, str, bool, str, float, float | None, list[float]]


def warehouse(judgements: Iterable[Said], **changes: float) -> duckdb.DuckDBPyConnection:
    """The marts over (response, cluster, dimension, judge, is_second, side, p, p reversed, asked again)."""
    con = duckdb.connect()
    con.execute(
        "create table fct_judgements (response_id varchar, cluster_id varchar, dimension varchar,"
        " judge varchar, is_second boolean, side varchar, p_violates double, p_reversed double,"
        " p_asked_again double[])"
    )
    said = list(judgements)
    names = ("r", "c", "d", "j", "second", "side", "p", "reversed", "again")
    columns = {name: [row[n] for row in said] for n, name in enumerate(names)}
    placeholders = ", ".join(f"unnest(${name})" for name in names)
    con.execute(f"insert into fct_judgements select {placeholders}", columns)
    con.execute("alter table fct_judgements add column p_as_written double")
    con.execute("update fct_judgements set p_as_written = 2 * p_violates - p_reversed")
    con.execute(
        """
        create table dim_models as from (values
            ('one', 'lab/one', null, null, false), ('two', 'lab/two', 'v2', ['tested'], false),
            ('twin', 'lab/one', null, null, false), ('demo', 'demo_checkpoints/x', null, null, true)
        ) as models(model, source, revision, under_test_as, is_demo)
        """
    )
    build(con, *MODELS, **(VARS | changes))
    return con


def agreement(judgements: Iterable[Said], **changes: float) -> list[Row]:
    con = warehouse(judgements, **changes)
    return rows(con, "select * from mart_judge_agreement order by all")


def one(found: list[Row], compared: str = "judges", side: str = "all") -> Row:
    (row,) = (r for r in found if (r["compared"], r["side"]) == (compared, side))
    return row


def beside(
    first: Iterable[float], second: Iterable[float], size: int = 1, other: str = "two"
) -> list[Said]:
    """Two judges' probabilities over responses, so many a cluster; sides in turn."""
    found: list[Said] = []
    for n, (p, q) in enumerate(zip(first, second, strict=True)):
        place = (f"r{n:05}", f"c{n // size:05}", "safety")
        side = ("aligned", "misaligned")[n % 2]
        found.append((*place, "one", False, side, float(p), None, []))
        found.append((*place, other, True, side, float(q), None, []))
    return found


@pytest.fixture(scope="module")
def random_judgements() -> list[Said]:
    """Two judges, one asked in two orders and three times; the second skips a fifth of the clusters."""
    random = np.random.default_rng(3)
    found: list[Said] = []
    for cluster in range(120):
        for item in range(int(random.integers(1, 7))):
            side = ("aligned", "misaligned")[int(random.integers(2))]
            for dimension, rate in (("safety", 0.5), ("value", 0.1), ("overall", 0.6)):
                truth = random.random() < (rate if side == "misaligned" else rate / 4)
                place = (f"r{cluster}-{item}", f"c{cluster}", dimension)
                shape = (3, 1.2) if truth else (1.2, 3)
                p, back, *again, q = random.beta(*shape, size=5).round(
                    2
                )  # few values: the peer is cubic
                mean = (p + back) / 2
                found.append((*place, "one", False, side, mean, back, list(again)))
                if cluster % 5:
                    found.append((*place, "two", True, side, q, None, []))
    return found


def pairs(judgements: list[Said], row: Row) -> np.ndarray:
    """The two probabilities of every pair of answers that a row is about, shape (n, 2)."""
    mine = [
        j for j in judgements if j[2] == row["dimension"] and row["side"] in ("all", j[5])
    ]  # fmt: skip
    first = {j[0]: j for j in mine if not j[4]}
    if row["compared"] == "judges":
        return np.array([(first[j[0]][6], j[6]) for j in mine if j[4]])
    if row["compared"] == "orders":
        return np.array([(2 * j[6] - j[7], j[7]) for j in first.values() if j[7] is not None])
    return np.array([(j[6], again) for j in first.values() for again in j[8]])


def test_every_figure_is_that_of_other_peoples_code(random_judgements: list[Said]) -> None:
    found = agreement(random_judgements)
    keys = {(r["compared"], r["judge"], r["other_judge"], r["dimension"], r["side"]) for r in found}
    assert keys == {
        (compared, "one", other, dimension, side)
        for compared, other in (("judges", "two"), ("orders", "one"), ("repeats", "one"))
        for dimension in ("safety", "value", "overall")
        for side in ("all", "aligned", "misaligned")
    }
    assert len(found) == len(keys)
    for row in found:
        said = pairs(random_judgements, row)
        labels = said >= 0.5
        assert row["n"] == len(said) > 50
        assert row["violation_rate"] == pytest.approx(labels[:, 0].mean(), abs=1e-9)
        assert row["other_violation_rate"] == pytest.approx(labels[:, 1].mean(), abs=1e-9)
        expected = {
            "agreement": (labels[:, 0] == labels[:, 1]).mean(),
            "kappa": cohen_kappa_score(*labels.T),
            "alpha": krippendorff.alpha(labels.T.astype(int), level_of_measurement="nominal"),
            "probability_alpha": krippendorff.alpha(said.T, level_of_measurement="interval"),
            "mean_difference": (said[:, 0] - said[:, 1]).mean(),
            "mean_absolute_difference": np.abs(said[:, 0] - said[:, 1]).mean(),
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-9)
        for name in ESTIMATES:
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
        assert row["interval_missing_reason"] is None


def test_a_planted_kappa_lies_in_the_interval_and_chance_agreement_is_none() -> None:
    """The second judge turns one label in ten: of a balanced set kappa is 1 - 2 x 0.1."""
    random = np.random.default_rng(5)
    truth = random.random(3_000) < 0.5
    noisy = truth ^ (random.random(3_000) < 0.1)
    blind = random.random(3_000) < 0.5
    planted = one(agreement(beside(truth, noisy, size=3)))
    assert planted["kappa_low"] < 0.8 < planted["kappa_high"]
    assert planted["alpha_low"] < 0.8 < planted["alpha_high"]
    assert planted["kappa_high"] - planted["kappa_low"] < 0.06
    chance = one(agreement(beside(truth, blind, size=3)))
    assert chance["kappa_low"] < 0 < chance["kappa_high"]


def test_kappa_falls_with_the_rate_of_violations_and_both_rates_show_why() -> None:
    """The prevalence paradox: nine in ten agree in both, and kappa is 0.8 in one and near 0 in the other."""
    even = [(1, 1)] * 45 + [(0, 0)] * 45 + [(1, 0)] * 5 + [(0, 1)] * 5
    rare = [(0, 0)] * 90 + [(1, 0)] * 5 + [(0, 1)] * 5
    found = {
        name: one(agreement(beside(*zip(*said, strict=True))))
        for name, said in (("even", even), ("rare", rare))
    }
    assert found["even"]["agreement"] == found["rare"]["agreement"] == 0.9
    assert found["even"]["kappa"] == pytest.approx(0.8)
    assert found["rare"]["kappa"] == pytest.approx(-1 / 19)
    assert (found["rare"]["violation_rate"], found["even"]["violation_rate"]) == (0.05, 0.5)


def test_clusters_of_one_voice_widen_the_intervals() -> None:
    random = np.random.default_rng(6)
    truth = random.random(300) < 0.5
    said = truth ^ (random.random(300) < 0.2)
    alone = one(agreement(beside(np.repeat(truth, 5), np.repeat(said, 5))))
    together = one(agreement(beside(np.repeat(truth, 5), np.repeat(said, 5), size=5)))
    assert (alone["clusters"], together["clusters"]) == (1_500, 300)
    for name in ("agreement", "kappa", "alpha"):
        assert alone[name] == together[name]
        width = {
            k: r[f"{name}_high"] - r[f"{name}_low"] for k, r in (("a", alone), ("t", together))
        }
        assert width["t"] > 1.7 * width["a"]


HALF = [0.9, 0.1] * 50


@pytest.mark.parametrize(
    ("first", "second", "kappa", "alpha", "kappa_reason", "interval_reason"),
    [
        ([0.1] * 100, [0.2] * 100, None, None, "neither answer varies", "neither answer varies"),
        ([0.1] * 100, [0.9] * 100, None, -0.99, "neither answer varies", "neither answer varies"),
        (HALF, [0.9] * 100, None, -0.32667, "one answer does not vary", "one answer does not vary"),
        (HALF, HALF, 1, 1, None, "the same in every replicate"),
        (HALF[:18], [*HALF[:16], 0.1, 0.9], 0.77778, 0.78395, None, "fewer than 20 clusters"),
        ([0.9] + [0.1] * 99, [0.9, 0.9] + [0.1] * 98, 0.66216, 0.66328, None,
         "too many replicates in which an answer does not vary"),
    ],
    ids=["both never", "never and always", "always", "equal", "few clusters", "one violation"],
)  # fmt: skip
def test_what_says_nothing_has_a_reason_and_no_interval(
    first: list[float], second: list[float], kappa: float | None, alpha: float | None,
    kappa_reason: str | None, interval_reason: str,
) -> None:  # fmt: skip
    row = one(agreement(beside(first, second), smallest_clusters=20))
    for name, expected in (("kappa", kappa), ("alpha", alpha)):
        assert row[name] == (expected if expected is None else pytest.approx(expected, abs=1e-5))
    assert (row["kappa_missing_reason"], row["interval_missing_reason"]) == (
        kappa_reason,
        interval_reason,
    )
    assert [row[f"{n}_{s}"] for n in ("kappa", "alpha") for s in ("low", "high")] == [None] * 4
    assert (row["agreement_low"] is None) == ("fewer" in interval_reason)


def test_equal_probabilities_have_no_alpha() -> None:
    assert one(agreement(beside([0.3] * 50, [0.3] * 50)))["probability_alpha"] is None
    assert one(agreement(beside([0.3] * 50, [0.4] * 50)))["probability_alpha"] == pytest.approx(
        -0.98
    )


def test_what_the_second_judge_was_not_asked_about_does_not_count() -> None:
    said = beside([0.9] * 10 + [0.1] * 90, [0.9] * 5 + [0.1] * 95)
    row = one(agreement([s for n, s in enumerate(said) if n < 100 or not s[4]]))
    assert (row["n"], row["violation_rate"], row["other_violation_rate"]) == (50, 0.2, 0.1)
    assert agreement([s for s in said if not s[4]]) == []


def test_an_order_that_favours_yes_shows_as_a_signed_difference() -> None:
    """Yes gains 0.2 where it is listed first; the reversed half flips one label in four."""
    firsts = [0.95, 0.6, 0.3, 0.25]
    said: list[Said] = [
        (f"r{n}", f"c{n}", "value", "one", False, "aligned", p - 0.1, p - 0.2, [])
        for n, p in enumerate(firsts * 10)
    ]
    row = one(agreement(said), "orders")
    assert row["mean_difference"] == pytest.approx(0.2)
    assert row["mean_absolute_difference"] == pytest.approx(0.2)
    assert (row["agreement"], row["kappa"]) == (0.75, 0.5)
    assert {r["compared"] for r in agreement(said)} == {"orders"}


def test_a_shared_checkpoint_is_said() -> None:
    two = one(agreement(beside(HALF, HALF)))
    assert (two["is_same_checkpoint"], two["other_under_test_as"], two["is_demo"]) == (
        False,
        ["tested"],
        False,
    )
    assert one(agreement(beside(HALF, HALF, other="twin")))["is_same_checkpoint"]
    assert one(agreement(beside(HALF, HALF, other="demo")))["is_demo"]


def test_self_consistency_is_the_chance_that_two_sampled_answers_agree() -> None:
    random = np.random.default_rng(9)
    p = np.concatenate([random.random(199), [0.45]])
    con = warehouse(beside(p, np.round(p)))
    found = {r["judge"]: r for r in rows(con, "select * from mart_judge_consistency")}
    draws = random.random((2, 4_000, 200)) < p
    assert found["one"]["self_consistency"] == pytest.approx(
        (draws[0] == draws[1]).mean(), abs=0.003
    )
    assert found["one"]["unsure_share"] == pytest.approx((np.abs(p - 0.5) < 0.1).mean(), abs=1e-9)
    assert found["one"]["unsure_share_low"] < found["one"]["unsure_share"]
    assert (found["two"]["self_consistency"], found["two"]["unsure_share"]) == (1, 0)
