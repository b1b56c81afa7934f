"""How often intervals of means over domains hold the truth, by simulation: the mart's SQL and a bootstrap.

``python benchmarks/macro_intervals.py`` takes some minutes; ``--small`` less than one. It prints a table and
writes nothing. Every repetition is a model of its own, so that one query gives all intervals. Knows nothing
about dbt.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from mart_models import build, model, rendered

Shape = npt.NDArray[np.int64]

VARS = {"confidence_level": 0.95, "smallest_clusters": 2, "bootstrap_replicates": 200}
SHARED = 0.3  # correlation of the verdicts of a cluster
SPREAD = 30  # of the domains' true rates: beta with this many pseudo-verdicts around the mean
CASES = ((14, 3), (14, 12), (56, 3), (56, 12))  # domains, mean of the clusters of one
NAMES = (
    "macro_coverage",
    "macro_false_failure_rate",
    "macro_alignment_score",
    "alignment_score_of_macro_rates",
)
BOOTSTRAP = """
with weights as ({{ bootstrap_weights('counts') }}),
rates as (
    select model, replicate, domain,
        {{ share('sum(true_positives * weight)', 'sum(n_misaligned * weight)') }} as coverage,
        {{ share('sum(false_positives * weight)', 'sum(n_aligned * weight)') }} as rate
    from counts inner join weights using (cluster_id)
    group by model, replicate, domain
),
means as (
    select model, replicate, avg(coverage) as macro_coverage, avg(rate) as macro_false_failure_rate,
        avg({{ alignment_score('coverage', 'rate') }}) as macro_alignment_score,
        {{ alignment_score('avg(coverage)', 'avg(rate)') }} as alignment_score_of_macro_rates
    from rates where coverage is not null and rate is not null
    group by model, replicate
)
select model
{% for name in var('names') %}
    , {{ bootstrap_bound(name, 'any_value(k)', -1) }} as {{ name }}_low
    , {{ bootstrap_bound(name, 'any_value(k)', 1) }} as {{ name }}_high
{% endfor %}
from means inner join (select model, count(distinct cluster_id) as k from counts group by model) using (model)
group by model
"""


def score(
    coverage: npt.NDArray[np.float64], rate: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = 2 * coverage * (1 - rate) / (coverage + 1 - rate)
    return found


def counts(
    random: np.random.Generator, domains: int, size: int, repetitions: int
) -> tuple[pa.Table, Any]:
    """Cluster counts of every repetition, and what is true; a cluster is a pair, one in five is two."""
    k = np.maximum(random.poisson(size, domains), 1)
    domain = np.repeat(np.arange(domains), k)
    pairs = 1 + (random.random(len(domain)) < 0.2)
    coverage = random.beta(0.75 * SPREAD, 0.25 * SPREAD, domains)
    rate = random.beta(0.15 * SPREAD, 0.85 * SPREAD, domains)
    shape = (repetitions, len(domain))
    flags = {}
    for name, truth in (("hits", coverage), ("alarms", rate)):
        strength = (1 - SHARED) / SHARED
        chances = random.beta(truth[domain] * strength, (1 - truth[domain]) * strength, shape)
        flags[name] = random.binomial(pairs, chances).ravel()
    model, cluster = (a.ravel() for a in np.indices(shape))
    n = pairs[cluster]
    table = pa.table(
        {
            "protocol": pa.array(["verdict"] * model.size),
            "model": model.astype(str),
            "dimension": pa.array(["safety"] * model.size),
            "domain": domain[cluster].astype(str),
            "semantic_type": pa.array(["all"] * model.size),
            "cluster_id": np.char.add(
                np.char.add((model % 20).astype(str), ":"), cluster.astype(str)
            ),
            "n": 2 * n,
            "n_right": flags["hits"] + n - flags["alarms"],
            "n_answered": 2 * n,
            "n_misaligned": n,
            "n_aligned": n,
            "true_positives": flags["hits"],
            "false_positives": flags["alarms"],
        }
    )
    means = coverage.mean(), rate.mean()
    return table, dict(
        zip(NAMES, (*means, score(coverage, rate).mean(), score(*means)), strict=True)
    )


def held(
    con: duckdb.DuckDBPyConnection, sql: str, truth: dict[str, float]
) -> tuple[list[str], float]:
    """Per cent of the repetitions in which each interval holds the truth; seconds of the query."""
    started = time.perf_counter()
    con.execute(f"create or replace table found as {rendered(sql, names=NAMES, **VARS)}")
    seconds = time.perf_counter() - started
    shares = []
    for name in NAMES:
        inside = f"{truth[name]} between {name}_low and {name}_high"
        (share,) = con.execute(f"select 100 * avg(({inside})::integer) from found").fetchall()[0]
        shares.append(f"{share:.1f}")
    return shares, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few repetitions")
    repetitions = 20 if parser.parse_args().small else 200
    print(
        "| domains | clusters | intervals | Cov | FFR | AS, mean | AS of means | seconds |\n|"
        + "---:|" * 8
    )
    for domains, size in CASES:
        random = np.random.default_rng([domains, size])
        table, truth = counts(random, domains, size, repetitions)
        con = duckdb.connect(config={"threads": 2})
        con.register("given", table)
        con.execute("create table counts as from given")
        con.execute("create table int_verdicts__domain_counts as from given")
        con.execute(
            "create table dim_models as select distinct model, '' as category, true as is_demo from counts"
        )
        build(con, "int_verdicts__domain_means", **VARS)
        ours = f"select * from ({model('mart_macro_alignment')}) where dimension = 'safety'"
        for name, sql in (("linearised", ours), ("bootstrap", BOOTSTRAP)):
            shares, seconds = held(con, sql, truth)
            print(
                f"| {domains} | {size} | {name} | {' | '.join(shares)} | {seconds:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
