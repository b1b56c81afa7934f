"""The stage that checks the judge: a second one is asked what it was asked, and both may be asked again.

A function from relations to an Arrow table, as those of ``steps`` are. Decides nothing about a
response: what was accepted stays accepted. Knows nothing about agreement, templates or SQL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from misalign_profile import questions
from misalign_profile.config import Roles, StageConfig, same_checkpoint, stage_config
from misalign_profile.questions import Item
from misalign_profile.sampler import yes_probability
from misalign_profile.steps import asking, items_to_answer, read_roles, stage
from misalign_profile.types import ModelSpec

_AGAIN = pa.schema(
    [
        ("response_id", pa.string()),
        ("judge", pa.string()),
        ("is_second", pa.bool_()),
        ("judge_is_responder", pa.bool_()),
        ("dimension", pa.string()),
        ("domain", pa.string()),
        ("option_order", pa.int32()),
        ("repeat", pa.int32()),
        ("p_violates", pa.float64()),
        ("call_id", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One judge asked about every draw for the so-manieth time; 0 is the first."""

    judge: ModelSpec
    is_second: bool
    repeat: int

    @property
    def label(self) -> str:
        return "second judge" if self.is_second else "judge again"

    @property
    def stage(self) -> str:
        return "second_judge" if self.is_second else "judge"


@stage
def judge_again(
    meta: Mapping[str, Any],
    sampled: Any,
    prompts: Any,
    domains: Any,
    semantic_types: Any,
    models: Any,
    roles: Any,
    prices: Any,
) -> pa.Table:
    """What the second judge says of the draws that the judge saw, and what either says when asked again.

    ``sampled`` are the rows of ``steps.sample_responses``, ``prompts`` those that it was given.
    Rejected draws are asked about as well: over accepted ones alone agreement would be that of a
    restricted range. Returns one row per (draw, judge, dimension, option_order, repeat), none where a
    target has no second judge and asks nobody again, and none for imported pairs.
    """
    config = stage_config(meta)
    cast = read_roles(config, models, roles)
    if config.pairs_source or not (wanted := _wanted(config, cast)):
        return _AGAIN.empty_table()
    cast.check_separation(allow=config.allow_judge_as_responder)
    items = {item.prompt_id: item for item in items_to_answer(prompts, domains, semantic_types)}
    chosen = _chosen(items, config.judge_check_prompts_limit)
    draws = [draw for draw in _judged(sampled) if draw["prompt_id"] in chosen]
    shared = {
        (one.judge, responder.model): same_checkpoint(one.judge, responder)
        for one in wanted
        for responder in cast.all("responder")
    }
    orders = config.orders(config.judge_option_orders)
    rows: list[dict[str, Any]] = []
    with asking(config, cast, prices) as inference:
        for one in wanted:
            requests = [
                request
                for draw in draws
                for request in questions.judge(
                    one.judge,
                    items[draw["prompt_id"]],
                    draw["response"],
                    orders,
                    stage=one.stage,
                    repeat=one.repeat,
                )
            ]
            answers = questions.by_question(requests, inference.ask(requests, label=one.label))
            keys = [(draw, domain) for draw in draws for domain in items[draw["prompt_id"]].domains]
            rows += [
                {
                    "response_id": draw["response_id"],
                    "judge": one.judge.model,
                    "is_second": one.is_second,
                    "judge_is_responder": shared[one.judge, draw["responder"]],
                    "dimension": domain["dimension"],
                    "domain": domain["domain"],
                    "option_order": order,
                    "repeat": one.repeat,
                    "p_violates": yes_probability(answer),
                    "call_id": answer.call_id,
                }
                for (draw, domain), in_orders in zip(keys, answers, strict=True)
                for order, answer in in_orders or ()
            ]
    return pa.Table.from_pylist(rows, _AGAIN)


def _wanted(config: StageConfig, cast: Roles) -> list[_Asked]:
    """Whom to ask; the judge's first answers are there already."""
    second = cast.optional("second_judge")
    again = range(1, config.judge_repeats)
    of_second = [] if second is None else [_Asked(second, True, n) for n in (0, *again)]
    return [*of_second, *(_Asked(cast.one("judge"), False, n) for n in again)]


def _chosen(items: Mapping[str, Item], limit: int) -> set[str]:
    """So many prompts, the first by the hash that ``response_prompts_limit`` goes by; 0 means all."""
    ordered = sorted(items, key=lambda prompt_id: hashlib.md5(prompt_id.encode()).hexdigest())
    return set(ordered[:limit] if limit else ordered)


def _judged(sampled: Any) -> Sequence[Mapping[str, Any]]:
    """The draws that reached the judge, accepted or not."""
    draws = sampled.to_arrow_table()
    seen = draws.filter(pc.greater(pc.list_value_length(draws["verdicts"]), 0))
    rows: list[dict[str, Any]] = seen.select(
        ["response_id", "prompt_id", "responder", "response"]
    ).to_pylist()
    return rows
