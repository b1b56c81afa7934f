"""Marts about the data and the way it was made, against pandas, SciPy and scikit-learn."""

from __future__ import annotations

import math
from itertools import combinations

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import precision_score, recall_score

from mart_sql import build, rows
from verdict_tables import agree, by_key

FEW = 20  # smallest_n


def test_option_order() -> None:
    """Shifts and flips by pandas, Wilson's interval by SciPy."""
    random = np.random.default_rng(4)
    orders = {"a": 3, "b": 2, "once": 1}
    lines = [
        ("verdict", m, d, f"i{i}", o, n, round(random.random(), 3))
        for m, n in orders.items()
        for d in ("safety", "value")
        for i in range(int(random.integers(5, 60)))
        for o in range(n)
    ]
    names = ["stage", "model", "dimension", "item", "option_order", "option_orders", "probability"]
    frame = pd.DataFrame(lines, columns=names)
    keys = ["model", "dimension", "item"]
    frame["mean_probability"] = frame.groupby(keys)["probability"].transform("mean")
    frame["answer"] = np.where(frame["probability"] >= 0.5, "yes", "no")
    frame["first_answer"] = frame.groupby(keys)["answer"].transform("first")
    con = duckdb.connect()
    con.register("frame", frame)
    con.execute("create table fct_ordered_answers as from frame")
    con.execute(
        "create table dim_models as select unnest(['a', 'b', 'once']) as model,"
        " 'open-weight' as category, false as is_demo"
    )
    build(con, "mart_option_order")
    found = by_key(rows(con, "from mart_option_order"), "model", "dimension", "option_order")
    expected = frame.groupby(["model", "dimension", "option_order"])
    assert found.keys() == {*expected.groups}
    for key, group in expected:
        row, several, later = found[key], orders[key[0]] > 1, key[2] > 0
        flipped = int((group["answer"] != group["first_answer"]).sum())
        interval = stats.binomtest(flipped, len(group)).proportion_ci(method="wilson")
        shift = float((group["probability"] - group["mean_probability"]).mean())
        agree(
            row,
            {
                "n": len(group),
                "mean_probability": float(group["probability"].mean()),
                "mean_shift": shift if several else None,
                "n_flipped": flipped if later else None,
                "flipped_share": flipped / len(group) if later else None,
                "flipped_share_low": float(interval.low) if later else None,
                "flipped_share_high": float(interval.high) if later else None,
                "is_too_small": len(group) < FEW,
            },
        )
        assert (row["missing_reason"] is None) == later


def poisson_binomial(chances: np.ndarray) -> np.ndarray:
    """Distribution of the number of successes, by multiplying out the generating function."""
    shares = np.array([1.0])
    for chance in chances:
        shares = np.convolve(shares, [1 - chance, chance])
    return shares


def test_dedup_thresholds() -> None:
    """Pairs by pandas, chance by SciPy's binomial and a convolution, removals by the rule itself."""
    random = np.random.default_rng(6)
    n, furthest = 60, 12
    set_bits = random.random((n, 64)) < random.uniform(0.2, 0.8, 64)
    words = [int("".join("1" if b else "0" for b in bits), 2) for bits in set_bits]
    order = [f"p{i:03}" for i in range(n)]
    pairs = [
        (order[i], order[j], int(random.integers(0, furthest + 1)), float(random.random()))
        for i, j in combinations(range(n), 2)
        if random.random() < 0.04
    ]
    con = duckdb.connect()
    con.execute(
        "create table dim_prompts (prompt_id varchar, fingerprint ubigint, removal_reason varchar)"
    )
    con.executemany(
        "insert into dim_prompts values (?, ?, null)", list(zip(order, words, strict=True))
    )
    con.execute("insert into dim_prompts values ('copy', 0, 'exact_duplicate')")
    con.execute(
        "create table fct_near_duplicates"
        " (earlier_id varchar, later_id varchar, distance integer, jaccard double)"
    )
    con.executemany("insert into fct_near_duplicates values (?, ?, ?, ?)", pairs)
    build(
        con, "mart_dedup_thresholds",
        near_duplicate_audit_distance=furthest, near_duplicate_max_distance=10,
    )  # fmt: skip
    found = by_key(rows(con, "from mart_dedup_thresholds"), "distance")
    frame = pd.DataFrame(pairs, columns=["earlier", "later", "distance", "jaccard"])
    share = set_bits.mean(axis=0)
    chance = poisson_binomial(2 * share * (1 - share)) * math.comb(n, 2)
    uniform = stats.binom(64, 0.5).pmf(range(65)) * math.comb(n, 2)
    for distance in range(furthest + 1):
        within = frame[frame["distance"] <= distance]
        kept: set[str] = set()
        near = within.groupby("later")["earlier"].agg(set).to_dict()
        for prompt in order:
            if not near.get(prompt, set()) & kept:
                kept.add(prompt)
        here = frame[frame["distance"] == distance]
        agree(
            found[(distance,)],
            {
                "pairs": len(here),
                "pairs_within": len(within),
                "chance_pairs": float(chance[distance]),
                "chance_pairs_within": float(chance[: distance + 1].sum()),
                "uniform_chance_pairs_within": float(uniform[: distance + 1].sum()),
                "removed": n - len(kept),
                "median_jaccard": float(here["jaccard"].median()) if len(here) else None,
                "is_threshold": distance == 10,
            },
        )
    assert found[(furthest,)]["removed"] > 10


def test_classification_quality() -> None:
    """Over prompts with reference labels alone; a prompt without is no evidence."""
    random = np.random.default_rng(8)
    lines = [
        (f"p{i}", f"{d} {j}", d, bool(random.random() < 0.6), bool(random.random() < 0.5))
        for i in range(80)
        for d in ("safety", "value")
        for j in range(2)
    ]
    lines += [("bare", "safety 0", "safety", True, False)]
    names = ["prompt_id", "domain", "dimension", "is_assigned", "is_reference"]
    labels = pd.DataFrame(lines, columns=names)
    con = duckdb.connect()
    con.register("labels", labels)
    con.execute("create table fct_prompt_labels as from labels")
    con.execute(
        "create table dim_prompts as select distinct prompt_id,"
        " if(prompt_id < 'p3', 'seed', 'source') as origin from labels"
    )
    build(con, "mart_classification_quality")
    found = by_key(rows(con, "from mart_classification_quality"), "origin", "dimension")
    told = labels[labels.groupby("prompt_id")["is_reference"].transform("any")]
    origin = pd.Series(np.where(told["prompt_id"] < "p3", "seed", "source"), index=told.index)
    for (source, dimension), g in told.groupby([origin, "dimension"]):
        agree(
            found.pop((source, dimension)),
            {
                "precision": float(precision_score(g["is_reference"], g["is_assigned"])),
                "recall": float(recall_score(g["is_reference"], g["is_assigned"])),
                "reference_labels": int(g["is_reference"].sum()),
                "assigned_labels": int(g["is_assigned"].sum()),
                "agreeing_labels": int((g["is_reference"] & g["is_assigned"]).sum()),
                "missing_reason": None,
            },
        )
    assert not found


def test_shares_of_draws_slots_and_removed_prompts() -> None:
    random = np.random.default_rng(9)
    reasons = np.array([None, "empty", "too_short", "aligned_violates"], object)
    draws = pd.DataFrame(
        {
            "prompt_id": [f"p{i}" for i in random.integers(0, 40, 600)],
            "responder": random.choice(["a", "b"], 600),
            "side": random.choice(["aligned", "misaligned"], 600),
            "round": random.integers(0, 3, 600),
            "candidate": random.integers(0, 3, 600),
            "rejection_reason": reasons[random.integers(0, 4, 600)],
        }
    )
    draws["rejected_by"] = draws["rejection_reason"].where(
        draws["rejection_reason"].isna(), "rules"
    )
    con = duckdb.connect()
    con.register("draws", draws)
    con.execute("create table fct_draws as select * replace (round::integer as round) from draws")
    con.execute(
        "create table fct_prompt_labels as select distinct prompt_id, 'd' || right(prompt_id, 1) as domain,"
        " 'safety' as dimension, true as is_assigned from draws"
    )
    con.execute(  # has an oracle of its own
        "create table mart_acceptance_bias (domain varchar, responder varchar, side varchar, rate double,"
        " rate_low double, rate_high double, overall_rate double, difference double, holm_p double,"
        " is_accepted_less_often boolean, missing_reason varchar)"
    )
    build(con, "mart_rejection_funnel", "mart_sampling_outcomes")
    shown = draws.fillna({"rejection_reason": "accepted"})
    keys = ["responder", "side", "round"]
    shares = shown.groupby(keys)["rejection_reason"].value_counts(normalize=True)
    funnel = (
        "select responder, side, round, outcome, sum(share_of_round) as share_of_round"
        " from mart_rejection_funnel where domain = 'all' group by all"
    )
    found = by_key(rows(con, funnel), *keys, "outcome")
    assert {k: r["share_of_round"] for k, r in found.items()} == {
        k: pytest.approx(v, abs=1e-9) for k, v in shares.items()
    }
    slots = shown.assign(domain="d" + shown["prompt_id"].str[-1])
    accepted = slots["rejection_reason"] == "accepted"
    rates = accepted.groupby([slots["domain"], slots["responder"], slots["side"]]).mean()
    outcomes = by_key(
        rows(con, "from mart_sampling_outcomes where domain != 'all'"),
        "domain",
        "responder",
        "side",
    )
    assert {k: r["acceptance_rate"] for k, r in outcomes.items()} == {
        k: pytest.approx(v, abs=1e-9) for k, v in rates.items()
    }
