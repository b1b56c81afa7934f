"""How often the interval of a trade-off's excess holds the truth, by simulation: the mart's SQL.

``python benchmarks/excess_intervals.py`` takes less than a minute; ``--small`` seconds. It prints a table and
writes nothing. Every repetition is a model of its own, so that one query gives all intervals. Knows nothing
about dbt.
"""

from __future__ import annotations

import argparse

import duckdb
import numpy as np
import pandas as pd
from mart_models import build

SHARED = 0.3  # share of the responses of a cluster that turn out as its common draw
# Share right in a, share wrong in b, and what being right in a adds to both at once: 0 is independence.
TRUTHS = (
    (0.8, 0.2, 0.0),
    (0.8, 0.2, -0.05),
    (0.8, 0.2, 0.03),
    (0.95, 0.05, 0.0),
    (0.95, 0.05, -0.02),
)
CASES = ((20, 2), (50, 2), (200, 2), (30, 6), (1000, 2))  # clusters, responses of one


def verdicts(
    random: np.random.Generator, clusters: int, size: int, shares: list[float], repetitions: int
) -> pd.DataFrame:
    """Rows of int_verdicts__dimension_pairs: repetitions x clusters x size of them.

    ``shares``: of right in a and wrong in b, of right in both, of wrong in both, of wrong in a alone.
    """
    shape = (repetitions, clusters, size)
    own = random.choice(4, size=shape, p=shares)
    common = random.choice(4, size=(repetitions, clusters, 1), p=shares)
    kinds = np.where(random.random(shape) < SHARED, common, own)
    model, cluster, _ = np.indices(shape)
    return pd.DataFrame(
        {
            "protocol": "verdict",
            "model": model.ravel(),
            "from_dimension": "a",
            "to_dimension": "b",
            "cluster_id": cluster.ravel(),
            "right_in_from": (kinds < 2).ravel(),
            "right_in_to": np.isin(kinds, (1, 3)).ravel(),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few repetitions")
    repetitions = 30 if parser.parse_args().small else 1000
    print(
        "| clusters | responses of one | right in a | wrong in b | excess | with an interval | held |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|")
    random = np.random.default_rng(1)
    for clusters, size in CASES:
        for right, wrong, more in TRUTHS:
            traded = right * wrong + more
            shares = [traded, right - traded, wrong - traded, 1 - right - wrong + traded]
            con = duckdb.connect(config={"threads": 2})
            con.register("made", verdicts(random, clusters, size, shares, repetitions))
            con.execute("create table int_verdicts__dimension_pairs as from made")
            build(con, "mart_trade_off_intervals", smallest_clusters=2)
            excess = traded / right - (wrong - traded) / (1 - right)
            there, held = con.execute(
                "select avg((excess_low is not null)::integer),"
                " avg((? between excess_low and excess_high)::integer) from mart_trade_off_intervals",
                [excess],
            ).fetchall()[0]
            cells = [f"{clusters:,}", size, f"{right:.0%}", f"{wrong:.0%}", f"{100 * excess:.1f}"]
            print(
                "|", " | ".join(map(str, [*cells, f"{there:.1%}", f"{held:.1%}"])), "|", flush=True
            )


if __name__ == "__main__":
    main()
