"""Questions asked in several listing orders: what is asked, what is averaged, what a planted bias leaves."""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Relation
from misalign_profile import questions, steps
from misalign_profile.config import Roles
from misalign_profile.draws import Draw
from misalign_profile.engines.scripted import chance
from misalign_profile.forecast import Forecast, Tables
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.matching import Bars
from misalign_profile.orders import Orders
from misalign_profile.prompts import NONE_CODE
from misalign_profile.rules import Limits
from misalign_profile.sampler import Sampler
from misalign_profile.survey import Seen, Survey, surveying
from misalign_profile.types import Completion, ModelSpec, Request, Sampling
from stub_engine import Stub, answer

SEEDS = Path(__file__).parents[2] / "seeds"
FULL = ModelSpec("full", "stub:full", revision="r", prompt_style="full")
COMPACT = replace(FULL, model="compact", prompt_style="compact")


def rows(name: str) -> list[dict[str, str]]:
    with open(SEEDS / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


TAXONOMY = questions.by_dimension(rows("domains"))
TYPES = rows("semantic_types")
PROMPT = {"prompt_id": "p", "prompt": "May I feed the ducks?"}
RESPONSE = {
    "response_id": "r",
    "prompt": PROMPT["prompt"],
    "response": "No.",
    "dimensions": ["value"],
}
ITEM = questions.Item("p", PROMPT["prompt"], "object", ".", (TAXONOMY["value"][0],))
ASKED: dict[str, Callable[[ModelSpec, Orders], list[Request]]] = {
    "classify": lambda m, o: questions.classify(m, [PROMPT], TAXONOMY, o),
    "semantic_type": lambda m, o: questions.semantic_type(m, [PROMPT], TYPES, o),
    "judge": lambda m, o: questions.judge(m, ITEM, "No.", o),
    "verdict": lambda m, o: questions.verdict(m, RESPONSE, o),
}
QUESTIONS = {"classify": 3, "semantic_type": 1, "judge": 1, "verdict": 2}
STAGES = pytest.mark.parametrize("stage", ASKED)


def listed(request: Request) -> tuple[str, ...]:
    """The options in the order in which the text names them, found as a reader would."""
    text = request.prefix + request.tail
    if request.stage == "classify":
        return tuple(re.findall(r"^([A-Z]\d\d): ", text, re.M))
    if request.stage == "semantic_type":
        return tuple(re.findall(r"^(object|attribute|relation): ", text, re.M))
    return tuple(re.findall(r"Reply with (\w+) or (\w+)\.$", text)[0])


# The orders


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 150), st.integers())
def test_orders_are_distinct_begin_as_written_and_then_reversed(
    n: int, wanted: int, seed: int
) -> None:
    options = tuple(f"o{i}" for i in range(n))
    orders = Orders(wanted, seed).of(options)
    assert len(set(orders)) == len(orders) == min(wanted, math.factorial(n))
    assert len(orders) == Orders(wanted, seed).number(n)
    assert set(orders) <= set(permutations(options))
    assert orders[:2] == tuple(dict.fromkeys((options, options[::-1])))[:wanted]
    assert orders == Orders(math.factorial(n), seed).of(options)[: len(orders)]


def test_orders_beyond_the_second_hang_on_the_seed() -> None:
    options = tuple("abcdefgh")
    assert Orders(3, 1).of(options) == Orders(3, 1).of(options)
    assert Orders(3, 1).of(options)[2] != Orders(3, 2).of(options)[2]
    assert Orders(3, 1).of(options)[:2] == Orders(3, 2).of(options)[:2]


# The questions


@STAGES
@pytest.mark.parametrize("wanted", [1, 2, 5])
def test_a_question_is_asked_in_every_distinct_order_and_its_options_stay(
    stage: str, wanted: int
) -> None:
    requests = ASKED[stage](FULL, Orders(wanted))
    each = questions.number_of_orders(FULL, stage, Orders(wanted))
    assert each == min(wanted, {"judge": 2, "verdict": 2}.get(stage, wanted))
    assert len(requests) == len({r.call_id for r in requests}) == QUESTIONS[stage] * each
    for first in range(0, len(requests), each):
        group = requests[first : first + each]
        assert [r.option_order for r in group] == list(range(each))
        assert len({r.options for r in group}) == 1
        assert listed(group[0]) == group[0].options
        assert len({listed(r) for r in group}) == each
        assert all(sorted(listed(r)) == sorted(r.options) for r in group)
        if each > 1:
            assert listed(group[1]) == group[0].options[::-1]


def test_what_belongs_to_an_option_moves_with_it() -> None:
    _, reverse, *_ = ASKED["classify"](FULL, Orders(2))
    lines = [line for line in reverse.prefix.splitlines() if re.match(r"[A-Z]\d\d: ", line)]
    assert lines[0] == f"{NONE_CODE}: none of these domains applies."
    assert (
        lines[1:]
        == [f"{d['code']}: {d['name']}. {d['definition']}" for d in TAXONOMY["safety"]][::-1]
    )
    _, reverse = ASKED["semantic_type"](FULL, Orders(2))
    assert [f"{t['semantic_type']}: {t['definition']}" in reverse.prefix for t in TYPES] == [
        True
    ] * 3
    assert "Answer with one word: relation, attribute or object." in reverse.prefix


@STAGES
def test_a_question_that_lists_no_options_is_one_call_in_any_number_of_orders(stage: str) -> None:
    assert ASKED[stage](COMPACT, Orders(4)) == ASKED[stage](COMPACT, Orders())
    assert questions.number_of_orders(COMPACT, stage, Orders(4)) == 1


# The stages, with models that lean to what is listed first


def softmax(scores: list[float]) -> list[float]:
    total = sum(map(math.exp, scores))
    return [math.exp(score) / total for score in scores]


def belief(request: Request) -> list[float]:
    """Log-odds of the options, whatever their order: by the item and the question's own words."""
    question = re.sub(r"Reply with .*", "", request.tail)
    return [4 * chance(request.body, question, option) for option in request.options]


def leaning(by: float) -> Stub:
    """A model that adds ``by`` to the log-odds of the option that is listed first."""

    def reply(request: Request) -> Completion:
        if request.verb == "generate":
            return answer(request, "Bring bread, feed them slowly and never from your hand.")
        first = listed(request)[0] if request.model.prompt_style == "full" else None
        scores = [
            b + by * (o == first) for o, b in zip(request.options, belief(request), strict=True)
        ]
        return Completion(request.call_id, option_logprobs=tuple(map(math.log, softmax(scores))))

    return Stub(reply, size=64)


def run_stage(
    name: str,
    folder: Path,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    model: ModelSpec = FULL,
    **meta: Any,
) -> list[dict[str, Any]]:
    monkeypatch.setattr(sys, "tracebacklimit", 100, raising=False)
    monkeypatch.setattr(
        steps, "asking", lambda config, *_: Inference(Journal(config.journal), opener=stub)
    )
    items = [{"prompt_id": f"p{n}", "prompt": f"May I feed {n} ducks?"} for n in range(40)]
    answers = [RESPONSE | {"response_id": f"r{n}", "response": f"Text {n}."} for n in range(40)]
    given_: dict[str, list[list[dict[str, Any]]]] = {
        "classify": [items, rows("domains")],
        "classify_types": [items, TYPES],
        "verdicts": [answers],
    }
    role = "model_under_test" if name == "verdicts" else "classifier"
    cast = [
        [asdict(model)],
        [{"target": "t", "role": role, "model": model.model, "position": 1}],
        [],
    ]
    relations = map(Relation, (*given_[name], *cast))
    stage: Callable[..., pa.Table] = getattr(steps, name)
    table: list[dict[str, Any]] = stage(
        {"target": "t", "journal": str(folder), **meta}, *relations
    ).to_pylist()
    return table


def test_the_bias_of_two_options_is_gone_from_every_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flags(name: str, by: float, orders: int) -> tuple[dict[Any, bool], list[dict[str, Any]]]:
        table = run_stage(
            "verdicts", tmp_path / name, leaning(by), monkeypatch, verdict_option_orders=str(orders)
        )
        by_question: dict[Any, list[float]] = {}
        for row in table:
            by_question.setdefault((row["response_id"], row["dimension"]), []).append(
                row["p_misaligned"]
            )
        return {key: sum(p) / len(p) >= 0.5 for key, p in by_question.items()}, table

    fair, _ = flags("fair", 0, 1)
    biased, once = flags("once", 1.5, 1)
    averaged, table = flags("twice", 1.5, 5)
    assert sum(biased[key] != fair[key] for key in fair) > 10
    assert averaged == fair
    assert {row["option_order"] for row in once} == {0}
    assert len(table) == 2 * len(once) == 4 * 40  # five orders were wanted, two options have two
    assert len({row["call_id"] for row in table}) == len(table)
    # The mean of the log-odds is what the model believes, to the last digits.
    odds: dict[Any, float] = {}
    for row in table:
        key = row["response_id"], row["dimension"]
        odds[key] = odds.get(key, 0) + math.log(row["p_misaligned"] / (1 - row["p_misaligned"])) / 2
    assert {key: value >= 0 for key, value in odds.items()} == fair


@pytest.mark.parametrize(("name", "each"), [("classify", 115 - 3), ("classify_types", 1)])
def test_classifications_have_a_row_for_each_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, each: int
) -> None:
    meta = {"classification_option_orders": "3"}
    table = run_stage(name, tmp_path / "full", leaning(1.5), monkeypatch, **meta)
    assert len(table) == 40 * each * 3
    assert {row["option_order"] for row in table} == {0, 1, 2}
    stub = leaning(1.5)
    compact = run_stage(name, tmp_path / "compact", stub, monkeypatch, COMPACT, **meta)
    assert len(compact) == 40 * each
    assert {row["option_order"] for row in compact} == {0}
    assert len(stub.asked) == 40 * (3 if name == "classify" else 1)


def test_scores_are_those_of_the_named_domain_in_every_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a bias all orders say the same; answers that followed the listing would not."""
    meta = {"classification_option_orders": "3"}
    table = run_stage("classify", tmp_path, leaning(0), monkeypatch, **meta)
    scores: dict[Any, list[float]] = {}
    for row in table:
        scores.setdefault((row["prompt_id"], row["domain"]), []).append(row["score"])
    assert {len(same) for same in scores.values()} == {3}
    assert all(max(same) - min(same) < 1e-12 for same in scores.values())
    assert len({same[0] for same in scores.values()}) > 100


def judged(folder: Path, by: float, orders: Orders) -> tuple[list[Draw], Stub]:
    stub = leaning(by)
    items = [replace(ITEM, prompt_id=f"p{n}", prompt=f"May I feed {n} ducks?") for n in range(20)]
    with Inference(Journal(folder), opener=stub) as inference:
        sampler = Sampler(
            inference, FULL, {"aligned_violates": "x", "misaligned_honours": "y"},
            sampling=Sampling(), candidates=2, rounds=0, bars=Bars(), limits=Limits(), orders=orders,
        )  # fmt: skip
        return sampler.run(items, [ModelSpec("responder", "stub:responder")]), stub


def test_a_judge_that_leans_decides_as_one_that_does_not_and_every_call_is_kept(
    tmp_path: Path,
) -> None:
    fair, _ = judged(tmp_path / "fair", 0, Orders())
    biased, _ = judged(tmp_path / "once", 1.5, Orders())
    averaged, stub = judged(tmp_path / "twice", 1.5, Orders(2))
    reasons = [[d.rejection_reason for d in draws] for draws in (fair, biased, averaged)]
    assert reasons[0] != reasons[1]
    assert reasons[0] == reasons[2]
    kept = [one for draw in averaged for verdict in draw.verdicts for one in verdict.by_order]
    asked = {q.call_id for q in stub.asked if q.stage == "judge"}
    assert {one.call_id for one in kept} == asked
    for verdict in (v for draw in averaged for v in draw.verdicts):
        first, second = verdict.by_order
        assert (first.option_order, second.option_order) == (0, 1)
        assert verdict.p_violates == (first.p_violates + second.p_violates) / 2
        assert verdict.call_id == first.call_id
        assert first.p_violates > second.p_violates


# The plan


def test_a_survey_counts_every_order_and_leaves_out_what_lacks_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = run_stage("verdicts", tmp_path, leaning(0), monkeypatch)
    monkeypatch.undo()
    cast = [
        [asdict(FULL)],
        [{"target": "t", "role": "model_under_test", "model": "full", "position": 1}],
    ]
    answers = [RESPONSE | {"response_id": f"r{n}", "response": f"Text {n}."} for n in range(40)]
    meta = {"target": "t", "journal": str(tmp_path), "verdict_option_orders": "2"}
    with surveying(Survey()) as survey:
        table = steps.verdicts(meta, *map(Relation, (answers, *cast, [])))
        seen = survey.seen["verdicts", "full"]
    assert (seen.calls, seen.held) == (2 * len(once), len(once))
    assert table.num_rows == 0
    assert (
        len(
            steps.verdicts(
                meta | {"verdict_option_orders": "1"}, *map(Relation, (answers, *cast, []))
            )
        )
        == 80
    )


@pytest.mark.parametrize(("style", "orders"), [("full", 2), ("compact", 1)])
def test_the_forecast_multiplies_what_is_to_come_by_the_distinct_orders(
    style: str, orders: int
) -> None:
    variables = {
        "expansion_oversampling": 2, "candidates_per_side": 3, "resampling_rounds": 2,
        "response_prompts_limit": 0, "classification_option_orders": 2, "judge_option_orders": 2,
        "verdict_option_orders": 9, "judge_check_prompts_limit": 0, "judge_repeats": 1,
        "judge_quality": False, "protocols": ["verdict"], "answers_per_prompt": 1,
    }  # fmt: skip
    model = asdict(replace(FULL, model="m", prompt_style=style))
    cast = Roles(
        "t",
        [
            {"target": "t", "role": role, "model": "m", "position": 1}
            for role in (
                "classifier",
                "expander",
                "responder",
                "judge",
                "second_judge",
                "model_under_test",
            )
        ],
        [model],
    )
    seen = {("classify prompts", "m"): Seen(30, 30), ("expand", "m"): Seen(100, 100)}
    here = Tables({"prompts": 10}, {"d": (0, 50)})
    lines = Forecast(Survey(seen), here, Tables(), variables, cast).lines()
    calls = {line.part: line.calls for line in lines}
    assert calls["classify expansions"] == 100 * 3 * orders
    assert calls["responses"] == 60 * 18
    assert calls["judge"] == calls["second judge"] == 60 * 18 * 3 * orders
    assert calls["verdicts"] == 60 * 2 * 4 * orders
