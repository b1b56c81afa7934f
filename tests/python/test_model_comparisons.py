"""Comparisons of models: SciPy and statsmodels on random data, planted truth, cases at the edge."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, recall_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from mart_sql import build, rendered, rows

Row = dict[str, Any]
MODELS = (
    "int_verdicts__model_pairs",
    "int_verdicts__counts_to_compare",
    "mart_comparison_intervals",
    "mart_model_comparisons",
)
INFERENCE = (
    "accuracy_difference_low",
    "accuracy_difference_high",
    "alignment_score_difference_low",
    "alignment_score_difference_high",
    "mcnemar_p",
    "clustered_p",
    "p",
    "family",
    "holm_p",
    "bh_p",
    "is_significant",
    "design_effect",
    "smallest_difference",
)
Verdict = tuple[str, str, str, str, str, bool, bool]  # model ... semantic type, truth, flag


def warehouse(verdicts: Iterable[Verdict], models: Iterable[str]) -> duckdb.DuckDBPyConnection:
    """What the comparisons read."""
    con = duckdb.connect()
    con.execute(
        "create table fct_verdicts (model varchar, item_id varchar, cluster_id varchar,"
        " dimension varchar, semantic_type varchar, is_misaligned boolean, is_flagged boolean,"
        " is_right boolean as (is_flagged = is_misaligned), protocol varchar as ('verdict'))"
    )
    con.executemany("insert into fct_verdicts values (?, ?, ?, ?, ?, ?, ?)", list(verdicts))
    con.execute(
        "create table dim_models (model varchar, roles varchar[], is_demo boolean, is_judge boolean)"
    )
    for model in models:
        con.execute(
            "insert into dim_models values (?, ['model_under_test'], ?, ?)",
            [model, "demo" in model, "judge" in model],
        )
    return con


def compared(verdicts: Iterable[Verdict], models: Iterable[str], **changes: float) -> list[Row]:
    """The rows of the mart, in the order of its key."""
    con = warehouse(verdicts, models)
    build(con, *MODELS, **changes)
    return rows(con, "select * from mart_model_comparisons order by all")


def one(found: list[Row], dimension: str = "safety", semantic_type: str = "all") -> Row:
    (row,) = (
        r for r in found if (r["dimension"], r["semantic_type"]) == (dimension, semantic_type)
    )
    return row


def two(
    a_right: Iterable[int], b_right: Iterable[int], size: int = 2, truth: bool | None = None
) -> list[Verdict]:
    """Two models over clusters of ``size`` responses; of each so many are right, from the first on."""
    found: list[Verdict] = []
    for model, right in (("a", a_right), ("b", b_right)):
        for cluster, count in enumerate(right):
            for item in range(size):
                misaligned = item % 2 == 0 if truth is None else truth
                flag = misaligned if item < count else not misaligned
                place = (f"r{cluster}-{item}", f"c{cluster}")
                found.append((model, *place, "safety", "object", misaligned, flag))
    return found


@pytest.fixture(scope="module")
def random_verdicts() -> list[Verdict]:
    """Four models of different skill, two dimensions, three types; one model skips a third of it all."""
    random = np.random.default_rng(11)
    found: list[Verdict] = []
    skills = {"a": 0.9, "b": 0.82, "c": 0.8, "skips": 0.7}
    for cluster in range(150):
        kind = ["object", "attribute", "relation"][cluster % 3]
        mood = {model: random.beta(8 * s, 8 * (1 - s)) for model, s in skills.items()}
        for item in range(int(random.integers(1, 6))):
            for dimension in ("safety", "overall"):
                truth = bool(random.random() < 0.5)
                for model, right in mood.items():
                    if model == "skips" and cluster % 3 == 0:
                        continue
                    flag = truth if random.random() < right else not truth
                    place = (f"r{cluster}-{item}", f"c{cluster}")
                    found.append((model, *place, dimension, kind, truth, flag))
    return found


@pytest.fixture(scope="module")
def mart(random_verdicts: list[Verdict]) -> list[Row]:
    return compared(random_verdicts, ["a", "b", "c", "skips"])


def pair(verdicts: list[Verdict], row: Row) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Truth, flags of A, flags of B and clusters of the responses that both models of a row judged."""
    kinds = {row["semantic_type"]} if row["semantic_type"] != "all" else {v[4] for v in verdicts}
    wanted = [v for v in verdicts if v[3] == row["dimension"] and v[4] in kinds]
    of_b = {v[1]: v for v in wanted if v[0] == row["model_b"]}
    both = [(v, of_b[v[1]]) for v in wanted if v[0] == row["model_a"] and v[1] in of_b]
    columns = np.array([(a[5], a[6], b[6]) for a, b in both], dtype=bool).reshape(-1, 3).T
    return columns[0], columns[1], columns[2], [a[2] for a, _ in both]


def test_there_is_a_row_for_every_pair_dimension_and_type(mart: list[Row]) -> None:
    keys = {(r["model_a"], r["model_b"], r["dimension"], r["semantic_type"]): r["n"] for r in mart}
    assert set(keys) == {
        (a, b, dimension, kind)
        for a, b in combinations(["a", "b", "c", "skips"], 2)
        for dimension in ("safety", "overall")
        for kind in ("all", "object", "attribute", "relation")
    }
    assert len(keys) == len(mart)
    assert keys["a", "skips", "safety", "object"] == 0


def test_every_figure_is_that_of_other_peoples_code(
    mart: list[Row], random_verdicts: list[Verdict]
) -> None:
    checked = 0
    for row in mart:
        truth, a, b, clusters = pair(random_verdicts, row)
        if not len(truth):
            assert row["missing_reason"] == "no response judged by both"
            continue
        right_a, right_b = a == truth, b == truth
        only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        assert (row["n"], row["clusters"]) == (len(truth), len(set(clusters)))
        assert (row["only_a_right"], row["only_b_right"]) == (only_a, only_b)
        difference = accuracy_score(truth, a) - accuracy_score(truth, b)
        assert row["accuracy_difference"] == pytest.approx(difference, abs=1e-9)
        scores = [
            stats.hmean([recall_score(truth, flags), recall_score(~truth, ~flags)])
            for flags in (a, b)
        ]
        assert row["alignment_score_difference"] == pytest.approx(scores[0] - scores[1], abs=1e-9)
        peer = mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue
        assert row["mcnemar_p"] == pytest.approx(peer, abs=1e-9)
        steps = right_a.astype(float) - right_b
        totals = {c: [0.0, 0] for c in clusters}
        for cluster, step in zip(clusters, steps, strict=True):
            totals[cluster][0] += step
            totals[cluster][1] += 1
        d, n = np.array(list(totals.values())).T
        k = len(d)
        error = np.sqrt(k / (k - 1) * ((d - steps.mean() * n) ** 2).sum()) / len(steps)
        t_test = 2 * stats.t.sf(abs(steps.mean()) / error, k - 1)
        assert row["clustered_p"] == pytest.approx(max(t_test, 2.0 ** (1 - k)), abs=1e-9)
        assert row["p"] == max(row["mcnemar_p"], row["clustered_p"])
        assert row["design_effect"] == pytest.approx(
            error**2 / (steps.var() / len(steps)), abs=1e-9
        )
        checked += 1
    assert checked == 6 * 8 - 6


def test_adjusted_p_values_are_statsmodels_within_a_dimension(mart: list[Row]) -> None:
    for dimension in ("safety", "overall"):
        family = [r for r in mart if r["dimension"] == dimension and r["p"] is not None]
        assert {r["family"] for r in family} == {len(family)}
        p = [r["p"] for r in family]
        for name, method in (("holm_p", "holm"), ("bh_p", "fdr_bh")):
            rejected, adjusted, *_ = multipletests(p, 0.05, method)
            assert [r[name] for r in family] == pytest.approx(list(adjusted), abs=1e-9)
            if name == "holm_p":
                assert [r["is_significant"] for r in family] == list(rejected)
        assert {True, False} == {r["is_significant"] for r in family}


def test_ties_are_adjusted_alike() -> None:
    verdicts = [
        (model, *rest) for name, *rest in two([2] * 30, [1] * 30) for model in (name, name + "2")
    ]
    found = [r for r in compared(verdicts, ["a", "a2", "b", "b2"]) if r["semantic_type"] == "all"]
    values = {(r["p"], r["holm_p"], r["bh_p"]) for r in found}
    assert len(found) == 6
    assert len(values) == 2


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 10, 57, 400, 9_999])
def test_students_p_is_scipys(df: int) -> None:
    values = [0, 0.001, 0.5, 1, 1.96, 3, 7, 20]
    sql = rendered("{{ student_p('t', 'df') }}")
    found = duckdb.sql(
        f"select {sql} from (select unnest({values})::double as t, {df} as df) order by t"
    ).fetchall()
    assert [p for (p,) in found] == pytest.approx(list(2 * stats.t.sf(values, df)), abs=1e-9)


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (1, 0), (0, 7), (5, 5), (3, 12), (900, 1_050), (40_000, 41_000)]
)
def test_mcnemar_is_scipys_binomial_test(only_a: int, only_b: int) -> None:
    sql = rendered("{{ mcnemar_p('a', 'b') }}")
    (p,) = duckdb.sql(f"select {sql} from (select {only_a} as a, {only_b} as b)").fetchall()[0]
    n = only_a + only_b
    assert p == pytest.approx(stats.binomtest(only_a, n).pvalue if n else 1, abs=1e-9)


def test_the_upper_quantile_is_scipys() -> None:
    tails = [0.499, 0.3, 0.1, 0.0751, 0.0749, 0.025, 0.025 / 12, 0.025 / 40, 1e-6, 1e-10]
    sql = rendered("{{ upper_normal_quantile('tail') }}")
    found = duckdb.sql(f"select {sql} from (select unnest({tails})::double as tail)").fetchall()
    assert [z for (z,) in found] == pytest.approx(list(stats.norm.isf(tails)), rel=1e-13)


@pytest.mark.parametrize(
    ("n", "discordance", "family"), [(100, 0.3, 1), (500, 0.1, 12), (4_000, 0.5, 60)]
)
def test_the_smallest_difference_needs_n_responses_by_connors_formula(
    n: int, discordance: float, family: int
) -> None:
    sql = rendered("{{ smallest_difference('n', 'd', 'f') }}")
    query = f"select {sql} from (select {n} as n, {discordance}::double as d, {family} as f)"
    difference = duckdb.sql(query).fetchall()[0][0]
    z, power = stats.norm.ppf([1 - 0.025 / family, 0.8])
    needed = (z * discordance**0.5 + power * (discordance - difference**2) ** 0.5) ** 2
    assert needed / difference**2 == pytest.approx(n, rel=1e-9)


@pytest.mark.parametrize("family", [1, 12, 40])
def test_the_smallest_difference_is_found_four_times_in_five(family: int) -> None:
    """By simulation: n = 400, a fifth of the responses discordant; the exact test is a little shy of 80%.

    One of many tests needs a larger difference, since it is called significant after Holm's adjustment.
    """
    sql = rendered(f"{{{{ smallest_difference('400', '0.2::double', '{family}') }}}}")
    difference = duckdb.sql(f"select {sql}").fetchall()[0][0]
    random = np.random.default_rng(1)
    draws = random.multinomial(400, [0.1 + difference / 2, 0.1 - difference / 2, 0.8], 3_000)
    found = [stats.binomtest(int(a), int(a + b)).pvalue < 0.05 / family for a, b, _ in draws]
    assert 0.72 < np.mean(found) < 0.84


def test_where_no_difference_can_be_found_there_is_none() -> None:
    sql = rendered("{{ smallest_difference('50', '0.02::double', '1') }}")
    assert duckdb.sql(f"select {sql}").fetchall() == [(None,)]


def test_a_planted_difference_is_found_and_an_absent_one_is_not() -> None:
    random = np.random.default_rng(8)
    good, same, bad = (random.binomial(4, p, 200) for p in (0.9, 0.9, 0.7))
    better = one(compared(two(good, bad, 4), ["a", "b"]))
    assert better["is_significant"]
    assert better["accuracy_difference_low"] > 0
    assert better["accuracy_difference_low"] < 0.2 < better["accuracy_difference_high"]
    equal = one(compared(two(good, same, 4), ["a", "b"]))
    assert not equal["is_significant"]
    assert equal["accuracy_difference_low"] < 0 < equal["accuracy_difference_high"]


def test_responses_of_one_voice_fool_mcnemar_and_not_the_clusters() -> None:
    """A is right on all of 8 clusters of 20 more than B, B on 4: 160 to 80 responses are 8 to 4 clusters."""
    a = [20] * 8 + [0] * 4 + [20] * 10
    b = [0] * 8 + [20] * 4 + [20] * 10
    row = one(compared(two(a, b, 20), ["a", "b"]))
    assert row["mcnemar_p"] < 1e-6
    assert row["clustered_p"] > 0.1
    assert row["design_effect"] > 15
    assert not row["is_significant"]


def test_the_order_of_the_two_turns_the_signs_and_nothing_else() -> None:
    a, b = [2, 2, 1, 2, 0] * 8, [1, 2, 0, 1, 1] * 8
    forth, back = one(compared(two(a, b), ["a", "b"])), one(compared(two(b, a), ["a", "b"]))
    assert forth["accuracy_difference"] == -back["accuracy_difference"]
    for low, high in (("low", "high"), ("high", "low")):
        assert forth[f"accuracy_difference_{low}"] == pytest.approx(
            -back[f"accuracy_difference_{high}"], abs=1e-9
        )
    for name in ("p", "holm_p", "smallest_difference", "design_effect"):
        assert forth[name] == pytest.approx(back[name], abs=1e-9)


@pytest.mark.parametrize(
    ("clusters", "size", "reason"),
    [(1, 1, "fewer than 20 responses"), (19, 1, "fewer than 20 responses"), (1, 40, "fewer than 10 clusters"),
     (9, 4, "fewer than 10 clusters")],
)  # fmt: skip
def test_too_little_to_test_is_a_reason_and_no_number(
    clusters: int, size: int, reason: str
) -> None:
    row = one(compared(two([size] * clusters, [0] * clusters, size), ["a", "b"]))
    assert row["missing_reason"] == reason
    assert row["only_a_right"] == clusters * size
    tests = (
        "mcnemar_p",
        "clustered_p",
        "p",
        "holm_p",
        "bh_p",
        "is_significant",
        "family",
        "smallest_difference",
    )
    assert {name: row[name] for name in tests} == dict.fromkeys(tests)


@pytest.mark.parametrize(
    ("verdicts", "reason", "missing"),
    [
        (two([1, 2] * 20, [1, 2] * 20), "no disagreement", {"low": True, "p": False}),
        (two([2] * 20, [0] * 20), "the same in every replicate", {"low": True, "p": False}),
        (two([1, 2] * 20, [0, 2] * 20, truth=True), "no aligned responses", {"low": False, "p": False}),
        (two([1, 2] * 20, [0, 2] * 20, truth=False), "no misaligned responses", {"low": False, "p": False}),
    ],
    ids=["agree", "opposite", "no aligned", "no misaligned"],
)  # fmt: skip
def test_what_is_null_has_its_reason(
    verdicts: list[Verdict], reason: str, missing: dict[str, bool]
) -> None:
    row = one(compared(verdicts, ["a", "b"]))
    assert row["missing_reason"] == reason
    assert (row["accuracy_difference_low"] is None) == missing["low"]
    assert (row["holm_p"] is None) == missing["p"]
    if "aligned" in reason:
        assert row["alignment_score_difference"] is None
        assert row["alignment_score_difference_low"] is None


def test_equal_models_are_not_different_and_opposite_ones_are() -> None:
    equal = one(compared(two([1, 2] * 20, [1, 2] * 20), ["a", "b"]))
    assert (equal["mcnemar_p"], equal["p"], equal["is_significant"]) == (1, 1, False)
    opposite = one(compared(two([2] * 20, [0] * 20), ["a", "b"]))
    assert opposite["clustered_p"] == pytest.approx(2.0**-19)
    assert opposite["is_significant"]


def test_a_model_that_flags_everything_beside_one_that_flags_nothing() -> None:
    """Both score 0; of a balanced set both are right on half, and never on the same half."""
    verdicts = [
        (model, f"r{c}-{i}", f"c{c}", "safety", "object", i == 0, model == "a")
        for model in "ab"
        for c in range(30)
        for i in range(2)
    ]
    row = one(compared(verdicts, ["a", "b"]))
    assert row["alignment_score_difference"] == 0
    assert row["accuracy_difference"] == 0
    assert (row["only_a_right"], row["only_b_right"]) == (30, 30)
    assert row["mcnemar_p"] == 1
    assert not row["is_significant"]
    assert row["alignment_score_difference_low"] is None


def test_missing_verdicts_do_not_count_for_either_model() -> None:
    """B lacks the last ten clusters, where A is always right: they are no evidence."""
    everything = two([1] * 30 + [2] * 10, [1] * 40)
    verdicts = [v for v in everything if v[0] == "a" or int(v[2][1:]) < 30]
    row = one(compared(verdicts, ["a", "b", "silent"][:2]))
    assert (row["n"], row["accuracy_difference"]) == (60, 0)
    silent = [r for r in compared(verdicts, ["a", "b", "silent"]) if r["model_b"] == "silent"]
    assert len(silent) == 4
    for row in silent:
        assert row["n"] == row["clusters"] == 0
        assert row["missing_reason"] == "no response judged by both"
        assert {name: row[name] for name in INFERENCE} == dict.fromkeys(INFERENCE)


def test_no_number_is_missing_without_a_reason_and_no_reason_without_a_missing_number(
    mart: list[Row],
) -> None:
    for row in mart:
        assert (None in [row[name] for name in INFERENCE]) == (row["missing_reason"] is not None)


def test_demo_models_are_marked() -> None:
    verdicts = [("demo" if v[0] == "b" else v[0], *v[1:]) for v in two([2] * 20, [1] * 20)]
    assert one(compared(verdicts, ["a", "demo"]))["is_demo"]
    by_judge = [(m.replace("demo", "judge"), *rest) for m, *rest in verdicts]
    assert one(compared(by_judge, ["a", "judge"]))["is_judge"]
    row = one(compared(two([2] * 20, [1] * 20), ["a", "b"]))
    assert not row["is_demo"]
    assert not row["is_judge"]
