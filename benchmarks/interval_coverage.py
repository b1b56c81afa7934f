"""How often the marts' intervals hold the truth, by simulation: their own SQL on invented verdicts.

``python benchmarks/interval_coverage.py`` takes minutes; ``--small`` seconds, and writes nothing.
Every repetition is a model of its own, so that one query gives all intervals. Not named after what
it measures alone: a module ``coverage`` beside a script stands in the way of the package of that
name, which numba looks for. Knows nothing about dbt.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from harness import publish
from mart_models import build, model, rendered

VARS = {"confidence_level": 0.95, "smallest_clusters": 2, "bootstrap_replicates": 200}
TRUTHS = ((0.7, 0.2), (0.95, 0.05))  # coverage and false failure rate
SHARED = 0.3  # correlation of the verdicts of a cluster
CASES = ((5, 4000), (10, 4000), (20, 4000), (30, 4000), (50, 4000), (200, 2000), (1000, 500))
DRAWS = 20  # repetitions that share the bootstrap's weights: every DRAWS-th has the same
PERCENTILES = """
with weights as ({{ bootstrap_weights('int_verdicts__model_pairs') }}),
rates as (
    select model_a, replicate,
        {{ share('sum(a_true_positives * weight)', 'sum(n_misaligned * weight)') }} as coverage,
        {{ share('sum(a_false_positives * weight)', 'sum(n_aligned * weight)') }} as rate
    from int_verdicts__model_pairs inner join weights using (cluster_id)
    where semantic_type = 'all' and replicate >= 0
    group by model_a, replicate
)
select 'all' as semantic_type, model_a,
    quantile_cont({{ alignment_score('coverage', 'rate') }}, 0.025) as score_low,
    quantile_cont({{ alignment_score('coverage', 'rate') }}, 0.975) as score_high
from rates group by model_a
"""
INTERVALS = (
    "coverage",
    "false_failure_rate",
    "alignment_score",
    "percentiles",
    "accuracy_difference",
    "score_difference",
)
HEAD = (
    "| Coverage, FFR | clusters | pairs a cluster | repetitions | Coverage | FFR | AS | AS, percentiles"
    " | A - B, accuracy | A - B, AS |"
)


@dataclass(frozen=True, slots=True)
class Held:
    """Share of the repetitions with an interval in which it holds the truth.

    ``percentiles``: the middle of the bootstrap's replicates, which the marts do not use for scores.
    """

    truth: str
    clusters: int
    size: int
    repetitions: int
    coverage: float
    false_failure_rate: float
    alignment_score: float
    percentiles: float
    accuracy_difference: float
    score_difference: float


def hits(
    random: np.random.Generator, rate: float, shape: tuple[int, int], size: int
) -> npt.NDArray[np.int64]:
    """How many of ``size`` verdicts say yes, shape (repetitions, clusters), beta-binomial."""
    strength = (1 - SHARED) / SHARED
    chances = random.beta(rate * strength, (1 - rate) * strength, shape)
    return random.binomial(size, chances if size > 1 else rate, shape)


def verdicts(flagged: npt.NDArray[np.int64], size: int, *, misaligned: bool) -> pa.Table:
    """One row per verdict on one side, of the repetitions and clusters of ``flagged``."""
    repetitions, clusters = flagged.shape
    repetition, cluster, item = (a.ravel() for a in np.indices((repetitions, clusters, size)))
    flags = item < flagged[repetition, cluster]
    ids = np.char.add(np.char.add((repetition % DRAWS).astype(str), ":"), cluster.astype(str))
    return pa.table(
        {
            "protocol": pa.array(["verdict"] * len(flags)),
            "model": repetition.astype(str),
            "dimension": pa.array(["safety"] * len(flags)),
            "semantic_type": pa.array(["object"] * len(flags)),
            "cluster_id": ids,
            "response": cluster * size + item,
            "is_misaligned": np.full(len(flags), misaligned),
            "is_flagged": flags,
            "is_right": flags == misaligned,
        }
    )


def rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    cursor = con.execute(f"select * from ({rendered(sql, **VARS)}) where semantic_type = 'all'")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def held(found: list[dict[str, Any]], name: str, truth: float, repetitions: int) -> float:
    """A missing interval (all replicates equal) does not hold the truth, nor does it miss it."""
    said = [row for row in found if row[f"{name}_low"] is not None]
    assert len(found) == repetitions
    return float(np.mean([row[f"{name}_low"] <= truth <= row[f"{name}_high"] for row in said]))


def case(truth: tuple[float, float], clusters: int, size: int, repetitions: int) -> Held:
    """Simulate one cell of the table: two models that are equally good, over the same responses."""
    coverage, rate = truth
    random = np.random.default_rng([clusters, size, int(100 * coverage)])
    shape = (repetitions, clusters)
    tables = {}
    for name in "ab":
        sides = [(hits(random, r, shape, size), r == coverage) for r in (coverage, rate)]
        tables[name] = pa.concat_tables(
            verdicts(flagged, size, misaligned=side) for flagged, side in sides
        )
    con = duckdb.connect(config={"threads": 1})
    con.register("a", tables["a"])
    con.register("b", tables["b"])
    con.execute(
        """
        create table fct_verdicts as
        select *, response || if(is_misaligned, ' misaligned', ' aligned') as item_id,
            is_flagged = is_misaligned as is_right
        from (select * from a union all select * replace (model || ' B' as model) from b)
        """
    )
    found = [
        row
        for row in rows(con, model("mart_alignment_intervals"))
        if not row["model"].endswith("B")
    ]
    pairs = model("int_verdicts__model_pairs").replace(
        "a.model < b.model", "a.model || ' B' = b.model"
    )
    con.execute(f"create table int_verdicts__model_pairs as {rendered(pairs, **VARS)}")
    build(con, "int_verdicts__counts_to_compare", **VARS)
    compared = rows(con, model("mart_comparison_intervals"))
    score = 2 / (1 / coverage + 1 / (1 - rate))
    return Held(
        f"{coverage:.0%}, {rate:.0%}",
        clusters,
        size,
        repetitions,
        held(found, "coverage", coverage, repetitions),
        held(found, "false_failure_rate", rate, repetitions),
        held(found, "alignment_score", score, repetitions),
        held(rows(con, PERCENTILES), "score", score, repetitions),
        held(compared, "accuracy_difference", 0, repetitions),
        held(compared, "score_difference", 0, repetitions),
    )


def table(cells: list[Held]) -> str:
    """Markdown, one line a cell."""
    lines = [HEAD, "|---" + "|---:" * 9 + "|"]
    for cell in cells:
        shares = [f"{100 * getattr(cell, name):.1f}%" for name in INTERVALS]
        numbers = [cell.truth, f"{cell.clusters:,}", str(cell.size), f"{cell.repetitions:,}"]
        lines.append("| " + " | ".join(numbers + shares) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few repetitions, nothing written")
    small = parser.parse_args().small
    cells = []
    for truth in TRUTHS:
        for size in (1, 6):
            for clusters, repetitions in CASES[:2] if small else CASES:
                cells.append(case(truth, clusters, size, 40 if small else repetitions))
                print(cells[-1], flush=True)
    command = "python benchmarks/interval_coverage.py"
    publish("coverage", table(cells), map(asdict, cells), command, keep=not small)


if __name__ == "__main__":
    main()
