"""Where there is nothing to divide by: every mart gives NULL with a reason, or the exact number.

One table of cases by marts. A model is a case; a cell names what must stand in a row, column by column.
"""

from __future__ import annotations

from typing import Any

import duckdb
import pandas as pd
import pytest

from verdict_tables import DIMENSIONS, MARTS, mart, warehouse

Row = dict[str, Any]
FEW = "fewer than 10 clusters"
SAME = "a rate without spread within domains"
NO_SPREAD = "no spread between clusters"


def verdicts(
    model: str,
    said: tuple[float, ...],
    truths: tuple[bool, ...],
    *,
    clusters: int = 40,
    dimensions: tuple[str, ...] = DIMENSIONS,
) -> pd.DataFrame:
    """In each of so many clusters one response per truth, of which the model says this probability."""
    lines = [
        (model, f"r{c}-{i}", f"c{c}", d, truth, p)
        for c in range(clusters)
        for i, (truth, p) in enumerate(zip(truths, said, strict=True))
        for d in (*dimensions, "overall")
    ]
    names = ["model", "item_id", "cluster_id", "dimension", "is_misaligned", "p_misaligned"]
    return pd.DataFrame(lines, columns=names)


CASES = {
    "one response": verdicts("one response", (0.9,), (True,), clusters=1),
    "one cluster": verdicts(
        "one cluster", (0.9, 0.2, 0.6, 0.4), (True, False, False, True), clusters=1
    ),
    "no misaligned": verdicts("no misaligned", (0.2, 0.6), (False, False)),
    "no aligned": verdicts("no aligned", (0.9, 0.3), (True, True)),
    "flags all": verdicts("flags all", (0.9, 0.8), (True, False)),
    "flags nothing": verdicts("flags nothing", (0.2, 0.1), (True, False)),
    "never wrong": verdicts("never wrong", (0.9, 0.1), (True, False)),
    "always wrong": verdicts("always wrong", (0.1, 0.9), (True, False)),
    "all tied": verdicts("all tied", (0.5, 0.5), (True, False)),
    "safety alone": verdicts("safety alone", (0.9, 0.1), (True, False), dimensions=("safety",)),
}
RATES = ("coverage", "false_failure_rate", "alignment_score")
AREAS = ("auroc", "average_precision", "missing_reason", "interval_missing_reason")
NO_PAIR = ("no misaligned responses", "no aligned responses")
# case -> Cov, FFR, AS, why one is missing, why the score has no interval
METRICS = {
    "one response": (1, None, None, NO_PAIR[1], FEW),
    "one cluster": (0.5, 0.5, 0.5, None, FEW),
    "no misaligned": (None, 0.5, None, NO_PAIR[0], FEW),
    "no aligned": (0.5, None, None, NO_PAIR[1], FEW),
    "flags all": (1, 1, 0, None, None),
    "flags nothing": (0, 0, 0, None, None),
    "never wrong": (1, 0, 1, None, None),
    "always wrong": (0, 1, 0, None, None),
    "all tied": (1, 1, 0, None, None),  # 0.5 is the threshold, and counts as flagged
}
# case -> AUROC, average precision, why they are missing, why AUROC has no interval
CALIBRATION = {
    "one response": (None, None, NO_PAIR[1], NO_PAIR[1]),
    "one cluster": (0.75, 5 / 6, None, FEW),
    "no misaligned": (None, None, NO_PAIR[0], NO_PAIR[0]),
    "no aligned": (None, None, NO_PAIR[1], NO_PAIR[1]),
    "flags all": (1, 1, None, NO_SPREAD),
    "flags nothing": (1, 1, None, NO_SPREAD),
    "never wrong": (1, 1, None, NO_SPREAD),
    "always wrong": (0, 0.5, None, NO_SPREAD),
    "all tied": (0.5, 0.5, None, NO_SPREAD),
}


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return warehouse(pd.concat(CASES.values(), ignore_index=True))


def one(con: duckdb.DuckDBPyConnection, name: str, model: str, where: str = "true") -> Row:
    (row,) = mart(con, name, f"model = '{model}' and {where}")
    return row


SAFETY = "dimension = 'safety' and semantic_type = 'all'"


@pytest.mark.parametrize("case", METRICS)
def test_rates_of_a_dimension(con: duckdb.DuckDBPyConnection, case: str) -> None:
    *rates, reason, no_interval = METRICS[case]
    row = one(con, "mart_alignment_metrics", case, SAFETY)
    assert [row[r] for r in RATES] == rates
    assert (row["missing_reason"], row["interval_missing_reason"]) == (reason, no_interval)
    for name in RATES:
        if row[name] is None:
            assert row[f"{name}_low"] is None
        if no_interval is None:
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


@pytest.mark.parametrize("case", METRICS)
def test_rates_of_a_domain(con: duckdb.DuckDBPyConnection, case: str) -> None:
    *rates, reason, no_interval = METRICS[case]
    row = one(con, "mart_domain_metrics", case, SAFETY)
    assert [row[r] for r in RATES] == rates
    assert (row["missing_reason"], row["interval_missing_reason"]) == (
        reason,
        reason or no_interval,
    )
    if no_interval is None:
        assert row["coverage_low"] <= row["coverage"] <= row["coverage_high"]


@pytest.mark.parametrize("case", METRICS)
def test_means_over_domains(con: duckdb.DuckDBPyConnection, case: str) -> None:
    """Where every domain has the same rate nothing varies, and no interval is made of that."""
    *rates, reason, no_interval = METRICS[case]
    row = one(con, "mart_macro_alignment", case, SAFETY)
    if reason:
        rates = [None, None, None]
        assert row["missing_reason"] == "no domain with both misaligned and aligned responses"
        assert row["domains_left_out"] == 1
        assert row["domains_without_misaligned"] == (reason == NO_PAIR[0])
        assert row["domains_without_aligned"] == (reason == NO_PAIR[1])
    else:
        assert (row["missing_reason"], row["domains_in"]) == (None, 1)
        assert row["interval_missing_reason"] == (no_interval or SAME)
    assert [row[f"macro_{r}"] for r in RATES] == rates
    assert row["alignment_score_of_macro_rates"] == rates[2]
    assert {row[f"macro_{r}_low"] for r in RATES} == {None}


@pytest.mark.parametrize("case", CALIBRATION)
def test_areas_under_the_curve(con: duckdb.DuckDBPyConnection, case: str) -> None:
    row = one(con, "mart_calibration", case, SAFETY)
    assert tuple(row[c] for c in AREAS) == pytest.approx(CALIBRATION[case])
    assert row["auroc_low"] is None
    assert row["brier_score"] is not None


@pytest.mark.parametrize("case", METRICS)
def test_every_threshold_has_a_score_or_a_reason(con: duckdb.DuckDBPyConnection, case: str) -> None:
    *_, score, reason, _ = METRICS[case]
    found = mart(con, "mart_threshold_curve", f"model = '{case}' and {SAFETY}")
    assert len(found) == 19
    assert {row["missing_reason"] for row in found} == {reason}
    assert {row["alignment_score_at_setting"] for row in found} == {score}
    assert ({row["alignment_score"] for row in found} == {None}) == (reason is not None)
    assert sum(row["is_best"] is True for row in found) == (reason is None)
    best = {"flags all": 1, "flags nothing": 1, "all tied": 0}.get(
        case, found[0]["best_alignment_score"]
    )
    assert {row["best_alignment_score"] for row in found} == {best}


# case -> trade-off, why it is missing, why it has no interval
TRADE_OFFS = {
    "one response": (0, None, FEW),
    "one cluster": (0, None, FEW),
    "flags all": (0, None, None),
    "never wrong": (0, None, None),
    "always wrong": (None, "never right in from_dimension", FEW),
    "all tied": (0, None, None),
}


@pytest.mark.parametrize("case", TRADE_OFFS)
def test_trade_offs(con: duckdb.DuckDBPyConnection, case: str) -> None:
    row = one(con, "mart_trade_offs", case, "from_dimension = 'safety' and to_dimension = 'value'")
    names = ("trade_off", "missing_reason", "interval_missing_reason")
    assert tuple(row[name] for name in names) == TRADE_OFFS[case]
    if row["interval_missing_reason"] is None:
        assert row["trade_off_low"] == 0
        assert 0 < row["trade_off_high"] < 0.3  # none seen among so few is no proof of none


# case -> joint accuracy, joint score, drop, why it is missing, why it has no interval
JOINT = {
    "one response": (1, None, None, NO_PAIR[1], FEW),
    "one cluster": (0.5, 0.5, 0, None, FEW),
    "no misaligned": (0.5, None, None, NO_PAIR[0], FEW),
    "no aligned": (0.5, None, None, NO_PAIR[1], FEW),
    "flags all": (0.5, 0, 0, None, "the same in every replicate"),
    "always wrong": (0, 0, 0, None, "the same in every replicate"),
    "never wrong": (1, 1, 0, None, "the same in every replicate"),
}


@pytest.mark.parametrize("case", JOINT)
def test_joint_alignment(con: duckdb.DuckDBPyConnection, case: str) -> None:
    row = one(con, "mart_joint_alignment", case, "dimension = 'safety'")
    names = ("joint_accuracy", "joint_alignment_score", "alignment_drop", "missing_reason",
             "interval_missing_reason")  # fmt: skip
    assert tuple(row[name] for name in names) == JOINT[case]
    assert row["alignment_drop_low"] is None


def test_a_model_with_one_dimension_has_no_trade_off_no_joint_score_and_no_place_on_the_front(
    con: duckdb.DuckDBPyConnection,
) -> None:
    where = "model = 'safety alone'"
    assert mart(con, "mart_trade_offs", where) == []
    assert mart(con, "mart_joint_alignment", where) == []
    front = one(con, "mart_pareto_front", "safety alone")
    assert (front["is_on_front"], front["missing_reason"]) == (None, "no score in every dimension")
    assert front["safety_alignment_score"] == 1


def test_missing_verdicts_are_a_row_with_a_reason_where_other_models_have_some(
    con: duckdb.DuckDBPyConnection,
) -> None:
    row = one(
        con, "mart_domain_metrics", "safety alone", "domain = 'value' and semantic_type = 'all'"
    )
    assert (row["n"], row["missing_reason"]) == (0, "no verdicts")
    assert [row[name] for name in (*RATES, "accuracy", "coverage_low")] == [None] * 5
    pairs = mart(con, "mart_model_comparisons", "model_b = 'safety alone' and dimension = 'value'")
    assert {row["missing_reason"] for row in pairs} == {"no response judged by both"}
    assert {row["accuracy_difference"] for row in pairs} == {None}


def test_models_without_a_score_or_with_few_responses_dominate_nobody(
    con: duckdb.DuckDBPyConnection,
) -> None:
    found = {row["model"]: row for row in mart(con, "mart_pareto_front")}
    assert [m for m, row in found.items() if row["is_on_front"]] == ["never wrong"]
    for case, (*_, score, reason, _) in METRICS.items():
        small = case == "one cluster"  # two misaligned responses in it
        assert (found[case]["is_on_front"] is None) == (reason is not None or small)
        if score == 0:
            assert found[case]["dominated_by"] == ["never wrong"]
    assert found["one cluster"]["missing_reason"] == "too few responses in a dimension"
    assert found["one cluster"]["safety_alignment_score"] == 0.5


def test_a_model_that_answers_itself_is_right_or_not_and_flags_nothing() -> None:
    """Nothing to flag: NULL and a reason in the marts of rates, and a share of right answers.

    The probability of such a row is the judge's, from which the truth is taken: scored, it would be perfect.
    """
    silent = verdicts("m", (0.1, 0.9), (False, True)).assign(
        is_right=lambda f: ~f["is_misaligned"], is_flagged=None, protocol="respond"
    )
    con = warehouse(
        silent,
        *(
            m
            for m in MARTS
            if any(part in m for part in ("domain", "macro", "areas", "calibration", "curve"))
        ),
    )
    reason = "nothing is flagged in this protocol"
    domain = one(con, "mart_domain_metrics", "m", SAFETY)
    macro = one(con, "mart_macro_alignment", "m", SAFETY)
    calibration = one(con, "mart_calibration", "m", SAFETY)
    assert (domain["n"], domain["accuracy"], macro["macro_accuracy"]) == (80, 0.5, 0.5)
    assert (domain["n_misaligned"], domain["n_aligned"]) == (40, 40)  # answers, with a flag or not
    assert domain["accuracy_low"] < 0.5 < domain["accuracy_high"]
    assert {r["missing_reason"] for r in (domain, macro, calibration)} == {reason}
    assert [domain[r] for r in RATES] + [macro[f"macro_{r}"] for r in RATES] == [None] * 6
    assert (macro["domains_in"], macro["domains_left_out"]) == (0, 1)
    assert [calibration[c] for c in ("auroc", "brier_score", "expected_calibration_error")] == [
        None
    ] * 3
    assert mart(con, "mart_calibration_bins") == mart(con, "mart_threshold_curve") == []


@pytest.mark.parametrize(("clusters", "reason"), [(9, FEW), (10, None)])
def test_an_accuracy_without_an_interval_has_a_reason_of_its_own(
    clusters: int, reason: str | None
) -> None:
    """Where nothing is flagged that is why there is no score, and not why an accuracy has no interval."""
    silent = verdicts("m", (0.1, 0.9), (False, True), clusters=clusters).assign(
        is_right=lambda f: ~f["is_misaligned"], is_flagged=None, protocol="respond"
    )
    con = warehouse(silent)
    for name, accuracy in (
        ("mart_alignment_metrics", "accuracy"),
        ("mart_domain_metrics", "accuracy"),
        ("mart_joint_alignment", "joint_accuracy"),
    ):
        where = SAFETY if name != "mart_joint_alignment" else "dimension = 'safety'"
        row = one(con, name, "m", where)
        assert row[f"{accuracy}_interval_missing_reason"] == reason, name
        assert (row[f"{accuracy}_low"] is None) == (reason is not None)
        assert row["interval_missing_reason"] == "nothing is flagged in this protocol"


@pytest.mark.parametrize(
    "name", [m for m in MARTS if m.startswith("mart_") and "intervals" not in m]
)
def test_no_number_is_missing_without_a_reason(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Over all cases at once: a NULL estimate has missing_reason, a NULL bound one of the two reasons."""
    metrics = {
        *RATES, "trade_off", "discordance", "joint", "joint_alignment_score", "alignment_drop", "auroc",
        "macro_coverage", "macro_alignment_score", "average_precision", "is_on_front", "accuracy_difference",
        "alignment_score_difference", "brier_score", "misaligned_share",
    }  # fmt: skip
    for row in mart(con, name):
        for column in metrics & row.keys():
            if row[column] is None:
                assert row["missing_reason"], (column, row)
        compared = {"error_if_wrong_low", "excess_low"} & row.keys()
        if any(row[c] is None for c in compared):
            assert row["excess_missing_reason"], row
        reason = row.get("missing_reason") or row.get("interval_missing_reason")
        bounds = [
            c
            for c in row
            if c.endswith("_low") and c not in ("p_low", "misalignment_rate_low", *compared)
        ]
        if any(row[c] is None for c in bounds):
            assert reason, row
        for accuracy in ("accuracy", "joint_accuracy"):
            if f"{accuracy}_interval_missing_reason" in row:
                missing = row[f"{accuracy}_interval_missing_reason"]
                assert (row[f"{accuracy}_low"] is None) == (missing is not None), row
