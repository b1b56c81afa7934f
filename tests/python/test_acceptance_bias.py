"""The test of a domain against the rest, beside a plain count over clusters."""

from __future__ import annotations

import math
import random
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from scipy import stats

from mart_sql import build, rows


def made(seed: int, hard: float, clusters: int = 40) -> list[dict[str, Any]]:
    """Prompts in clusters of 1 to 4, each with three draws; ``hard`` is the rate of domain 'hard'."""
    rng = random.Random(seed)
    prompts = []
    for c in range(clusters):
        shift = rng.gauss(0, 0.1)
        for n in range(rng.randint(1, 4)):
            domains = [d for d in ("hard", "easy") if rng.random() < 0.6] or ["other"]
            rate = (hard if "hard" in domains else 0.8) + shift
            accepted = [rng.random() < rate for _ in range(3)]
            prompts.append(
                {"id": f"{c}-{n}", "cluster": f"c{c}", "domains": domains, "ok": accepted}
            )
    return prompts


def bias(prompts: list[dict[str, Any]], **changes: Any) -> dict[str, dict[str, Any]]:
    """The mart's rows by domain."""
    (found,) = biases([prompts], **changes)
    return found


def biases(sets: list[list[dict[str, Any]]], **changes: Any) -> list[dict[str, dict[str, Any]]]:
    """The mart's rows by domain, of each set: it has prompts, clusters and a responder of its own."""
    prompts = [(str(n), p) for n, given in enumerate(sets) for p in given]
    tables = {
        "dim_prompts": [
            {"prompt_id": f"{n} {p['id']}", "cluster_id": f"{n} {p['cluster']}"} for n, p in prompts
        ],
        "fct_prompt_labels": [
            {"prompt_id": f"{n} {p['id']}", "domain": d, "is_assigned": True}
            for n, p in prompts for d in p["domains"]
        ],
        "fct_draws": [
            {
                "prompt_id": f"{n} {p['id']}", "responder": n, "side": "aligned", "round": round_,
                "rejection_reason": None if ok else "empty",
            }
            for n, p in prompts
            for round_, ok in [*((0, ok) for ok in p["ok"]), (1, False)]  # round 1 must not count
        ],
    }  # fmt: skip
    with duckdb.connect() as con:
        for name, given in tables.items():
            con.register(name, pa.Table.from_pylist(given))
        build(
            con,
            "int_draws__by_cluster",
            "int_draws__domain_rates",
            "mart_acceptance_bias",
            **changes,
        )
        found: list[dict[str, dict[str, Any]]] = [{} for _ in sets]
        for row in rows(con, "from mart_acceptance_bias"):
            found[int(row["responder"])][row["domain"]] = row
        return found


def expected(prompts: list[dict[str, Any]], domain: str) -> tuple[float, float, float]:
    """(rate, rate of the rest, one-sided p) by the definition, a loop over clusters."""
    of: dict[str, list[float]] = {}
    for p in prompts:
        sums = of.setdefault(p["cluster"], [0, 0, 0, 0])
        at = 0 if domain in p["domains"] else 2
        sums[at] += sum(p["ok"])
        sums[at + 1] += 3
    a, n, b, m = (sum(s[i] for s in of.values()) for i in range(4))
    rate, rest = a / n, b / m
    influence = [(s[0] - rate * s[1]) / n - (s[2] - rest * s[3]) / m for s in of.values()]
    variance = sum(z * z for z in influence) * len(of) / (len(of) - 1)
    inside = sum(1 for s in of.values() if s[1])
    p_value = float(stats.t.cdf((rate - rest) / math.sqrt(variance), inside - 1))
    return rate, rest, p_value


@pytest.mark.parametrize("seed", range(4))
def test_a_domain_is_compared_with_all_prompts_without_it(seed: int) -> None:
    prompts = made(seed, hard=0.65)
    found = bias(prompts)
    assert set(found) == {"hard", "easy", "other"}
    tested = {d: row for d, row in found.items() if row["missing_reason"] is None}
    assert {"hard", "easy"} <= set(tested)
    for domain, row in tested.items():
        rate, rest, p = expected(prompts, domain)
        assert (row["rate"], row["rest_rate"]) == pytest.approx((rate, rest))
        assert row["p"] == pytest.approx(p, abs=1e-9)
        assert row["rate_low"] < rate < row["rate_high"]
    place = sorted(tested, key=lambda d: tested[d]["p"])
    assert tested[place[0]]["holm_p"] == pytest.approx(min(1, len(tested) * tested[place[0]]["p"]))
    assert all(row["family"] == len(tested) for row in tested.values())


def test_a_domain_that_is_turned_down_more_often_is_marked_and_an_easy_one_is_not() -> None:
    found = bias(made(1, hard=0.3))
    assert found["hard"]["is_accepted_less_often"] is True
    assert found["hard"]["difference"] < 0
    assert found["easy"]["is_accepted_less_often"] is False


def test_few_clusters_give_a_reason_and_no_test() -> None:
    found = bias(made(1, hard=0.3), smallest_clusters=99)
    for row in found.values():
        assert row["missing_reason"] == "fewer than 99 clusters"
        assert row["p"] is row["rate_low"] is row["is_accepted_less_often"] is None
        assert row["rate"] is not None


def test_equal_domains_are_marked_about_as_rarely_as_the_level_says() -> None:
    """Of 40 made data sets without a difference few mark anything: Holm holds one in twenty."""
    found = biases([made(100 + n, hard=0.8, clusters=35) for n in range(40)])
    marked = sum(any(row["is_accepted_less_often"] for row in of.values()) for of in found)
    for of in found:  # the data sets share tables, and no test
        assert of["hard"]["family"] == sum(row["missing_reason"] is None for row in of.values())
    assert marked <= 6
