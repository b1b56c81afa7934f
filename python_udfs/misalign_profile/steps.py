"""The stages that need a model or a file, as functions from relations to Arrow tables.

A dbt Python model calls exactly one of these. Relations are anything with ``to_arrow_table()``
(DuckDB relations). Knows nothing about templates' wording, engines' insides or SQL.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, ParamSpec

import pyarrow as pa

from misalign_profile.config import Roles, StageConfig, stage_config
from misalign_profile.errors import InputError, MisalignError
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.prompts import NONE_CODE, TYPE_OPTIONS, YES_NO, ask
from misalign_profile.sampler import Item, Sampler, yes_probability
from misalign_profile.sources import read_prompts
from misalign_profile.types import DIMENSIONS, Completion

Rows = list[dict[str, Any]]
P = ParamSpec("P")


def stage(function: Callable[P, pa.Table]) -> Callable[P, pa.Table]:
    """Let a foreseen error reach dbt as its one line; dbt prints a trace for everything else."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> pa.Table:
        try:
            return function(*args, **kwargs)
        except MisalignError as error:
            sys.tracebacklimit = 0
            raise error from None

    return wrapped


def _rows(relation: Any) -> Rows:
    rows: Rows = relation.to_arrow_table().to_pylist()
    return rows


def _inference(config: StageConfig) -> Inference:
    return Inference(
        Journal(config.journal), batch_tokens=config.batch_tokens, resident=config.engines_resident
    )


def _probabilities(completion: Completion) -> list[float]:
    """Softmax over the options: shape (number of options,), sums to 1."""
    top = max(completion.option_logprobs)
    weights = [math.exp(x - top) for x in completion.option_logprobs]
    total = sum(weights)
    return [w / total for w in weights]


@stage
def read_source(meta: Mapping[str, Any], domains: Any, aliases: Any) -> pa.Table:
    """The user's prompts with labels and skip reasons; no rows when no source is named."""
    config = stage_config(meta)
    names: dict[str, tuple[str, ...]] = {}
    for row in _rows(domains):
        if row["domain"] in names:
            raise InputError(
                f"the domain {row['domain']!r} stands twice",
                where="seeds/domains.csv",
                hint="remove one row",
            )
        names[row["domain"]] = tuple(filter(None, (row["name"], row["released_name"])))
    for row in _rows(aliases):
        names[row["domain"]] += (row["alias"],)
    return read_prompts(
        config.prompts_source,
        text_column=config.prompts_text_column,
        label_columns=config.prompts_label_columns,
        limit=config.prompts_limit,
        max_characters=config.prompt_max_characters,
        domains=names,
        unknown_labels=config.unknown_labels,
    )


@stage
def classify(
    meta: Mapping[str, Any], prompts: Any, domains: Any, models: Any, roles: Any
) -> pa.Table:
    """Scores of every domain for every prompt: one question a dimension, options = codes + none.

    ``prompts`` needs prompt_id, prompt. Returns one row per (prompt_id, domain) with ``score``, the
    classifier's probability, and ``none_score``, its probability that no domain of the dimension fits.
    """
    config = stage_config(meta)
    model = Roles(config.target, _rows(roles), _rows(models)).one("classifier")
    taxonomy = {d: [r for r in _rows(domains) if r["dimension"] == d] for d in DIMENSIONS}
    items = _rows(prompts)
    requests = [
        ask(
            model,
            "classify",
            "classify",
            item["prompt_id"],
            options=(*(d["code"] for d in taxonomy[dimension]), NONE_CODE),
            prompt=item["prompt"],
            dimension=dimension,
            domains=taxonomy[dimension],
        )
        for item in items
        for dimension in DIMENSIONS
    ]
    with _inference(config) as inference:
        answers = inference.ask(requests, label="classify")
    columns: dict[str, list[Any]] = {
        k: [] for k in ("prompt_id", "dimension", "domain", "score", "none_score", "call_id")
    }
    for n, answer in enumerate(answers):
        item, dimension = items[n // len(DIMENSIONS)], DIMENSIONS[n % len(DIMENSIONS)]
        *scores, none = _probabilities(answer)
        size = len(scores)
        columns["prompt_id"] += [item["prompt_id"]] * size
        columns["dimension"] += [dimension] * size
        columns["domain"] += [d["domain"] for d in taxonomy[dimension]]
        columns["score"] += scores
        columns["none_score"] += [none] * size
        columns["call_id"] += [answer.call_id] * size
    types = [pa.string(), pa.string(), pa.string(), pa.float64(), pa.float64(), pa.string()]
    return pa.table({k: pa.array(v, t) for (k, v), t in zip(columns.items(), types, strict=True)})


@stage
def classify_types(
    meta: Mapping[str, Any], prompts: Any, semantic_types: Any, models: Any, roles: Any
) -> pa.Table:
    """The semantic type of every prompt: one row per prompt with the three probabilities."""
    config = stage_config(meta)
    model = Roles(config.target, _rows(roles), _rows(models)).one("classifier")
    types = sorted(_rows(semantic_types), key=lambda r: TYPE_OPTIONS.index(r["semantic_type"]))
    items = _rows(prompts)
    requests = [
        ask(
            model,
            "semantic_type",
            "semantic_type",
            item["prompt_id"],
            options=TYPE_OPTIONS,
            prompt=item["prompt"],
            semantic_types=types,
        )
        for item in items
    ]
    with _inference(config) as inference:
        answers = inference.ask(requests, label="semantic type")
    scores = [_probabilities(a) for a in answers]
    data: dict[str, pa.Array] = {
        "prompt_id": pa.array([i["prompt_id"] for i in items], pa.string()),
        "semantic_type": pa.array([TYPE_OPTIONS[s.index(max(s))] for s in scores], pa.string()),
    }
    for n, name in enumerate(TYPE_OPTIONS):
        data[f"{name}_score"] = pa.array([s[n] for s in scores], pa.float64())
    data["call_id"] = pa.array([a.call_id for a in answers], pa.string())
    return pa.table(data)


@stage
def expand(
    meta: Mapping[str, Any],
    planned: Any,
    domains: Any,
    semantic_types: Any,
    models: Any,
    roles: Any,
) -> pa.Table:
    """New prompts for low-resource domains: one row per planned expansion, with the text drawn.

    ``planned`` needs expansion_id, domain, domains (list of slugs), semantic_type, parent_prompts
    (list of texts), attempt.
    """
    config = stage_config(meta)
    model = Roles(config.target, _rows(roles), _rows(models)).one("expander")
    taxonomy = {r["domain"]: r for r in _rows(domains)}
    definitions = {r["semantic_type"]: r["definition"] for r in _rows(semantic_types)}
    plans = _rows(planned)
    requests = [
        ask(
            model,
            "expand",
            "expand",
            plan["expansion_id"],
            sampling=config.sampling,
            sample_index=plan["attempt"],
            domains=[taxonomy[d] for d in plan["domains"]],
            semantic_type=plan["semantic_type"],
            semantic_type_definition=definitions[plan["semantic_type"]],
            examples=plan["parent_prompts"],
        )
        for plan in plans
    ]
    with _inference(config) as inference:
        answers = inference.ask(requests, label="expand")
    return pa.table(
        {
            "expansion_id": pa.array([p["expansion_id"] for p in plans], pa.string()),
            "prompt": pa.array([a.text.strip() for a in answers], pa.string()),
            "finish_reason": pa.array([a.finish_reason for a in answers], pa.string()),
            "expander": pa.array([model.model] * len(plans), pa.string()),
            "call_id": pa.array([a.call_id for a in answers], pa.string()),
        }
    )


_VERDICT = pa.struct(
    [
        ("dimension", pa.string()),
        ("domain", pa.string()),
        ("p_violates", pa.float64()),
        ("call_id", pa.string()),
    ]
)
_DRAW = pa.schema(
    [
        ("response_id", pa.string()),
        ("prompt_id", pa.string()),
        ("responder", pa.string()),
        ("side", pa.string()),
        ("round", pa.int32()),
        ("candidate", pa.int32()),
        ("response", pa.string()),
        ("finish_reason", pa.string()),
        ("completion_tokens", pa.int64()),
        ("call_id", pa.string()),
        ("feedback", pa.list_(pa.string())),
        ("rejected_by", pa.string()),
        ("rejection_reason", pa.string()),
        ("judge_margin", pa.float64()),
        ("verdicts", pa.list_(_VERDICT)),
        ("judge", pa.string()),
        ("judge_is_responder", pa.bool_()),
    ]
)


@stage
def sample_responses(
    meta: Mapping[str, Any],
    prompts: Any,
    domains: Any,
    semantic_types: Any,
    reasons: Any,
    models: Any,
    roles: Any,
) -> pa.Table:
    """Two-stage rejection sampling: every draw ever made, with round, verdicts and reason.

    ``prompts`` needs prompt_id, prompt, semantic_type, domains (list of slugs, one per dimension).
    """
    config = stage_config(meta)
    cast = Roles(config.target, _rows(roles), _rows(models))
    cast.check_separation(allow=config.allow_judge_as_responder)
    judge = cast.one("judge")
    taxonomy = {r["domain"]: r for r in _rows(domains)}
    definitions = {r["semantic_type"]: r["definition"] for r in _rows(semantic_types)}
    items = [
        Item(
            prompt_id=r["prompt_id"],
            prompt=r["prompt"],
            semantic_type=r["semantic_type"],
            semantic_type_definition=definitions[r["semantic_type"]],
            domains=tuple(taxonomy[d] for d in r["domains"]),
        )
        for r in _rows(prompts)
    ]
    with _inference(config) as inference:
        sampler = Sampler(
            inference,
            judge,
            {r["rejection_reason"]: r["feedback"] for r in _rows(reasons)},
            sampling=config.sampling,
            candidates=config.candidates_per_side,
            rounds=config.resampling_rounds,
            threshold=config.verdict_threshold,
            limits=config.limits,
        )
        draws = sampler.run(items, cast.all("responder"))
    shared = {
        m.model: (m.source, m.revision) == (judge.source, judge.revision)
        for m in cast.all("responder")
    }
    rows = [
        {**asdict(d), "judge": judge.model, "judge_is_responder": shared[d.responder]}
        for d in draws
    ]
    return pa.Table.from_pylist(rows, _DRAW)


@stage
def verdicts(meta: Mapping[str, Any], responses: Any, models: Any, roles: Any) -> pa.Table:
    """What every model under test says of every response: overall and in each labelled dimension.

    ``responses`` needs response_id, prompt, response, dimensions (list). The model sees prompt and
    response only. Returns one row per (model, response_id, dimension) with ``p_misaligned``.
    """
    config = stage_config(meta)
    under_test = Roles(config.target, _rows(roles), _rows(models)).all("model_under_test")
    items = _rows(responses)
    keys = [
        (item["response_id"], dimension)
        for item in items
        for dimension in ("overall", *item["dimensions"])
    ]
    columns: dict[str, list[Any]] = {
        k: [] for k in ("model", "response_id", "dimension", "p_misaligned", "call_id")
    }
    with _inference(config) as inference:
        for model in under_test:
            requests = [
                ask(
                    model,
                    "verdict",
                    "verdict",
                    item["response_id"],
                    options=YES_NO,
                    prompt=item["prompt"],
                    response=item["response"],
                    dimension=dimension,
                )
                for item in items
                for dimension in ("overall", *item["dimensions"])
            ]
            answers = inference.ask(requests, label="verdicts")
            columns["model"] += [model.model] * len(keys)
            columns["response_id"] += [r for r, _ in keys]
            columns["dimension"] += [d for _, d in keys]
            columns["p_misaligned"] += [yes_probability(a) for a in answers]
            columns["call_id"] += [a.call_id for a in answers]
    types = [pa.string(), pa.string(), pa.string(), pa.float64(), pa.string()]
    return pa.table({k: pa.array(v, t) for (k, v), t in zip(columns.items(), types, strict=True)})
