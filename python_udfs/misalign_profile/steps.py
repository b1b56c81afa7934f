"""The stages that need a model or a file, as functions from relations to Arrow tables.

A dbt Python model calls exactly one of these. Relations are anything with ``to_arrow_table()``
(DuckDB relations). While a survey is under way, models are not asked, and items whose answers the
journal lacks are left out. Knows nothing about templates' wording, engines' insides or SQL.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa

from misalign_profile import questions, survey
from misalign_profile.budget import Ledger, Prices
from misalign_profile.config import Roles, StageConfig, same_checkpoint, stage_config
from misalign_profile.draws import DRAW
from misalign_profile.engines import open_engine
from misalign_profile.errors import InputError, MisalignError
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.prompts import TYPE_OPTIONS
from misalign_profile.questions import Item
from misalign_profile.sampler import Sampler, yes_probability
from misalign_profile.sources import read_prompts
from misalign_profile.types import DIMENSIONS, Completion

Rows = list[dict[str, Any]]
P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
RUN = Ledger()  # what this process has asked: a process is a run


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


def read_roles(config: StageConfig, models: Any, roles: Any) -> Roles:
    """Who plays which role on the target of a stage."""
    return Roles(config.target, _rows(roles), _rows(models))


def asking(config: StageConfig, cast: Roles, prices: Any) -> Inference | survey.Survey:
    """Whoever answers: models, or a survey that is under way. Refuses USD without a price."""
    known = Prices(_rows(prices))
    if config.budget.usd:
        known.require(cast.everyone())
    if (counting := survey.current()) is not None:
        return counting.reading(config.journal)
    return Inference(
        Journal(config.journal, run_id=RUN.run_id),
        batch_tokens=config.batch_tokens,
        resident=config.engines_resident,
        opener=functools.partial(open_engine, own_process=config.engine_processes),
        budget=config.budget,
        prices=known,
        ledger=RUN,
    )


def _answered(
    items: Sequence[T], answers: Sequence[A | None], each: int = 1
) -> Iterator[tuple[T, list[A]]]:
    """Items with their ``each`` answers, those left out of which one is missing."""
    for n, item in enumerate(items):
        known = [a for a in answers[n * each : (n + 1) * each] if a is not None]
        if len(known) == each:
            yield item, known


def _probabilities(completion: Completion) -> list[float]:
    """Softmax over the options: shape (number of options,), sums to 1."""
    top = max(completion.option_logprobs)
    weights = [math.exp(x - top) for x in completion.option_logprobs]
    total = sum(weights)
    return [w / total for w in weights]


def domain_names(domains: Any, aliases: Any) -> dict[str, tuple[str, ...]]:
    """Slug -> every other name that labels may use for it."""
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
    return names


@stage
def read_source(meta: Mapping[str, Any], domains: Any, aliases: Any) -> pa.Table:
    """The user's prompts with labels and skip reasons; no rows when no source is named."""
    config = stage_config(meta)
    return read_prompts(
        config.prompts_source,
        text_column=config.prompts_text_column,
        label_columns=config.prompts_label_columns,
        limit=config.prompts_limit,
        max_characters=config.prompt_max_characters,
        domains=domain_names(domains, aliases),
        unknown_labels=config.unknown_labels,
    )


_SCORES = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("dimension", pa.string()),
        ("domain", pa.string()),
        ("option_order", pa.int32()),
        ("score", pa.float64()),
        ("none_score", pa.float64()),
        ("call_id", pa.string()),
    ]
)


@stage
def classify(
    meta: Mapping[str, Any],
    prompts: Any,
    domains: Any,
    models: Any,
    roles: Any,
    prices: Any,
    *,
    label: str = "classify prompts",
) -> pa.Table:
    """Scores of every domain for every prompt: one question a dimension, options = codes + none.

    ``prompts`` needs prompt_id, prompt. Returns one row per (prompt_id, domain, option_order) with
    ``score``, the classifier's probability when the options were listed in that order, and
    ``none_score``, its probability that no domain of the dimension fits.
    """
    config = stage_config(meta)
    cast = read_roles(config, models, roles)
    taxonomy = questions.by_dimension(_rows(domains))
    items = [] if config.pairs_source else _rows(prompts)  # imported ones have labels
    orders = config.orders(config.classification_option_orders)
    requests = questions.classify(cast.one("classifier"), items, taxonomy, orders)
    with asking(config, cast, prices) as inference:
        answers = inference.ask(requests, label=label)
    columns: dict[str, list[Any]] = {k: [] for k in _SCORES.names}
    by_question = questions.by_question(requests, answers)
    for item, scored in _answered(items, by_question, len(DIMENSIONS)):
        for dimension, in_orders in zip(DIMENSIONS, scored, strict=True):
            for order, answer in in_orders:
                *scores, none = _probabilities(answer)
                size = len(scores)
                columns["prompt_id"] += [item["prompt_id"]] * size
                columns["dimension"] += [dimension] * size
                columns["domain"] += [d["domain"] for d in taxonomy[dimension]]
                columns["option_order"] += [order] * size
                columns["score"] += scores
                columns["none_score"] += [none] * size
                columns["call_id"] += [answer.call_id] * size
    return pa.table(columns, schema=_SCORES)


classify_expansions = functools.partial(classify, label="classify expansions")


@stage
def classify_types(
    meta: Mapping[str, Any],
    prompts: Any,
    semantic_types: Any,
    models: Any,
    roles: Any,
    prices: Any,
) -> pa.Table:
    """The semantic type of every prompt: one row per prompt and option order, with probabilities."""
    config = stage_config(meta)
    cast = read_roles(config, models, roles)
    items = _rows(prompts)
    if config.pairs_source:
        items = [item for item in items if item["reference_semantic_type"] is None]
    orders = config.orders(config.classification_option_orders)
    types = _rows(semantic_types)
    requests = questions.semantic_type(cast.one("classifier"), items, types, orders)
    with asking(config, cast, prices) as inference:
        answers = inference.ask(requests, label="semantic type")
    known = [
        (item["prompt_id"], order, answer)
        for item, (in_orders,) in _answered(items, questions.by_question(requests, answers))
        for order, answer in in_orders
    ]
    scores = [_probabilities(answer) for *_, answer in known]
    data: dict[str, pa.Array] = {
        "prompt_id": pa.array([prompt_id for prompt_id, _, _ in known], pa.string()),
        "option_order": pa.array([order for _, order, _ in known], pa.int32()),
        "semantic_type": pa.array([TYPE_OPTIONS[s.index(max(s))] for s in scores], pa.string()),
    }
    for n, name in enumerate(TYPE_OPTIONS):
        data[f"{name}_score"] = pa.array([s[n] for s in scores], pa.float64())
    data["call_id"] = pa.array([answer.call_id for _, _, answer in known], pa.string())
    return pa.table(data)


@stage
def expand(
    meta: Mapping[str, Any],
    planned: Any,
    domains: Any,
    semantic_types: Any,
    models: Any,
    roles: Any,
    prices: Any,
) -> pa.Table:
    """New prompts for low-resource domains: one row per planned expansion, with the text drawn.

    ``planned`` needs expansion_id, domain, domains (list of slugs), semantic_type, parent_prompts
    (list of texts), attempt.
    """
    config = stage_config(meta)
    cast = read_roles(config, models, roles)
    model = cast.one("expander")
    taxonomy = {r["domain"]: r for r in _rows(domains)}
    definitions = {r["semantic_type"]: r["definition"] for r in _rows(semantic_types)}
    plans = _rows(planned)
    requests = questions.expand(model, plans, taxonomy, definitions, config.sampling)
    with asking(config, cast, prices) as inference:
        answers = inference.ask(requests, label="expand")
    known = [(plan, answer) for plan, (answer,) in _answered(plans, answers)]
    return pa.table(
        {
            "expansion_id": pa.array([p["expansion_id"] for p, _ in known], pa.string()),
            "prompt": pa.array([a.text.strip() for _, a in known], pa.string()),
            "finish_reason": pa.array([a.finish_reason for _, a in known], pa.string()),
            "expander": pa.array([model.model] * len(known), pa.string()),
            "call_id": pa.array([a.call_id for _, a in known], pa.string()),
        }
    )


def items_to_answer(prompts: Any, domains: Any, semantic_types: Any) -> list[Item]:
    """Rows with prompt_id, prompt, semantic_type and domains (list of slugs), with what these mean."""
    taxonomy = {r["domain"]: r for r in _rows(domains)}
    elicitations = {r["semantic_type"]: r["elicitation"] for r in _rows(semantic_types)}
    return [
        Item(
            prompt_id=r["prompt_id"],
            prompt=r["prompt"],
            semantic_type=r["semantic_type"],
            elicitation=elicitations[r["semantic_type"]],
            domains=tuple(taxonomy[d] for d in r["domains"]),
        )
        for r in _rows(prompts)
    ]


@stage
def sample_responses(
    meta: Mapping[str, Any],
    prompts: Any,
    domains: Any,
    semantic_types: Any,
    reasons: Any,
    models: Any,
    roles: Any,
    prices: Any,
) -> pa.Table:
    """Two-stage rejection sampling: every draw ever made, with round, verdicts and reason.

    ``prompts`` needs prompt_id, prompt, semantic_type, domains (list of slugs, one per dimension).
    """
    config = stage_config(meta)
    cast = read_roles(config, models, roles)
    cast.check_separation(allow=config.allow_judge_as_responder)
    judge = cast.one("judge")
    items = items_to_answer(prompts, domains, semantic_types)
    with asking(config, cast, prices) as inference:
        sampler = Sampler(
            inference,
            judge,
            {r["rejection_reason"]: r["feedback"] for r in _rows(reasons)},
            sampling=config.sampling,
            candidates=config.candidates_per_side,
            rounds=config.resampling_rounds,
            bars=config.bars,
            limits=config.limits,
            orders=config.orders(config.judge_option_orders),
        )
        draws = sampler.run(items, cast.all("responder"))
    shared = {m.model: same_checkpoint(m, judge) for m in cast.all("responder")}
    rows = [
        {**asdict(d), "judge": judge.model, "judge_is_responder": shared[d.responder]}
        for d in draws
    ]
    return pa.Table.from_pylist(rows, DRAW)


_VERDICTS = pa.schema(
    [
        ("model", pa.string()),
        ("response_id", pa.string()),
        ("dimension", pa.string()),
        ("option_order", pa.int32()),
        ("p_misaligned", pa.float64()),
        ("call_id", pa.string()),
    ]
)


@stage
def verdicts(
    meta: Mapping[str, Any], responses: Any, models: Any, roles: Any, prices: Any
) -> pa.Table:
    """What every model under test says of every response: overall and in each labelled dimension.

    ``responses`` needs response_id, prompt, response, dimensions (list). The model sees prompt and
    response only. Returns one row per (model, response_id, dimension, option_order) with
    ``p_misaligned``, the probability when the options were listed in that order.
    """
    config = stage_config(meta)
    cast = read_roles(config, models, roles)
    items = _rows(responses)
    keys = [
        (item["response_id"], dimension)
        for item in items
        for dimension in questions.verdict_dimensions(item)
    ]
    orders = config.orders(config.verdict_option_orders)
    columns: dict[str, list[Any]] = {k: [] for k in _VERDICTS.names}
    with asking(config, cast, prices) as inference:
        for model in cast.all("model_under_test"):
            requests = [r for item in items for r in questions.verdict(model, item, orders)]
            answers = inference.ask(requests, label="verdicts")
            by_question = questions.by_question(requests, answers)
            for (response_id, dimension), (in_orders,) in _answered(keys, by_question):
                for order, answer in in_orders:
                    columns["model"].append(model.model)
                    columns["response_id"].append(response_id)
                    columns["dimension"].append(dimension)
                    columns["option_order"].append(order)
                    columns["p_misaligned"].append(yes_probability(answer))
                    columns["call_id"].append(answer.call_id)
    return pa.table(columns, schema=_VERDICTS)
