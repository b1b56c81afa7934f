"""What each stage asks, as requests: one function a stage, nothing asked and nothing read.

A question with options becomes a request for each order in which its text lists them.
Knows which fields a template takes; knows nothing about engines, journals, dbt or SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from misalign_profile.orders import AS_WRITTEN, Orders
from misalign_profile.prompts import (
    NONE_CODE,
    TYPE_OPTIONS,
    YES_NO,
    ask,
    ask_in_orders,
    load_template,
)
from misalign_profile.types import DIMENSIONS, ModelSpec, Request, Sampling

Row = Mapping[str, Any]
A = TypeVar("A")
ROLES_OF_STAGES = {
    "classify": "classifier",
    "semantic_type": "classifier",
    "expand": "expander",
    "respond": "responder",
    "judge": "judge",
    "second_judge": "second_judge",
    "verdict": "model_under_test",
    "answer": "model_under_test",
    "judge_answer": "judge",
}
_OPTIONS = {
    "classify": None,
    "semantic_type": 3,
    "judge": 2,
    "second_judge": 2,
    "judge_answer": 2,
    "verdict": 2,
}  # None: a dimension's codes
_TEMPLATES = {"second_judge": "judge", "judge_answer": "judge"}  # of stages not named after theirs


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt to be answered. ``domains``: rows of the taxonomy, one per labelled dimension.

    ``elicitation``: how a misaligned answer of the semantic type goes wrong, for its writer.
    """

    prompt_id: str
    prompt: str
    semantic_type: str
    elicitation: str
    domains: tuple[Row, ...]


def by_dimension(domains: Sequence[Row]) -> dict[str, list[Row]]:
    """The taxonomy's rows by dimension, in its order."""
    return {d: [row for row in domains if row["dimension"] == d] for d in DIMENSIONS}


def number_of_orders(model: ModelSpec, stage: str, orders: Orders) -> int:
    """Requests that each question of a stage becomes: 1 where the text lists no options."""
    lists = load_template(_TEMPLATES.get(stage, stage), model.prompt_style).lists_options
    return orders.number(_OPTIONS[stage]) if lists else 1


def by_question(
    requests: Sequence[Request], answers: Sequence[A | None]
) -> list[list[tuple[int, A]] | None]:
    """(option order, answer) of each question; None for a question of which an answer is missing."""
    found: list[list[tuple[int, A]] | None] = []
    for request, answer in zip(requests, answers, strict=True):
        if request.option_order == 0:
            found.append([])
        if answer is None:
            found[-1] = None
        elif (known := found[-1]) is not None:
            known.append((request.option_order, answer))
    return found


def classify(
    model: ModelSpec,
    prompts: Sequence[Row],
    taxonomy: Mapping[str, Sequence[Row]],
    orders: Orders = AS_WRITTEN,
) -> list[Request]:
    """One question a prompt and dimension, options = the codes of the dimension + none."""
    domain_of = {d: {row["code"]: row for row in taxonomy[d]} for d in DIMENSIONS}
    return [
        request
        for prompt in prompts
        for dimension in DIMENSIONS
        for request in ask_in_orders(
            model,
            "classify",
            "classify",
            prompt["prompt_id"],
            options=(*domain_of[dimension], NONE_CODE),
            orders=orders,
            prompt=prompt["prompt"],
            dimension=dimension,
            domain_of=domain_of[dimension],
        )
    ]


def semantic_type(
    model: ModelSpec,
    prompts: Sequence[Row],
    semantic_types: Sequence[Row],
    orders: Orders = AS_WRITTEN,
) -> list[Request]:
    """One question a prompt, options = the three types."""
    definition_of = {row["semantic_type"]: row["definition"] for row in semantic_types}
    return [
        request
        for prompt in prompts
        for request in ask_in_orders(
            model,
            "semantic_type",
            "semantic_type",
            prompt["prompt_id"],
            options=TYPE_OPTIONS,
            orders=orders,
            prompt=prompt["prompt"],
            definition_of=definition_of,
        )
    ]


def expand(
    model: ModelSpec,
    planned: Sequence[Row],
    domains: Mapping[str, Row],
    definitions: Mapping[str, str],
    sampling: Sampling,
) -> list[Request]:
    """One draw a planned expansion. ``definitions``: semantic type -> what it means."""
    return [
        ask(
            model,
            "expand",
            "expand",
            plan["expansion_id"],
            sampling=sampling,
            sample_index=plan["attempt"],
            domains=[domains[d] for d in plan["domains"]],
            semantic_type=plan["semantic_type"],
            semantic_type_definition=definitions[plan["semantic_type"]],
            examples=plan["parent_prompts"],
        )
        for plan in planned
    ]


def respond(
    model: ModelSpec,
    item: Item,
    side: str,
    round_: int,
    candidate: int,
    feedback: Sequence[str],
    sampling: Sampling,
) -> Request:
    """One draw of a response. ``feedback``: what the responder is told of its earlier ones."""
    return ask(
        model,
        "respond",
        "respond",
        f"{item.prompt_id}/{side}/round{round_}",
        sampling=sampling,
        sample_index=candidate,
        prompt=item.prompt,
        domains=item.domains,
        side=side,
        semantic_type=item.semantic_type,
        semantic_type_elicitation=item.elicitation,
        feedback=list(feedback),
    )


def answer(model: ModelSpec, item: Item, draw: int, sampling: Sampling) -> Request:
    """One draw of a model's own answer: it sees the prompt alone, no label, side or norm."""
    return ask(
        model,
        "answer",
        "answer",
        item.prompt_id,
        sampling=sampling,
        sample_index=draw,
        prompt=item.prompt,
    )


def judge(
    model: ModelSpec,
    item: Item,
    response: str,
    orders: Orders = AS_WRITTEN,
    *,
    stage: str = "judge",
    repeat: int = 0,
) -> list[Request]:
    """One yes-or-no question a labelled domain: does the response, or the answer, violate it?

    ``repeat``: above 0 the same question is asked once more, as a call of its own.
    """
    return [
        request
        for domain in item.domains
        for request in ask_in_orders(
            model,
            stage,
            "judge",
            item.prompt_id,
            options=YES_NO,
            orders=orders,
            sample_index=repeat,
            prompt=item.prompt,
            response=response,
            dimension=domain["dimension"],
            domain=domain,
        )
    ]


def quality(
    model: ModelSpec, item: Item, response: str, orders: Orders = AS_WRITTEN
) -> list[Request]:
    """The judge's question of the response's quality, alignment aside; all but its end is as in ``judge``."""
    return ask_in_orders(
        model,
        "judge",
        "quality",
        item.prompt_id,
        options=YES_NO,
        orders=orders,
        prompt=item.prompt,
        response=response,
    )


def verdict(model: ModelSpec, response: Row, orders: Orders = AS_WRITTEN) -> list[Request]:
    """Is the response misaligned: overall, and in each labelled dimension? No label is shown."""
    return [
        request
        for dimension in verdict_dimensions(response)
        for request in ask_in_orders(
            model,
            "verdict",
            "verdict",
            response["response_id"],
            options=YES_NO,
            orders=orders,
            prompt=response["prompt"],
            response=response["response"],
            dimension=dimension,
        )
    ]


def verdict_dimensions(response: Row) -> tuple[str, ...]:
    """The dimensions that a model under test is asked about, in the order of ``verdict``."""
    return ("overall", *response["dimensions"])
