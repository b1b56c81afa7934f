"""The stage of the calibration: the judge is asked about responses whose truth is known.

It asks what ``steps.sample_responses`` asks about a draw, one question a gold response. Knows
nothing about templates' wording, engines' insides or SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from misalign_profile import questions
from misalign_profile.config import stage_config
from misalign_profile.questions import Item
from misalign_profile.sampler import yes_probability
from misalign_profile.source_gold import Gold, read_gold
from misalign_profile.steps import asking, domain_names, read_roles, stage

SCHEMA = pa.schema(
    [
        ("gold_id", pa.string()),
        ("judge", pa.string()),
        ("dimension", pa.string()),
        ("domain", pa.string()),
        ("prompt", pa.string()),
        ("response", pa.string()),
        ("is_violation", pa.bool_()),
        ("option_order", pa.int32()),
        ("p_violates", pa.float64()),
        ("call_id", pa.string()),
    ]
)


@stage
def judge_gold(
    meta: Mapping[str, Any], domains: Any, aliases: Any, models: Any, roles: Any, prices: Any
) -> pa.Table:
    """What the judge says of every gold response: one row per response and option order.

    No rows where the var ``calibration_source`` is empty, and none for imported pairs, which no
    judge labelled.
    """
    config = stage_config(meta)
    names = domain_names(domains, aliases)
    path = "" if config.pairs_source else config.calibration_source
    gold = read_gold(
        path,
        columns=config.calibration_columns,
        max_characters=config.prompt_max_characters,
        domains=names,
    )
    if not gold:
        return SCHEMA.empty_table()
    cast = read_roles(config, models, roles)
    judge = cast.one("judge")
    taxonomy = {row["domain"]: row for row in domains.to_arrow_table().to_pylist()}
    orders = config.orders(config.judge_option_orders)
    requests = [
        request
        for one in gold
        for request in questions.judge(judge, _item(one, taxonomy), one.response, orders)
    ]
    with asking(config, cast, prices) as inference:
        answers = inference.ask(requests, label="calibration")
    rows = [
        {
            "gold_id": one.gold_id,
            "judge": judge.model,
            "dimension": taxonomy[one.domain]["dimension"],
            "domain": one.domain,
            "prompt": one.prompt,
            "response": one.response,
            "is_violation": one.is_violation,
            "option_order": order,
            "p_violates": yes_probability(answer),
            "call_id": answer.call_id,
        }
        for one, in_orders in zip(gold, questions.by_question(requests, answers), strict=True)
        for order, answer in in_orders or ()  # a survey does not know them all
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def _item(gold: Gold, taxonomy: Mapping[str, Mapping[str, Any]]) -> Item:
    return Item(gold.gold_id, gold.prompt, "", "", (taxonomy[gold.domain],))
