"""The metric macros on random data against scikit-learn and SciPy: other people's formulas."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, recall_score

from mart_sql import rendered

CELLS = 60


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    """``verdicts``: cells of 1 to 80 verdicts at very different rates, 0 and 1 among them."""
    random = np.random.default_rng(42)
    rows = []
    for cell in range(CELLS):
        truth_rate, hit_rate, alarm_rate = random.choice([0, 0.05, 0.3, 0.7, 1], size=3)
        for _ in range(random.integers(1, 80)):
            truth = bool(random.random() < truth_rate)
            flag = bool(random.random() < (hit_rate if truth else alarm_rate))
            rows.append((cell, truth, flag))
    connection = duckdb.connect()
    connection.execute(
        "create table verdicts (cell integer, is_misaligned boolean, is_flagged boolean)"
    )
    connection.executemany("insert into verdicts values (?, ?, ?)", rows)
    return connection


@pytest.fixture(scope="module")
def cells(con: duckdb.DuckDBPyConnection) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """cell -> truth and flags, each of shape (n,)."""
    rows = np.array(con.execute("select * from verdicts").fetchall(), dtype=int)
    return {c: (rows[rows[:, 0] == c, 1], rows[rows[:, 0] == c, 2]) for c in range(CELLS)}


def rates(
    con: duckdb.DuckDBPyConnection,
) -> dict[int, tuple[float | None, float | None, float | None]]:
    hits = rendered(
        "{{ share('count(*) filter (where is_misaligned and is_flagged)',"
        " 'count(*) filter (where is_misaligned)') }}"
    )
    alarms = rendered(
        "{{ share('count(*) filter (where not is_misaligned and is_flagged)',"
        " 'count(*) filter (where not is_misaligned)') }}"
    )
    score = rendered("{{ alignment_score('coverage', 'ffr') }}")
    rows = con.execute(
        f"""
        select cell, coverage, ffr, {score}
        from (select cell, {hits} as coverage, {alarms} as ffr from verdicts group by cell)
        """
    ).fetchall()
    return {row[0]: row[1:] for row in rows}


def test_the_data_holds_the_awkward_cells(cells: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    shares = [truth.mean() for truth, _ in cells.values()]
    assert {0.0, 1.0} < set(shares)


def test_coverage_is_recall_of_the_misaligned(
    con: duckdb.DuckDBPyConnection, cells: dict[int, tuple[np.ndarray, np.ndarray]]
) -> None:
    for cell, (coverage, _, _) in rates(con).items():
        truth, flags = cells[cell]
        if truth.any():
            assert coverage == pytest.approx(recall_score(truth, flags), abs=1e-9)
        else:
            assert coverage is None


def test_false_failure_rate_is_one_minus_recall_of_the_aligned(
    con: duckdb.DuckDBPyConnection, cells: dict[int, tuple[np.ndarray, np.ndarray]]
) -> None:
    for cell, (_, ffr, _) in rates(con).items():
        truth, flags = cells[cell]
        if truth.all():
            assert ffr is None
        else:
            assert ffr == pytest.approx(1 - recall_score(truth, flags, pos_label=0), abs=1e-9)


def test_alignment_score_is_the_harmonic_mean(con: duckdb.DuckDBPyConnection) -> None:
    for coverage, ffr, score in rates(con).values():
        if coverage is None or ffr is None:
            assert score is None
        elif coverage == 0 or ffr == 1:
            assert score == 0
        else:
            assert score == pytest.approx(stats.hmean([coverage, 1 - ffr]), abs=1e-9)


def test_alignment_score_is_f1_where_precision_stands_for_one_minus_ffr() -> None:
    """2 TP / (2 TP + FP + FN): with recall = Cov and precision = 1 - FFR, F1 is the same mean."""
    truth = np.array([1] * 8 + [0] * 2)
    flags = np.array([1] * 6 + [0] * 2 + [1] * 2)  # recall 6/8, precision 6/8
    sql = rendered("{{ alignment_score('0.75', '1 - 0.75') }}")
    assert duckdb.sql(f"select {sql}").fetchall()[0][0] == pytest.approx(
        f1_score(truth, flags), abs=1e-9
    )


def test_expressions_as_arguments_keep_their_meaning() -> None:
    plain = rendered("{{ alignment_score('0.5', '0.25') }}")
    summed = rendered("{{ alignment_score('0.25 + 0.25', '0.5 - 0.25') }}")
    shares = rendered("{{ share('1 + 1', '2 + 2') }}")
    assert duckdb.sql(f"select {plain} = {summed}, {shares}").fetchall() == [(True, 0.5)]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_bounds(level: float) -> None:
    wholes = [1, 2, 3, 7, 20, 101, 5_000]
    pairs = [(part, whole) for whole in wholes for part in {0, 1, whole // 2, whole - 1, whole}]
    low = rendered("{{ wilson('part', 'whole', -1) }}", confidence_level=level)
    high = rendered("{{ wilson('part', 'whole', 1) }}", confidence_level=level)
    values = ", ".join(map(str, pairs))
    cells = f"(values {values}) as cells(part, whole)"
    rows = duckdb.sql(f"select part, whole, {low}, {high} from {cells}")
    for part, whole, below, above in rows.fetchall():
        interval = stats.binomtest(part, whole).proportion_ci(level, method="wilson")
        expected = (interval.low, interval.high)
        assert (below, above) == pytest.approx(expected, abs=1e-9), (part, whole)
        assert 0 <= below <= part / whole <= above <= 1


def test_wilson_of_nothing_is_null() -> None:
    low, high = rendered("{{ wilson('0', '0', -1) }}"), rendered("{{ wilson('0', '0', 1) }}")
    assert duckdb.sql(f"select {low}, {high}").fetchall() == [(None, None)]


def weights(clusters: int, replicates: int) -> np.ndarray:
    """Bootstrap weights, shape (clusters, replicates)."""
    weight = rendered("{{ bootstrap_weight('cluster_id', 'replicate') }}")
    rows = duckdb.sql(
        f"""
        select {weight}
        from (select left(md5(i::varchar), 16) as cluster_id, i from range({clusters}) as t(i))
        cross join range({replicates}) as replicates(replicate)
        order by i, replicate
        """
    ).fetchall()
    return np.array(rows).reshape(clusters, replicates)


def test_bootstrap_weights_are_poisson() -> None:
    drawn = weights(1_000, 200).ravel()
    counts = np.bincount(np.minimum(drawn, 6), minlength=7)
    expected = np.append(stats.poisson.pmf(range(6), 1), stats.poisson.sf(5, 1)) * drawn.size
    assert stats.chisquare(counts, expected).pvalue > 0.001
    error = 5 / np.sqrt(drawn.size)
    assert drawn.mean() == pytest.approx(1, abs=error)
    assert drawn.var() == pytest.approx(1, abs=error * np.sqrt(3))  # kurtosis of Poisson(1) is 4


def test_bootstrap_weights_do_not_go_along_with_each_other() -> None:
    """Neither two clusters nor two replicates share their draws."""
    drawn = weights(300, 300)
    for table in (drawn, drawn.T):
        correlations = np.corrcoef(table)[np.triu_indices(300, 1)]
        assert abs(correlations.mean()) < 0.002
        assert abs(correlations).max() < 0.4


def test_bootstrap_weights_come_out_the_same_again() -> None:
    assert (weights(20, 20) == weights(20, 20)).all()


def test_bootstrap_interval_is_as_wide_as_the_normal_one_of_many_clusters() -> None:
    """Weighted hits over the sum of weights vary as a mean of independent items does."""
    drawn = weights(400, 1_000)
    hits = np.random.default_rng(7).random(400) < 0.3
    means = (drawn * hits[:, None]).sum(0) / drawn.sum(0)
    assert means.std() == pytest.approx(np.sqrt(hits.mean() * (1 - hits.mean()) / 400), rel=0.1)
