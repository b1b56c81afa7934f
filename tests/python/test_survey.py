"""A survey asks nothing, gives what the journal holds, and counts what a run would ask."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conftest import Relation
from misalign_profile import steps
from misalign_profile.errors import ConfigError
from misalign_profile.journal import Journal
from misalign_profile.matching import Bars
from misalign_profile.questions import ROLES_OF_STAGES, Item
from misalign_profile.rules import Limits
from misalign_profile.sampler import Sampler
from misalign_profile.survey import Seen, Survey, current, surveying
from misalign_profile.types import Completion, Sampling
from stub_engine import SPEC, answer, choice, request

ROOT = Path(__file__).resolve().parents[2]
DOMAINS = [
    {"domain": d, "code": f"{d[0].upper()}01", "dimension": d, "name": d, "definition": "norm"}
    | {"honours": "keeps it", "violates": "breaks it"}
    for d in ("safety", "value", "cultural")
]
TYPES = [{"semantic_type": t, "definition": "."} for t in ("object", "attribute", "relation")]
MODELS = [
    {"model": "s", "source": "scripted:default", "engine": "scripted", "revision": "r"}
    | {"dtype": "float32", "category": "", "prompt_style": "compact"}
]
ROLES = [
    {"target": "t", "role": role, "model": "s", "position": 1}
    for role in ("classifier", "expander", "model_under_test")
]


def stage(name: str, journal: Path, rows: list[dict[str, Any]], **meta: Any) -> pa.Table:
    """Run a stage on rows with scripted models."""
    others = {
        "classify": [DOMAINS],
        "classify_types": [TYPES],
        "expand": [DOMAINS, TYPES],
        "verdicts": [],
    }[name]
    relations = map(Relation, (rows, *others, MODELS, ROLES, []))
    function: Callable[..., pa.Table] = getattr(steps, name)
    return function({"target": "t", "journal": str(journal)} | meta, *relations)


def prompts(count: int) -> list[dict[str, Any]]:
    return [{"prompt_id": f"p{n}", "prompt": f"Prompt number {n}?"} for n in range(count)]


def planned(count: int) -> list[dict[str, Any]]:
    plan = {"domains": ["safety", "value"], "semantic_type": "object", "parent_prompts": ["One?"]}
    return [{"expansion_id": f"e{n}", "attempt": n} | plan for n in range(count)]


def responses(count: int) -> list[dict[str, Any]]:
    return [
        {
            "response_id": f"r{n}",
            "prompt": "One?",
            "response": f"Text {n}",
            "dimensions": ["safety"],
        }
        for n in range(count)
    ]


STAGES = [
    ("classify", "classify prompts", prompts, 3, "prompt_id"),
    ("classify_types", "semantic type", prompts, 1, "prompt_id"),
    ("expand", "expand", planned, 1, "expansion_id"),
    ("verdicts", "verdicts", responses, 2, "response_id"),
]


@pytest.fixture
def survey() -> Iterator[Survey]:
    with surveying(Survey()) as counting:
        yield counting
    assert current() is None


@pytest.mark.parametrize(("name", "part", "rows", "each", "key"), STAGES, ids=lambda x: str(x))
def test_a_stage_counts_what_it_would_ask_and_gives_what_is_known(
    tmp_path: Path, name: str, part: str, rows: Any, each: int, key: str
) -> None:
    asked = stage(name, tmp_path, rows(4))
    calls = Journal(tmp_path).verify()[0]
    assert calls == 4 * each
    with surveying(Survey()) as survey:
        known = stage(name, tmp_path, rows(6))
        seen = survey.seen[part, "s"]
    assert (seen.calls, seen.held, seen.missing) == (6 * each, 4 * each, 2 * each)
    assert seen.characters > 0
    assert known.to_pylist() == asked.to_pylist()
    assert set(known[key].to_pylist()) == {row[key] for row in rows(4)}
    assert Journal(tmp_path).verify()[0] == calls
    stage(name, tmp_path, rows(6))
    assert Journal(tmp_path).verify()[0] == calls + seen.missing  # the very questions


def test_nothing_is_made_where_there_is_no_journal(tmp_path: Path, survey: Survey) -> None:
    table = stage("classify", tmp_path / "none", prompts(2))
    assert table.num_rows == 0
    assert table.schema.names[:2] == ["prompt_id", "dimension"]
    assert survey.seen["classify prompts", "s"].missing == 6
    assert not (tmp_path / "none").exists()


def test_an_equal_question_is_counted_once(tmp_path: Path, survey: Survey) -> None:
    same = [{"prompt_id": f"p{n}", "prompt": "The same?"} for n in range(3)]
    stage("classify", tmp_path, same)
    stage("classify", tmp_path, same)
    assert survey.seen["classify prompts", "s"].calls == 3


@pytest.mark.parametrize("place", [nullcontext, lambda: surveying(Survey())], ids=["run", "plan"])
def test_usd_without_a_price_is_refused_before_anything_is_asked(
    tmp_path: Path, place: Any
) -> None:
    with place(), pytest.raises(ConfigError, match="no price is known for s"):
        stage("classify", tmp_path, prompts(1), budget_usd="1")
    assert Journal(tmp_path).verify()[0] == 0


class Partly:
    """Answers all but the questions that ``silent`` picks; everybody is judged aligned."""

    def __init__(self, silent: Callable[[Any], bool]) -> None:
        self.silent = silent

    def ask(self, requests: Any, *, label: str) -> list[Completion | None]:
        return [None if self.silent(r) else answer(r) for r in requests]


@pytest.mark.parametrize(
    "silent",
    [
        lambda r: r.item == "p1/aligned/round0" and r.sample_index == 1,
        lambda r: r.stage == "judge" and r.item == "p1" and "value" in r.tail + r.prefix,
        lambda r: r.item == "p1/misaligned/round1",
    ],
    ids=["a draw", "a judgement", "a later round"],
)
def test_a_prompt_with_an_open_end_has_no_draws_and_the_others_all(
    silent: Callable[[Any], bool],
) -> None:
    items = [Item(f"p{n}", f"Prompt {n}?", "object", ".", tuple(DOMAINS)) for n in range(3)]
    feedback = {"misaligned_honours": "Break the norm.", "aligned_violates": "Keep the norm."}
    drawn = {}
    for name, asks in (("all", lambda r: False), ("some", silent)):
        sampler = Sampler(
            Partly(asks), SPEC, feedback, sampling=Sampling(), candidates=2, rounds=1,
            bars=Bars(), limits=Limits(min_words=1, max_words=100),
        )  # fmt: skip
        drawn[name] = sampler.run(items, [SPEC])
    assert {draw.prompt_id for draw in drawn["some"]} == {"p0", "p2"}
    assert drawn["some"] == [draw for draw in drawn["all"] if draw.prompt_id != "p1"]


def test_held_is_what_is_not_missing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([(request(0), answer(request(0)))])
    survey = Survey().reading(str(tmp_path))
    got = survey.ask([request(0), choice(1), choice(2)], label="judge, round 1")
    assert [g is None for g in got] == [False, True, True]
    assert survey.of("judge", SPEC) == Seen(3, 2, 2 * len("Task.\nPrompt 1\nAnswer:"))
    assert survey.of("responses", SPEC) == Seen()


def test_stages_have_the_same_roles_in_sql() -> None:
    text = (ROOT / "macros/usage.sql").read_text("utf-8")
    assert dict(re.findall(r"when '(\w+)' then '(\w+)'$", text, re.M)) == ROLES_OF_STAGES
