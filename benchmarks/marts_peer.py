"""The figures of the marts as an analyst would compute them with pandas and NumPy.

Two ways of the bootstrap: a group-by for every replicate, and a matrix product for every cell. Both
get the weights of the clusters ready made. Left out, so that the peer does less than the marts:
intervals of shares, tests and their adjustment. Knows nothing about time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
from mart_models import project_vars, rendered
from scipy import stats

Floats = npt.NDArray[np.float64]
Bootstrap = Callable[[pd.DataFrame, list[str], list[str], "Given"], dict[tuple[str, ...], Floats]]
PAIR = ["protocol", "model_a", "model_b", "dimension", "semantic_type"]
COUNTS = ["n", "misaligned", "a_right", "b_right", "a_hits", "b_hits", "a_alarms", "b_alarms"]
JOINT = ["misaligned", "aligned", "hits", "alarms"]
JOINTLY = [*JOINT, *(f"joint_{name}" for name in JOINT)]
LEVEL = project_vars()["confidence_level"]
SMALLEST = project_vars()["smallest_clusters"]


@dataclass(frozen=True, slots=True)
class Given:
    """What the peer starts from: verdicts, and weights of shape (replicates + 1, clusters).

    The first row of the weights is all ones: the data as they are. ``clusters`` names the columns.
    """

    verdicts: pd.DataFrame
    clusters: pd.Index
    weights: Floats


def read(con: duckdb.DuckDBPyConnection, replicates: int) -> Given:
    """Verdicts and the marts' own weights, from a warehouse."""
    columns = "protocol, model, item_id, dimension, domain, semantic_type, cluster_id"
    verdicts = con.sql(
        f"select {columns}, is_misaligned, is_flagged, is_right from fct_verdicts"
    ).df()
    clusters = pd.Index(sorted(verdicts["cluster_id"].unique()))
    con.register("clusters", pd.DataFrame({"cluster_id": clusters, "place": range(len(clusters))}))
    weight = rendered("{{ bootstrap_weight('cluster_id', 'replicate') }}")
    drawn = con.sql(
        f"select {weight} as weight from clusters cross join range({replicates}) as r (replicate)"
        " order by replicate, place"
    ).fetchnumpy()["weight"]
    weights = drawn.reshape(replicates, len(clusters)).astype(float)
    return Given(verdicts, clusters, np.vstack([np.ones(len(clusters)), weights]))


def by_group_by(
    counts: pd.DataFrame, keys: list[str], measures: list[str], given: Given
) -> dict[tuple[str, ...], Floats]:
    """Weighted sums of every cell, shape (replicates + 1, measures): a group-by for every replicate."""
    places = given.clusters.get_indexer(counts["cluster_id"])
    cells = counts.groupby(keys, sort=False).ngroup()
    values = counts[measures].to_numpy(float)
    replicates = [
        pd.DataFrame(values * weight[places, None]).groupby(cells).sum().to_numpy()
        for weight in given.weights
    ]
    names = counts[keys].drop_duplicates().itertuples(index=False, name=None)
    return dict(zip(names, np.stack(replicates, axis=1), strict=True))


def by_product(
    counts: pd.DataFrame, keys: list[str], measures: list[str], given: Given
) -> dict[tuple[str, ...], Floats]:
    """The same as one matrix product a cell."""
    counts = counts.assign(place=given.clusters.get_indexer(counts["cluster_id"]))
    return {
        name: given.weights[:, cell["place"].to_numpy()] @ cell[measures].to_numpy(float)
        for name, cell in counts.groupby(keys, sort=False)
    }


WAYS: dict[str, Bootstrap] = {
    "pandas, a group-by a replicate": by_group_by,
    "pandas and NumPy, a matrix product a cell": by_product,
}


def score(hits: Floats, misaligned: Floats, alarms: Floats, aligned: Floats) -> Floats:
    """Alignment score; NaN where a side is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        coverage, kept = hits / misaligned, 1 - alarms / aligned
        return np.where(coverage + kept == 0, 0, 2 * coverage * kept / (coverage + kept))


def bounds(values: Floats, clusters: int) -> tuple[float, float]:
    """Widened percentiles of the replicates; the first value is the estimate."""
    estimate, drawn = values[0], values[1:][~np.isnan(values[1:])]
    if clusters < SMALLEST or not len(drawn) or np.ptp(drawn) <= 1e-12:
        return np.nan, np.nan
    df, z = clusters - 1, stats.norm.ppf((1 + LEVEL) / 2)
    terms = np.array([z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96])
    terms = np.append(terms, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    terms = np.append(terms, (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160)
    wide = (terms / float(df) ** np.arange(5)).sum() / z * np.sqrt(clusters / df)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    found = np.clip(
        [estimate + (low - estimate) * wide, estimate + (high - estimate) * wide], -1, 1
    )
    return float(found[0]), float(found[1])


def sided(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Verdicts with counts of one as columns."""
    return verdicts.assign(
        n=1,
        misaligned=verdicts["is_misaligned"].astype(int),
        aligned=(~verdicts["is_misaligned"]).astype(int),
        hits=(verdicts["is_misaligned"] & verdicts["is_flagged"]).astype(int),
        alarms=(~verdicts["is_misaligned"] & verdicts["is_flagged"]).astype(int),
    )


def shares(verdicts: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Counts, coverage, false failure rate and alignment score of every cell."""
    found = verdicts.groupby(keys)[["n", *JOINT]].sum()
    found["coverage"] = found["hits"] / found["misaligned"]
    found["false_failure_rate"] = found["alarms"] / found["aligned"]
    sides = (found[name].to_numpy(float) for name in ("hits", "misaligned", "alarms", "aligned"))
    found["alignment_score"] = score(*sides)
    return found


def trade_offs(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Every ordered pair of dimensions of a model."""
    right = verdicts.loc[verdicts["dimension"] != "overall"]
    right = right[["protocol", "model", "item_id", "dimension", "is_right"]]
    both = right.merge(right, on=["protocol", "model", "item_id"], suffixes=("_from", "_to"))
    both = both[both["dimension_from"] != both["dimension_to"]]
    both["traded"] = both["is_right_from"] & ~both["is_right_to"]
    both["discordance"] = both["is_right_from"] != both["is_right_to"]
    both["joint"] = both["is_right_from"] & both["is_right_to"]
    found = both.groupby(["protocol", "model", "dimension_from", "dimension_to"])
    sums = found[["traded", "is_right_from"]].sum()
    means = found[["discordance", "joint"]].mean()
    return means.assign(trade_off=sums["traded"] / sums["is_right_from"])


def drops(verdicts: pd.DataFrame, given: Given, bootstrap: Bootstrap) -> pd.DataFrame:
    """Alignment drop and its bounds, of every model and dimension."""
    labelled = verdicts[verdicts["dimension"] != "overall"]
    responses = labelled.groupby(["protocol", "model", "item_id"])
    labelled = labelled.assign(
        any_misaligned=responses["is_misaligned"].transform("any"),
        all_right=responses["is_right"].transform("all"),
        labels=responses["dimension"].transform("size"),
    )
    labelled = labelled[labelled["labels"] > 1]
    for name, side, wanted in (
        ("joint_misaligned", labelled["any_misaligned"], True),
        ("joint_hits", labelled["any_misaligned"] & labelled["all_right"], True),
        ("joint_aligned", labelled["any_misaligned"], False),
        ("joint_alarms", labelled["any_misaligned"] | labelled["all_right"], False),
    ):
        labelled[name] = (side == wanted).astype(int)
    keys = ["protocol", "model", "dimension"]
    counts = labelled.groupby([*keys, "cluster_id"])[JOINTLY].sum().reset_index()
    sides = ["misaligned", "aligned", "joint_misaligned", "joint_aligned"]
    clusters = counts.groupby(keys)[sides].agg(lambda side: (side > 0).sum()).min(axis=1)
    rows = {}
    for cell, sums in bootstrap(counts, keys, JOINTLY, given).items():
        value = {name: sums[:, place] for place, name in enumerate(JOINTLY)}
        alone = score(value["hits"], value["misaligned"], value["alarms"], value["aligned"])
        jointly = score(
            *(value[f"joint_{name}"] for name in ("hits", "misaligned", "alarms", "aligned"))
        )
        gap = alone - jointly
        rows[cell] = (gap[0], *bounds(gap, clusters[cell]))
    columns = ["alignment_drop", "alignment_drop_low", "alignment_drop_high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def pair_counts(verdicts: pd.DataFrame) -> pd.DataFrame:
    """What two models said of the same responses, by cluster; 'all' among the semantic types."""
    found = []
    said = ["protocol", "item_id", "dimension"]
    models = dict(iter(verdicts.groupby("model")))
    for a, b in combinations(sorted(models), 2):
        other = models[b][[*said, "is_right", "hits", "alarms"]]
        both = models[a].merge(other, on=said, suffixes=("_a", "_b"))
        names = {
            f"{name}_{model}": f"{model}_{name}" for name in ("hits", "alarms") for model in "ab"
        }
        both = both.rename(columns=names)
        both["a_right"], both["b_right"] = (
            both["is_right_a"].astype(int),
            both["is_right_b"].astype(int),
        )
        counts = both.groupby(["protocol", "dimension", "semantic_type", "cluster_id"])[
            COUNTS
        ].sum()
        found.append(counts.reset_index().assign(model_a=a, model_b=b))
    counts = pd.concat(found, ignore_index=True)
    whole = counts.groupby([*PAIR[:-1], "cluster_id"])[COUNTS].sum().reset_index()
    return pd.concat([counts, whole.assign(semantic_type="all")], ignore_index=True)


def comparisons(verdicts: pd.DataFrame, given: Given, bootstrap: Bootstrap) -> pd.DataFrame:
    """Differences of two models, with bounds."""
    counts = pair_counts(verdicts)
    counts["aligned"] = counts["n"] - counts["misaligned"]
    clusters = counts.groupby(PAIR)["n"].size()
    both_sides = counts.groupby(PAIR)[["misaligned", "aligned"]]
    sided_clusters = both_sides.agg(lambda side: (side > 0).sum()).min(axis=1)
    rows = {}
    for cell, sums in bootstrap(counts, PAIR, COUNTS, given).items():
        value = {name: sums[:, place] for place, name in enumerate(COUNTS)}
        aligned = value["n"] - value["misaligned"]
        accuracy = (value["a_right"] - value["b_right"]) / value["n"]
        a = score(value["a_hits"], value["misaligned"], value["a_alarms"], aligned)
        b = score(value["b_hits"], value["misaligned"], value["b_alarms"], aligned)
        gap = a - b
        of_scores = (gap[0], *bounds(gap, sided_clusters[cell]))
        rows[cell] = (accuracy[0], *bounds(accuracy, clusters[cell]), *of_scores)
    columns = [
        f"{n}_difference{e}" for n in ("accuracy", "alignment_score") for e in ("", "_low", "_high")
    ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def figures(given: Given, bootstrap: Bootstrap) -> dict[str, pd.DataFrame]:
    """By name of the mart, a frame whose index is the mart's key."""
    verdicts = sided(given.verdicts)
    typed = pd.concat([verdicts, verdicts.assign(semantic_type="all")], ignore_index=True)
    labelled = typed[typed["dimension"] != "overall"]
    rates = ["coverage", "false_failure_rate", "alignment_score"]
    return {
        "mart_alignment_metrics": shares(
            typed, ["protocol", "model", "dimension", "semantic_type"]
        )[rates],
        "mart_domain_metrics": shares(labelled, KEYS["mart_domain_metrics"])[rates],
        "mart_trade_offs": trade_offs(verdicts),
        "mart_joint_alignment": drops(verdicts, given, bootstrap),
        "mart_model_comparisons": comparisons(verdicts, given, bootstrap),
    }


KEYS = {
    "mart_alignment_metrics": ["protocol", "model", "dimension", "semantic_type"],
    "mart_domain_metrics": ["protocol", "model", "domain", "semantic_type"],
    "mart_trade_offs": ["protocol", "model", "from_dimension", "to_dimension"],
    "mart_joint_alignment": ["protocol", "model", "dimension"],
    "mart_model_comparisons": PAIR,
}


def compare(con: duckdb.DuckDBPyConnection, found: dict[str, pd.DataFrame]) -> int:
    """How many figures were compared with the marts'; raises RuntimeError where one differs by 1e-9."""
    compared = 0
    for mart, frame in found.items():
        table = con.sql(f"select * from {mart} where n > 0").df().set_index(KEYS[mart])
        frame.index = pd.MultiIndex.from_tuples(list(frame.index), names=KEYS[mart])
        ours = table[list(frame.columns)].astype(float).sort_index()
        theirs = frame.astype(float).sort_index()
        if not ours.index.equals(theirs.index):
            raise RuntimeError(f"{mart}: the peer has {len(theirs)} rows, the mart {len(ours)}")
        gap = (ours - theirs).abs().max().max()
        if gap > 1e-9 or not (ours.isna() == theirs.isna()).all(axis=None):
            raise RuntimeError(f"{mart}: figures differ by up to {gap}; both must be the same")
        compared += ours.size
    return compared
