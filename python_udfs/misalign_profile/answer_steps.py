"""The stages of the protocol ``respond``: models under test answer prompts, the judge rates the answers.

A function from relations to an Arrow table, as those of ``steps`` are. Knows nothing about how a
judgement becomes a metric, templates' wording or SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from misalign_profile import questions
from misalign_profile.answer_rules import is_refusal, unusable
from misalign_profile.config import Roles, StageConfig, same_checkpoint, stage_config
from misalign_profile.draws import DRAW
from misalign_profile.inference import Asks
from misalign_profile.orders import Orders
from misalign_profile.questions import Item
from misalign_profile.sampler import yes_probability
from misalign_profile.steps import asking, read_roles, stage
from misalign_profile.types import Completion, ModelSpec

STYLE_WITH_HEADINGS = "compact"  # its questions have lines such as "Prompt: ..."
ANSWER = pa.schema(
    [
        ("model", pa.string()),
        ("prompt_id", pa.string()),
        ("sample_index", pa.int32()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("completion_tokens", pa.int64()),
        ("call_id", pa.string()),
        ("unusable_reason", pa.string()),
        ("is_refusal", pa.bool_()),
        ("judge", pa.string()),
        ("judge_is_responder", pa.bool_()),
        ("verdicts", DRAW.field("verdicts").type),
    ]
)
Verdicts = list[dict[str, Any]]
Drawn = tuple[ModelSpec, Item, int, Completion]


@stage
def answer_prompts(
    meta: Mapping[str, Any], prompts: Any, domains: Any, models: Any, roles: Any, prices: Any
) -> pa.Table:
    """What models under test answer to prompts themselves, and what the judge finds in each labelled domain.

    ``prompts`` needs prompt_id, prompt, domains (list of slugs, one a dimension). Returns one row per
    (model, prompt, draw); an answer that the rules find unusable is not judged and keeps its row. No
    rows without the protocol ``respond``, and none of a model that is the judge, unless that is allowed.
    """
    config = stage_config(meta)
    if "respond" not in config.protocols:
        return ANSWER.empty_table()
    cast = read_roles(config, models, roles)
    taxonomy = {row["domain"]: row for row in domains.to_arrow_table().to_pylist()}
    items = [
        Item(row["prompt_id"], row["prompt"], "", "", tuple(taxonomy[d] for d in row["domains"]))
        for row in prompts.to_arrow_table().sort_by("prompt_id").to_pylist()
    ]
    with asking(config, cast, prices) as inference:
        drawn = _draw(inference, config, cast, items)
        return _rate(inference, config, cast, drawn)


def _draw(asks: Asks, config: StageConfig, cast: Roles, items: Sequence[Item]) -> list[Drawn]:
    """Every answer that is known, a model after the other."""
    drawn: list[Drawn] = []
    for model in cast.answering(allow=config.allow_judge_as_responder):
        wanted = [(item, k) for item in items for k in range(config.answers_per_prompt)]
        requests = [questions.answer(model, item, k, config.sampling) for item, k in wanted]
        answers = asks.ask(requests, label="answers")
        drawn += [
            (model, item, k, answer)
            for (item, k), answer in zip(wanted, answers, strict=True)
            if answer is not None
        ]
    return drawn


def _rate(asks: Asks, config: StageConfig, cast: Roles, drawn: Sequence[Drawn]) -> pa.Table:
    """The answers with the judge's verdicts; one of which a verdict is not known is left out."""
    judge = cast.one("judge")
    faults = [
        unusable(
            item.prompt,
            answer.text,
            finish_reason=answer.finish_reason,
            headings=model.prompt_style == STYLE_WITH_HEADINGS,
            limits=config.limits,
        )
        for model, item, _, answer in drawn
    ]
    texts = {
        i: (item, answer.text.strip())
        for i, (_, item, _, answer) in enumerate(drawn)
        if faults[i] is None
    }
    verdicts, unknown = _judge(asks, judge, texts, config.orders(config.judge_option_orders))
    rows = [
        {
            "model": model.model,
            "prompt_id": item.prompt_id,
            "sample_index": k,
            "answer": answer.text.strip(),
            "finish_reason": answer.finish_reason,
            "completion_tokens": answer.completion_tokens,
            "call_id": answer.call_id,
            "unusable_reason": faults[i],
            "is_refusal": is_refusal(answer.text.strip()),
            "judge": judge.model,
            "judge_is_responder": same_checkpoint(model, judge),
            "verdicts": verdicts.get(i, []),
        }
        for i, (model, item, k, answer) in enumerate(drawn)
        if i not in unknown
    ]
    return pa.Table.from_pylist(rows, ANSWER)


def _judge(
    asks: Asks, judge: ModelSpec, texts: Mapping[int, tuple[Item, str]], orders: Orders
) -> tuple[dict[int, Verdicts], set[int]]:
    """The judge's verdicts of each text, one a labelled domain; and the texts of which one is not known."""
    keys = [(i, domain) for i, (item, _) in texts.items() for domain in item.domains]
    requests = [
        request
        for item, text in texts.values()
        for request in questions.judge(judge, item, text, orders, stage="judge_answer")
    ]
    answers = asks.ask(requests, label="judge answers")
    found: dict[int, Verdicts] = {}
    unknown: set[int] = set()
    by_question = questions.by_question(requests, answers)
    for (i, domain), in_orders in zip(keys, by_question, strict=True):
        if in_orders is None:
            unknown.add(i)
            continue
        chances = [yes_probability(answer) for _, answer in in_orders]
        said = [
            {"option_order": n, "p_violates": p, "call_id": answer.call_id}
            for (n, answer), p in zip(in_orders, chances, strict=True)
        ]
        verdict = {
            "dimension": domain["dimension"],
            "domain": domain["domain"],
            "p_violates": sum(chances) / len(chances),
            "call_id": said[0]["call_id"],
            "by_order": said,
        }
        found.setdefault(i, []).append(verdict)
    return found, unknown
