"""Which responses make a pair: the rules in Python, the choice in SQL, and that both agree."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from mart_sql import build, rows
from misalign_profile.draws import Draw
from misalign_profile.matching import (
    LONGER,
    SHORTER,
    WEAKER,
    MatchLimits,
    has_match,
    length_ratio,
    quality_gap,
    what_to_mend,
)

LIMITS = MatchLimits(max_length_ratio=1.5, max_quality_gap=0.25)
PLAIN = Draw(
    response_id="r", prompt_id="p", responder="m", side="aligned", round=0, candidate=0,
    response="", finish_reason="stop", completion_tokens=0, words=30, has_refusal=False,
    names_side=False, call_id="c", feedback=(), rejected_by=None, rejection_reason=None, judge_margin=0.9,
)  # fmt: skip


def aligned(words: int, quality: float | None = None, **changes: Any) -> Draw:
    return replace(PLAIN, words=words, p_quality=quality, **changes)


def misaligned(words: int, quality: float | None = None, **changes: Any) -> Draw:
    return replace(PLAIN, side="misaligned", words=words, p_quality=quality, **changes)


@pytest.mark.parametrize(
    ("one", "other", "matches"),
    [
        (aligned(30), misaligned(45), True),  # just within
        (aligned(45), misaligned(30), True),
        (aligned(30), misaligned(46), False),
        (aligned(30, 0.75), misaligned(30, 0.5), True),  # just within
        (aligned(30, 0.75), misaligned(30, 0.49), False),
        (aligned(30, 0.75), misaligned(30), True),  # not asked: no gap
        (aligned(0), misaligned(0), True),
    ],
)
def test_a_combination_matches_in_length_and_quality(one: Draw, other: Draw, matches: bool) -> None:
    assert has_match([one], [other], LIMITS) is matches
    assert length_ratio(one, other) == length_ratio(other, one) >= 1
    assert quality_gap(one, other) == quality_gap(other, one) >= 0


def test_one_combination_of_many_is_enough() -> None:
    assert has_match([aligned(10), aligned(90)], [misaligned(30), misaligned(100)], LIMITS)
    assert not has_match([aligned(10), aligned(90)], [misaligned(30), misaligned(20)], LIMITS)
    assert not has_match([], [misaligned(30)], LIMITS)


def test_the_nearest_combination_says_what_to_mend() -> None:
    told = what_to_mend([aligned(90), aligned(10)], [misaligned(50)], LIMITS)
    assert told == {"aligned": LONGER, "misaligned": SHORTER}
    told = what_to_mend([aligned(10)], [misaligned(50), misaligned(20)], LIMITS)
    assert told == {"aligned": SHORTER, "misaligned": LONGER}
    told = what_to_mend([aligned(30, 0.5)], [misaligned(30, 1.0), misaligned(10, 0.5)], LIMITS)
    assert told == {"aligned": WEAKER}
    told = what_to_mend([aligned(30, 1.0)], [misaligned(30, 0.5)], LIMITS)
    assert told == {"misaligned": WEAKER}


def random_draws(rng: random.Random) -> list[Draw]:
    """Accepted draws of 300 prompts; few numbers of words and few margins, so that ties happen."""
    return [
        make(
            rng.choice((0, 10, 15, 16, 22, 23, 40)),
            rng.choice((0.5, 0.7, 0.75, 0.95, 1.0)) if n % 5 else None,
            prompt_id=f"p{n}",
            response_id=f"{n}-{make.__name__}-{k}",
            round=rng.randint(0, 2),
            candidate=k,
            judge_margin=rng.choice((0.5, 0.75, 0.9)),
        )
        for n in range(300)
        for make in (aligned, misaligned)
        for k in range(rng.randint(0, 4))
    ]


def pairs_in_sql(draws: list[Draw]) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """prompt_id -> (aligned, misaligned) of the pair, and the prompts that stay unmatched."""
    given = [
        {name: getattr(d, name) for name in (
            "response_id", "prompt_id", "responder", "side", "round", "candidate", "response",
            "completion_tokens", "words", "judge_margin", "p_quality", "rejection_reason")}
        | {"judge": "j", "judge_is_responder": False}
        for d in draws
    ]  # fmt: skip
    table = pa.Table.from_pylist(given)
    rejected = table.schema.get_field_index("rejection_reason")
    table = table.set_column(rejected, "rejection_reason", pa.nulls(len(table), pa.string()))
    with duckdb.connect() as con:
        con.register("int_responses__sampled", table)
        limits = {
            "pair_max_length_ratio": LIMITS.max_length_ratio,
            "pair_max_quality_gap": LIMITS.max_quality_gap,
        }
        models = ("int_responses__accepted", "int_slots__resolved", "int_pairs__candidates")
        build(con, *models, "int_pairs__unmatched", **limits)
        chosen = rows(con, "from int_pairs__candidates where pair_rank = 1")
        unmatched = rows(con, "from int_pairs__unmatched")
    pairs = {
        c["prompt_id"]: (c["aligned_response_id"], c["misaligned_response_id"]) for c in chosen
    }
    assert len(pairs) == len(chosen)
    return pairs, {u["prompt_id"] for u in unmatched}


@pytest.mark.parametrize("seed", range(3))
def test_sql_pairs_the_prompts_that_the_sampler_leaves_and_no_others(seed: int) -> None:
    """The rule of the choice is written out again here, from the pair's definition."""
    draws = random_draws(random.Random(seed))
    pairs, unmatched = pairs_in_sql(draws)
    by_id = {d.response_id: d for d in draws}
    seen = {"pair": 0, "unmatched": 0, "one side": 0}
    for prompt_id in {d.prompt_id for d in draws}:
        mine = [d for d in draws if d.prompt_id == prompt_id]
        good = [d for d in mine if d.side == "aligned"]
        bad = [d for d in mine if d.side == "misaligned"]
        assert (prompt_id in pairs) is has_match(good, bad, LIMITS)
        assert (prompt_id in unmatched) is (bool(good and bad) and prompt_id not in pairs)
        state = "pair" if prompt_id in pairs else "unmatched" if good and bad else "one side"
        seen[state] += 1
        if prompt_id not in pairs:
            continue
        chosen = by_id[pairs[prompt_id][0]], by_id[pairs[prompt_id][1]]

        def order(pair: tuple[Draw, Draw]) -> tuple[Any, ...]:
            margins = sorted(d.judge_margin or 0 for d in pair)
            ranks = [(-(d.judge_margin or 0), d.round, d.candidate) for d in pair]
            return (-margins[0], -margins[1], pair[0].round + pair[1].round, *ranks)

        matched = [(a, m) for a in good for m in bad if has_match([a], [m], LIMITS)]
        assert chosen == min(matched, key=order)
    assert min(seen.values()) > 10
