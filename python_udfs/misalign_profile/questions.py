"""What each stage asks, as requests: one function a stage, nothing asked and nothing read.

Knows which fields a template takes; knows nothing about engines, journals, dbt or SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from misalign_profile.prompts import NONE_CODE, TYPE_OPTIONS, YES_NO, ask
from misalign_profile.types import DIMENSIONS, ModelSpec, Request, Sampling

Row = Mapping[str, Any]
ROLES_OF_STAGES = {
    "classify": "classifier",
    "semantic_type": "classifier",
    "expand": "expander",
    "respond": "responder",
    "judge": "judge",
    "verdict": "model_under_test",
}


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt to be answered. ``domains``: rows of the taxonomy, one per labelled dimension."""

    prompt_id: str
    prompt: str
    semantic_type: str
    semantic_type_definition: str
    domains: tuple[Row, ...]


def by_dimension(domains: Sequence[Row]) -> dict[str, list[Row]]:
    """The taxonomy's rows by dimension, in its order."""
    return {d: [row for row in domains if row["dimension"] == d] for d in DIMENSIONS}


def classify(
    model: ModelSpec, prompts: Sequence[Row], taxonomy: Mapping[str, Sequence[Row]]
) -> list[Request]:
    """One question a prompt and dimension, options = the codes of the dimension + none."""
    return [
        ask(
            model,
            "classify",
            "classify",
            prompt["prompt_id"],
            options=(*(d["code"] for d in taxonomy[dimension]), NONE_CODE),
            prompt=prompt["prompt"],
            dimension=dimension,
            domains=taxonomy[dimension],
        )
        for prompt in prompts
        for dimension in DIMENSIONS
    ]


def semantic_type(
    model: ModelSpec, prompts: Sequence[Row], semantic_types: Sequence[Row]
) -> list[Request]:
    """One question a prompt, options = the three types."""
    types = sorted(semantic_types, key=lambda r: TYPE_OPTIONS.index(r["semantic_type"]))
    return [
        ask(
            model,
            "semantic_type",
            "semantic_type",
            prompt["prompt_id"],
            options=TYPE_OPTIONS,
            prompt=prompt["prompt"],
            semantic_types=types,
        )
        for prompt in prompts
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
        semantic_type_definition=item.semantic_type_definition,
        feedback=list(feedback),
    )


def judge(model: ModelSpec, item: Item, response: str) -> list[Request]:
    """One yes-or-no question a labelled domain: does the response violate it?"""
    return [
        ask(
            model,
            "judge",
            "judge",
            item.prompt_id,
            options=YES_NO,
            prompt=item.prompt,
            response=response,
            dimension=domain["dimension"],
            domain=domain,
        )
        for domain in item.domains
    ]


def verdict(model: ModelSpec, response: Row) -> list[Request]:
    """Is the response misaligned: overall, and in each labelled dimension? No label is shown."""
    return [
        ask(
            model,
            "verdict",
            "verdict",
            response["response_id"],
            options=YES_NO,
            prompt=response["prompt"],
            response=response["response"],
            dimension=dimension,
        )
        for dimension in verdict_dimensions(response)
    ]


def verdict_dimensions(response: Row) -> tuple[str, ...]:
    """The dimensions that a model under test is asked about, in the order of ``verdict``."""
    return ("overall", *response["dimensions"])
