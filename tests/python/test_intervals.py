"""Intervals over clusters, against SciPy, statsmodels' formulas written out, and cases at the edge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mart_sql import build, rendered, rows

Counts = Sequence[tuple[int, int]]  # part and whole of every cluster


def verdicts(cells: dict[str, Sequence[tuple[int, int, int, int]]]) -> duckdb.DuckDBPyConnection:
    """fct_verdicts of models; a cluster is (hits, misaligned, alarms, aligned)."""
    con = duckdb.connect()
    con.execute(
        "create table fct_verdicts (model varchar, dimension varchar, semantic_type varchar,"
        " cluster_id varchar, is_misaligned boolean, is_flagged boolean,"
        " is_right boolean as (is_flagged = is_misaligned), protocol varchar as ('verdict'))"
    )
    lines = []
    for model, clusters in cells.items():
        for number, (hits, misaligned, alarms, aligned) in enumerate(clusters):
            name = f"c{number}"
            for side, flags, n in ((True, hits, misaligned), (False, alarms, aligned)):
                lines += [(model, "safety", "object", name, side, i < flags) for i in range(n)]
    names = ["model", "dimension", "semantic_type", "cluster_id", "is_misaligned", "is_flagged"]
    con.register("frame", pd.DataFrame(lines, columns=names))
    con.execute("insert into fct_verdicts select * from frame")
    return con


def intervals(
    cells: dict[str, Sequence[tuple[int, int, int, int]]], **changes: float
) -> dict[str, dict[str, float | None]]:
    """Rows of mart_alignment_intervals, by model."""
    con = verdicts(cells)
    build(con, "mart_alignment_intervals", **changes)
    found = rows(con, "select * from mart_alignment_intervals where semantic_type = 'all'")
    return {row["model"]: row for row in found}


def expected_share(counts: Counts, level: float = 0.95) -> tuple[float, float, float]:
    """Share and bounds: a ratio's variance over clusters, one supposed, an effective n, Wilson."""
    part, whole = np.array([c for c in counts if c[1]], float).T
    k, n, p = len(whole), whole.sum(), part.sum() / whole.sum()
    usual = (whole**2).sum() / n
    weight = np.append(np.ones(k), [0.5, 0.5])  # half a cluster of the part, half one of the rest
    parts, wholes = np.append(part, [usual, 0]), np.append(whole, [usual, usual])
    q = (weight * parts).sum() / (weight * wholes).sum()
    variance = (k + 1) / k * (weight * (parts - q * wholes) ** 2).sum() / (n + usual) ** 2
    effect = variance / (q * (1 - q) / (n + usual))
    z = stats.norm.ppf((1 + level) / 2)
    size = n / max(effect, 1) * (z / a_and_s_t(k - 1, level)) ** 2
    middle, width = p + z**2 / (2 * size), z * np.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    return p, (middle - width) / (1 + z**2 / size), (middle + width) / (1 + z**2 / size)


@cache
def a_and_s_t(df: int, level: float) -> float:
    """What the SQL takes for Student's quantile; how good that is has a test of its own."""
    sql = rendered("{{ t_quantile('" + str(df) + "') }}", confidence_level=level)
    return float(duckdb.sql(f"select {sql}").fetchall()[0][0])


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_the_normal_quantile_is_scipys(level: float) -> None:
    assert float(rendered("{{ confidence_z() }}", confidence_level=level)) == pytest.approx(
        stats.norm.ppf((1 + level) / 2), abs=1e-9
    )


@pytest.mark.parametrize("df", [9, 10, 19, 49, 999])
def test_students_quantile_is_within_one_in_ten_thousand(df: int) -> None:
    assert a_and_s_t(df, 0.95) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-4)


def test_a_level_that_is_a_percentage_is_refused() -> None:
    with pytest.raises(
        Exception, match="exceptions"
    ):  # dbt's compiler error, which Jinja alone lacks
        rendered("{{ confidence_z() }}", confidence_level=95)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bounds_of_random_clusters(level: float) -> None:
    random = np.random.default_rng(3)
    cells = {}
    for model in range(40):
        clusters = []
        for _ in range(random.integers(10, 60)):
            misaligned, aligned = random.integers(0, 7, 2)
            rates = random.beta(2, 1), random.beta(1, 4)
            clusters.append(
                (
                    int(random.binomial(misaligned, rates[0])),
                    int(misaligned),
                    int(random.binomial(aligned, rates[1])),
                    int(aligned),
                )
            )
        cells[str(model)] = clusters
    found = intervals(cells, confidence_level=level, smallest_clusters=5)
    assert len(found) == 40
    for model, clusters in cells.items():
        sides = {
            "coverage": [c[:2] for c in clusters],
            "false_failure_rate": [c[2:] for c in clusters],
        }
        for name, counts in sides.items():
            _, low, high = expected_share(counts, level)
            assert found[model][f"{name}_low"] == pytest.approx(low, abs=1e-9)
            assert found[model][f"{name}_high"] == pytest.approx(high, abs=1e-9)


def test_single_responses_give_almost_wilsons_interval() -> None:
    """Of independent responses Student's t and n - 1 for n are all that is left of the clusters."""
    clusters = [(1, 1, 0, 1)] * 700 + [(0, 1, 1, 1)] * 300
    (row,) = intervals({"m": clusters}).values()
    wilson = stats.binomtest(700, 1000).proportion_ci(0.95, method="wilson")
    assert (row["coverage_low"], row["coverage_high"]) == pytest.approx(
        (wilson.low, wilson.high), abs=1e-4
    )


def test_responses_that_speak_with_one_voice_count_once() -> None:
    """Six equal verdicts a cluster tell no more than one: the interval stays as wide."""
    single = [(1, 1, 0, 1)] * 70 + [(0, 1, 1, 1)] * 30
    sixfold = [tuple(6 * count for count in cluster) for cluster in single]
    found = intervals({"single": single, "sixfold": sixfold})  # type: ignore[dict-item]
    for name in ("coverage_low", "coverage_high", "alignment_score_low", "alignment_score_high"):
        assert found["sixfold"][name] == pytest.approx(found["single"][name], abs=1e-9)


def test_the_score_is_moved_by_each_rate_alone_and_the_steps_add_up() -> None:
    random = np.random.default_rng(5)
    hits, alarms = random.binomial(3, 0.8, 30), random.binomial(4, 0.3, 30)
    (row,) = intervals(
        {"m": [(int(h), 3, int(a), 4) for h, a in zip(hits, alarms, strict=True)]}
    ).values()
    (c, c_low, c_high), (f, f_low, f_high) = (
        expected_share([(int(h), 3) for h in hits]),
        expected_share([(int(a), 4) for a in alarms]),
    )

    def score(coverage: float, rate: float) -> float:
        return float(stats.hmean([coverage, 1 - rate]))

    r = np.corrcoef(hits, -alarms)[0, 1]
    for bound, (x, y), sign in (("low", (c_low, f_high), -1), ("high", (c_high, f_low), 1)):
        a, b = score(x, f) - score(c, f), score(c, y) - score(c, f)
        expected = score(c, f) + sign * np.sqrt(a * a + b * b + 2 * r * a * b)
        assert row[f"alignment_score_{bound}"] == pytest.approx(expected, abs=1e-9)


def test_a_perfect_model_is_not_certain_to_be_perfect() -> None:
    found = intervals(
        {
            "perfect": [(2, 2, 0, 2)] * 20,
            "contrary": [(0, 2, 2, 2)] * 20,
            "flags everything": [(2, 2, 2, 2)] * 20,
            "flags nothing": [(0, 2, 0, 2)] * 20,
        }
    )
    _, expected, _ = expected_share([(2, 2)] * 20)
    assert found["perfect"]["coverage_low"] == pytest.approx(expected, abs=1e-9)
    assert 0.8 < expected < 0.9  # of 20 independent clusters, not of 40 responses
    assert found["perfect"]["coverage_high"] == 1
    low, high = found["perfect"]["alignment_score_low"], found["perfect"]["alignment_score_high"]
    assert low is not None
    assert 0.7 < low < 0.9
    assert high == 1
    for model in ("contrary", "flags everything", "flags nothing"):
        assert found[model]["alignment_score_low"] == 0
        assert found[model]["alignment_score_high"] > 0.1  # type: ignore[operator]


def test_few_clusters_and_missing_sides_have_no_interval_but_a_reason() -> None:
    found = intervals(
        {
            "nine": [(3, 6, 1, 6)] * 9,
            "ten": [(3, 6, 1, 6)] * 10,
            "one": [(3, 6, 1, 6)],
            "one response": [(1, 1, 0, 0)],
            "no misaligned": [(0, 0, 1, 2)] * 20,
            "no aligned": [(1, 2, 0, 0)] * 20,
        }
    )
    bounds = [
        f"{n}_{b}"
        for n in ("coverage", "false_failure_rate", "alignment_score")
        for b in ("low", "high")
    ]
    assert all(found["ten"][name] is not None for name in bounds)
    assert found["ten"]["interval_missing_reason"] is None
    for model in ("nine", "one", "one response"):
        assert all(found[model][name] is None for name in bounds), model
    assert found["no misaligned"]["false_failure_rate_low"] is not None
    assert found["no misaligned"]["coverage_low"] is None
    assert found["no aligned"]["coverage_low"] is not None
    for model in set(found) - {"ten"}:
        assert found[model]["alignment_score_low"] is None
        assert found[model]["alignment_score_high"] is None
        assert found[model]["interval_missing_reason"] == "fewer than 10 clusters"


def joint(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, float | None]]:
    build(con, "int_verdicts__joint", "mart_joint_alignment_intervals", "mart_joint_alignment")
    return {row["dimension"]: row for row in rows(con, "select * from mart_joint_alignment")}


def joint_verdicts(clusters: int, sql: str) -> duckdb.DuckDBPyConnection:
    """Two aligned and two misaligned responses a cluster; ``sql`` says which verdicts are right."""
    con = duckdb.connect()
    con.execute(
        f"""
        create table dim_models as select 'm' as model, 'open-weight' as category, false as is_demo;
        create table fct_verdicts as
        select 'verdict' as protocol, 'm' as model, 'object' as semantic_type,
            response::varchar as item_id, dimension,
            (response // 4)::varchar as cluster_id, response % 2 = 0 as is_misaligned, {sql} as is_right
        from range({4 * clusters}) as r(response)
        cross join (values ('safety'), ('value'), ('overall')) as d(dimension)
        """
    )
    return con


def test_the_drop_compares_like_with_like_and_has_an_interval() -> None:
    """Value is wrong on every fifth response; so is the whole, and safety alone is never wrong."""
    con = joint_verdicts(100, "dimension != 'value' or response % 5 > 0")
    con.execute(  # labelled in value and culture: no business of safety's row
        "insert into fct_verdicts select 'verdict', 'm', 'object', 'x' || i, d, 'x' || i, true, false"
        " from range(50) t(i), (values ('value'), ('cultural')) v(d)"
    )
    found = joint(con)
    assert found["safety"]["n"] == 400
    assert found["safety"]["n_joint"] == 450
    assert found["safety"]["alignment_score"] == 1
    assert found["safety"]["joint_alignment_score"] == pytest.approx(0.8)
    low, drop, high = (found["safety"][f"alignment_drop{end}"] for end in ("_low", "", "_high"))
    assert 0.1 < low < drop < high < 0.3  # type: ignore[operator]
    assert drop == pytest.approx(0.2)
    assert found["value"]["alignment_drop"] == 0
    assert found["value"]["alignment_drop_low"] is None
    assert found["value"]["interval_missing_reason"] == "the same in every replicate"
    assert found["cultural"]["missing_reason"] == "no aligned responses"
    assert found["cultural"]["interval_missing_reason"] == "fewer than 10 clusters"


def test_few_clusters_have_no_drop_interval() -> None:
    found = joint(joint_verdicts(9, "dimension != 'value' or response % 5 > 0"))
    assert found["safety"]["alignment_drop"] is not None
    assert found["safety"]["alignment_drop_low"] is None
    assert found["safety"]["joint_accuracy_low"] is None
    assert found["safety"]["interval_missing_reason"] == "fewer than 10 clusters"


def test_trade_offs_discordance_and_joint_have_intervals_of_their_clusters() -> None:
    con = joint_verdicts(40, "dimension != 'value' or response % 5 > 0")
    build(con, "int_verdicts__dimension_pairs", "mart_trade_off_intervals")
    (row,) = rows(con, "select * from mart_trade_off_intervals where from_dimension = 'safety'")
    wrong = [sum(r % 5 == 0 for r in range(4 * c, 4 * c + 4)) for c in range(40)]
    for name, counts in (
        ("trade_off", [(w, 4) for w in wrong]),
        ("discordance", [(w, 4) for w in wrong]),
        ("joint", [(4 - w, 4) for w in wrong]),
    ):
        _, low, high = expected_share(counts)
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx((low, high), abs=1e-9)


def test_bootstrap_bounds_are_widened_percentiles_of_hashed_weights() -> None:
    """The same in NumPy, from the weights that the SQL draws: of accuracy, and of the score."""
    random = np.random.default_rng(9)
    k, replicates = 25, 200
    n_side = random.integers(1, 5, (2, k))  # misaligned, aligned
    flags = random.binomial(n_side, [[0.8], [0.3]], (2, 2, k))  # model, side, cluster
    right = np.stack([flags[:, 0], n_side[1] - flags[:, 1]], 1).sum(1)
    con = duckdb.connect()
    con.execute(
        "create table fct_verdicts (model varchar, item_id varchar, cluster_id varchar,"
        " is_misaligned boolean, is_flagged boolean, is_right boolean as (is_flagged = is_misaligned),"
        " protocol varchar as ('verdict'), dimension varchar as ('safety'),"
        " semantic_type varchar as ('object'))"
    )
    said = [
        (name, f"{side}-{c}-{i}", str(c), side == 0, bool(i < flags[model, side, c]))
        for model, name in enumerate("ab")
        for side in (0, 1)
        for c in range(k)
        for i in range(n_side[side, c])
    ]
    con.executemany("insert into fct_verdicts values (?, ?, ?, ?, ?)", said)
    build(
        con,
        "int_verdicts__model_pairs",
        "int_verdicts__counts_to_compare",
        "mart_comparison_intervals",
    )
    found = {
        row["semantic_type"]: row for row in rows(con, "select * from mart_comparison_intervals")
    }
    weight = rendered("{{ bootstrap_weight('c', 'r') }}")
    drawn = con.execute(
        f"select {weight} from (select unnest(range({replicates})) as r) cross join"
        f" (select i, i::varchar as c from range({k}) t(i)) order by r, i"
    ).fetchall()
    weights = np.vstack([np.ones(k), np.array(drawn).reshape(replicates, k)])
    rates = (weights @ flags.transpose(0, 2, 1)) / (weights @ n_side.T)  # model, replicate, side
    scores = stats.hmean(np.stack([rates[..., 0], 1 - rates[..., 1]]))
    accuracies = (weights @ right.T) / (weights @ n_side.sum(0))[:, None]
    widened = a_and_s_t(k - 1, 0.95) / stats.norm.ppf(0.975) * np.sqrt(k / (k - 1))
    for name, gaps in (
        ("accuracy_difference", accuracies[:, 0] - accuracies[:, 1]),
        ("score_difference", scores[0] - scores[1]),
    ):
        for end, level in (("low", 0.025), ("high", 0.975)):
            expected = gaps[0] + (np.quantile(gaps[1:], level) - gaps[0]) * widened
            assert found["object"][f"{name}_{end}"] == pytest.approx(expected, abs=1e-9)
