"""Tables of verdicts that tests make up, and the marts over them. Knows no dbt, no model and no test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from mart_sql import build, rows

DIMENSIONS = ("safety", "value", "cultural")
TYPES = ("object", "attribute", "relation")
MARTS = (
    "int_verdicts__dimension_pairs",
    "int_verdicts__joint",
    "int_verdicts__model_pairs",
    "int_verdicts__domain_counts",
    "mart_alignment_intervals",
    "mart_alignment_metrics",
    "mart_domain_metrics",
    "int_verdicts__domain_means",
    "mart_macro_alignment",
    "mart_trade_off_intervals",
    "mart_trade_offs",
    "mart_joint_alignment_intervals",
    "mart_joint_alignment",
    "int_verdicts__counts_to_compare",
    "mart_comparison_intervals",
    "mart_model_comparisons",
    "mart_pareto_shares",
    "mart_pareto_front",
    "mart_calibration_bins",
    "int_verdicts__areas",
    "mart_calibration",
    "mart_threshold_curve",
)
TYPED = {
    "protocol": "varchar",
    "model": "varchar",
    "item_id": "varchar",
    "dimension": "varchar",
    "domain": "varchar",
    "cluster_id": "varchar",
    "semantic_type": "varchar",
    "is_misaligned": "boolean",
    "is_flagged": "boolean",
    "is_right": "boolean",
    "p_misaligned": "double",
}


def warehouse(verdicts: pd.DataFrame, *marts: str, **changes: Any) -> duckdb.DuckDBPyConnection:
    """``fct_verdicts``, ``dim_models`` and these marts, all of them where none is named.

    ``verdicts`` needs model, item_id, dimension, is_misaligned and p_misaligned; what else it lacks is a
    protocol 'verdict', a domain and a cluster of its own, type 'object', and flags cut at 0.5.
    """
    filled = verdicts.assign(**{c: d for c, d in _defaults(verdicts).items() if c not in verdicts})
    con = duckdb.connect()
    columns = ", ".join(f"{name} {kind}" for name, kind in TYPED.items())
    con.execute(f"create table fct_verdicts ({columns})")
    con.register("frame", filled)
    picked = ", ".join(f"{name}::{kind}" for name, kind in TYPED.items())
    con.execute(f"insert into fct_verdicts select {picked} from frame")
    con.execute(
        "create table dim_models as select distinct model, 'open-weight' as category,"
        " ['model_under_test'] as roles, false as is_judge, false as is_demo from fct_verdicts"
    )
    build(con, *(marts or MARTS), **changes)
    return con


def _defaults(verdicts: pd.DataFrame) -> dict[str, Any]:
    flags = pd.Series(
        np.where(verdicts["p_misaligned"].isna(), None, verdicts["p_misaligned"] >= 0.5),
        index=verdicts.index,
    )
    right = flags.where(flags.isna(), flags == verdicts["is_misaligned"])
    return {
        "protocol": "verdict",
        "domain": verdicts["dimension"].where(verdicts["dimension"] != "overall"),
        "cluster_id": verdicts["item_id"],
        "semantic_type": "object",
        "is_flagged": flags,
        "is_right": right,
    }


def mart(con: duckdb.DuckDBPyConnection, name: str, where: str = "true") -> list[dict[str, Any]]:
    """The rows of a mart."""
    return rows(con, f"select * from {name} where {where}")


def cells(
    verdicts: pd.DataFrame, keys: Sequence[str], *, overall: bool = True
) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The verdicts of every cell of a mart, all types together and each; made without SQL."""
    kept = verdicts if overall else verdicts[verdicts["dimension"] != "overall"]
    both = pd.concat([kept, kept.assign(semantic_type="all")])
    return dict(iter(both.groupby(list(keys), dropna=False)))


def random_verdicts(seed: int, prompts: int = 90) -> pd.DataFrame:
    """Five models on two responses a prompt: unequal cells, one-sided domains, shared clusters, ties.

    ``always`` and ``never`` flag everything and nothing, ``level`` says 0.5 of all, and ``sparse`` has no
    verdict on most of the responses.
    """
    random = np.random.default_rng(seed)
    lines = []
    for prompt in range(prompts):
        labelled = random.permutation(DIMENSIONS)[: random.choice([1, 2, 2, 3])]
        kind = random.choice(TYPES, p=[0.6, 0.3, 0.1])
        cluster = f"c{random.integers(0, int(prompts * 0.7))}"
        domains = {
            d: f"{d} {random.choice(6, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05])}" for d in labelled
        }
        for side in (True, False):
            truths = {d: bool(side and random.random() < 0.8) for d in labelled}
            for d in labelled:
                if domains[d].endswith("4"):
                    truths[d] = False  # a domain without misaligned responses
            for model in ("keen", "wary", "always", "never", "level", "sparse"):
                if model == "sparse" and random.random() < 0.8:
                    continue
                for d, truth in [*truths.items(), ("overall", any(truths.values()))]:
                    drawn = (
                        random.beta(2 + 2 * truth, 3 - truth)
                        if model == "keen"
                        else random.random()
                    )
                    said = {"always": 1.0, "never": 0.0, "level": 0.5}.get(model, round(drawn, 2))
                    lines.append(
                        (model, f"r{prompt}{side}", d, domains.get(d), cluster, kind, truth, said)
                    )
    names = ["model", "item_id", "dimension", "domain", "cluster_id", "semantic_type"]
    frame = pd.DataFrame(lines, columns=[*names, "is_misaligned", "p_misaligned"])
    return frame.assign(
        protocol="verdict",
        is_flagged=frame["p_misaligned"] >= 0.5,
        is_right=(frame["p_misaligned"] >= 0.5) == frame["is_misaligned"],
    )


def agree(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal to 1e-9, column by column; NULL only where nothing is expected."""
    for name, value in expected.items():
        told = found[name]
        if isinstance(value, (float, np.floating)) and not math.isnan(value):
            assert told == pytest.approx(value, abs=1e-9), (name, found)
        else:
            assert told == value, (name, found)


def by_key(found: Iterable[dict[str, Any]], *keys: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[k] for k in keys): row for row in found}


@dataclass(frozen=True, slots=True)
class Scripted:
    """A model with known rates: (coverage, false failure rate) by dimension and semantic type.

    ``together`` is the correlation of the normal variables that are cut to being right or wrong in two
    dimensions of one response (Gaussian copula): 0 independent, near 1 wrong in both or in none,
    below 0 (at least -1/2) wrong in one at a time.
    """

    name: str
    rates: dict[tuple[str, str], tuple[float, float]]
    together: float = 0.0

    def right(self, dimension: str, kind: str, truth: bool) -> float:
        """P(right) of one verdict."""
        coverage, rate = self.rates[dimension, kind]
        return coverage if truth else 1 - rate

    def both_right(self, a: str, b: str, kind: str, truth: bool) -> float:
        """P(right in a and in b) of one response, by the bivariate normal distribution."""
        cuts = stats.norm.ppf([self.right(d, kind, truth) for d in (a, b)])
        shape = [[1, self.together], [self.together, 1]]
        return float(stats.multivariate_normal([0, 0], shape).cdf(cuts))

    def trade_off(self, a: str, b: str, kinds: Sequence[str] = TYPES) -> float:
        """P(wrong in b | right in a) over responses of both sides and all ``kinds``, as many of each."""
        cases = [(kind, truth) for kind in kinds for truth in (True, False)]
        right = np.mean([self.right(a, *case) for case in cases])
        return float(1 - np.mean([self.both_right(a, b, *case) for case in cases]) / right)

    def all_right(self) -> float:
        """P(right in all three dimensions) over responses of both sides and all types, as many of each."""
        shape = np.full((3, 3), self.together) + (1 - self.together) * np.eye(3)
        normal = stats.multivariate_normal(np.zeros(3), shape)
        cuts = [
            stats.norm.ppf([self.right(d, kind, truth) for d in DIMENSIONS])
            for kind in TYPES
            for truth in (True, False)
        ]
        return float(np.mean([normal.cdf(cut) for cut in cuts]))

    def verdicts(self, seed: int, prompts: int) -> pd.DataFrame:
        """Its verdicts on ``prompts`` prompts a type, labelled in all dimensions, two responses each.

        Every prompt is a cluster; the domains of a dimension take turns.
        """
        random = np.random.default_rng(seed)
        shape = np.full((3, 3), self.together) + (1 - self.together) * np.eye(3)
        parts = []
        for kind in TYPES:
            for truth in (True, False):
                drawn = stats.norm.cdf(random.multivariate_normal(np.zeros(3), shape, prompts))
                for i, dimension in enumerate(DIMENSIONS):
                    right = drawn[:, i] < self.right(dimension, kind, truth)
                    parts.append(_part(self.name, dimension, kind, truth, right))
        return pd.concat(parts, ignore_index=True)


def _part(
    model: str, dimension: str, kind: str, truth: bool, right: npt.NDArray[np.bool_]
) -> pd.DataFrame:
    number = np.arange(len(right)).astype(str)
    flags = right == truth
    return pd.DataFrame(
        {
            "model": model,
            "item_id": np.char.add(f"{kind}{truth}", number),
            "dimension": dimension,
            "domain": np.char.add(f"{dimension} ", (np.arange(len(right)) % 4).astype(str)),
            "cluster_id": np.char.add(kind, number),
            "semantic_type": kind,
            "is_misaligned": truth,
            "is_flagged": flags,
            "is_right": right,
            "p_misaligned": np.where(flags, 0.9, 0.1),
        }
    )


def ordered_pairs() -> list[tuple[str, str]]:
    """(a, b) and (b, a) of any two dimensions."""
    return [pair for a, b in combinations(DIMENSIONS, 2) for pair in ((a, b), (b, a))]
