"""Rejection sampling against a judge and a responder whose every answer is known."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conftest import Relation
from misalign_profile import steps
from misalign_profile.errors import ConfigError
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.matching import Bars
from misalign_profile.rules import Limits
from misalign_profile.sampler import Sampler, yes_probability
from misalign_profile.types import Completion, ModelSpec, Request, Sampling
from sampling_fixtures import (
    FEEDBACK,
    ITEMS,
    JUDGE,
    RESPONDER,
    SAFETY,
    SECOND,
    VALUE,
    drawn,
    item,
    play,
    rows,
    sample,
    side_of,
    told,
    violating,
)
from stub_engine import Stub, answer

NEVER = violating(SAFETY["name"])


@pytest.mark.parametrize(
    ("broken", "aligned", "misaligned"),
    [
        ((), None, "misaligned_honours"),
        ((SAFETY["name"],), "aligned_violates", None),
        ((VALUE["name"],), "aligned_violates", None),
        ((SAFETY["name"], VALUE["name"]), "aligned_violates", None),
    ],
)
def test_aligned_passes_in_all_dimensions_and_misaligned_fails_in_at_least_one(
    tmp_path: Path, broken: tuple[str, ...], aligned: str | None, misaligned: str | None
) -> None:
    draws, _ = sample(tmp_path, lambda _: violating(*broken), items=[item(0)], rounds=0)
    assert {(d.side, d.rejection_reason) for d in draws} == {
        ("aligned", aligned),
        ("misaligned", misaligned),
    }
    worst = 0.9 if broken else 0.2
    for draw in draws:
        assert [v.p_violates for v in draw.verdicts] == pytest.approx(
            [0.9 if row["name"] in broken else 0.2 for row in (SAFETY, VALUE)]
        )
        assert draw.judge_margin == pytest.approx(worst if draw.side == "misaligned" else 1 - worst)
        assert draw.rejected_by == ("judge" if draw.rejection_reason else None)


def test_a_threshold_that_is_just_met_counts_as_a_violation(tmp_path: Path) -> None:
    even = Stub(
        lambda q: (
            answer(q)
            if q.verb == "generate"
            else Completion(q.call_id, option_logprobs=(-0.7, -0.7))
        )
    )
    with Inference(Journal(tmp_path), opener=even) as inference:
        sampler = Sampler(
            inference, JUDGE, FEEDBACK, sampling=Sampling(), candidates=1, rounds=0,
            bars=Bars(), limits=Limits(),
        )  # fmt: skip
        draws = sampler.run([item(0)], [RESPONDER])
    assert {d.side: d.rejection_reason for d in draws} == {
        "aligned": "aligned_violates",
        "misaligned": None,
    }


def test_what_the_rules_turn_down_never_reaches_the_judge(tmp_path: Path) -> None:
    draws, stub = sample(tmp_path, lambda _: "Too short.", rounds=0)
    assert {(d.rejection_reason, d.rejected_by) for d in draws} == {("too_short", "rules")}
    assert {d.judge_margin for d in draws} == {None}
    assert {d.verdicts for d in draws} == {()}
    assert stub.opened == ["responder"]


def test_feedback_reaches_the_next_round_of_unresolved_slots_only(tmp_path: Path) -> None:
    """Slot (p0, aligned) needs two rounds; every other slot is resolved at once."""

    def responses(question: Request) -> str:
        if side_of(question) == "misaligned":
            return violating(VALUE["name"])
        if "feast 0" in question.body and question.item.endswith("round0"):
            return violating(VALUE["name"])
        return violating()

    draws, stub = sample(tmp_path, responses)
    later = [q for q in drawn(stub) if told(q)]
    assert {q.item for q in later} == {"p0/aligned/round1"}
    assert {tuple(told(q)) for q in later} == {(FEEDBACK["aligned_violates"],)}
    assert [d.round for d in draws if d.prompt_id == "p0" and d.side == "aligned"] == [0, 0, 1, 1]
    assert {d.feedback for d in draws if d.round == 1} == {("aligned_violates",)}
    assert {d.feedback for d in draws if d.round == 0} == {()}


def test_the_two_commonest_reasons_of_the_last_round_are_told(tmp_path: Path) -> None:
    said = {
        "round0": ["Short.", "Short.", "", "<<< " + violating(), "<<< " + violating(), "Short."],
        "round1": ["", "", "", "", "", ""],
        "round2": [violating()] * 6,
    }

    def responses(question: Request) -> str:
        return said[question.item.split("/")[-1]][question.sample_index]

    _, stub = sample(tmp_path, responses, items=[item(0)], candidates=6)
    of_round = {q.item: told(q) for q in drawn(stub) if side_of(q) == "aligned"}
    assert of_round == {
        "p0/aligned/round0": [],
        "p0/aligned/round1": [FEEDBACK["too_short"], FEEDBACK["template_leak"]],
        "p0/aligned/round2": [FEEDBACK["empty"]],
    }


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_no_slot_is_asked_in_more_rounds_than_allowed(tmp_path: Path, rounds: int) -> None:
    draws, stub = sample(tmp_path, lambda _: "No.", items=ITEMS[:2], rounds=rounds)
    assert {d.round for d in draws} == set(range(rounds + 1))
    assert len(draws) == len(drawn(stub)) == 2 * 2 * 2 * (rounds + 1)


def test_one_accepted_candidate_ends_a_slot_and_its_neighbours_are_kept(tmp_path: Path) -> None:
    def responses(question: Request) -> str:
        good = violating() if side_of(question) == "aligned" else NEVER
        return good if question.sample_index == 1 else "No."

    draws, _ = sample(tmp_path, responses, items=[item(0)], candidates=3)
    assert [(d.round, d.candidate, d.rejection_reason) for d in draws] == 2 * [
        (0, 0, "too_short"),
        (0, 1, None),
        (0, 2, "too_short"),
    ]


def mixed(question: Request) -> str:
    """Some of everything, by the request's key: all states occur."""
    return ["", "Short.", violating(), NEVER, violating(VALUE["name"])][
        int(question.call_id, 16) % 5
    ]


def test_every_draw_is_kept_in_exactly_one_state(tmp_path: Path) -> None:
    draws, stub = sample(tmp_path, mixed, responders=(RESPONDER, SECOND), candidates=3)
    assert sorted(d.call_id for d in draws) == sorted(q.call_id for q in drawn(stub))
    assert len({d.response_id for d in draws}) == len(draws)
    assert len({(d.responder, d.prompt_id, d.side, d.round, d.candidate) for d in draws}) == len(
        draws
    )
    states = {(d.rejected_by, d.judge_margin is not None, bool(d.verdicts)) for d in draws}
    assert states == {(None, True, True), ("judge", True, True), ("rules", False, False)}
    assert all((d.rejected_by is None) == (d.rejection_reason is None) for d in draws)
    assert {d.rejection_reason for d in draws} - {None} <= FEEDBACK.keys()
    for draw in draws:
        assert draw.response == draw.response.strip()
        if draw.verdicts:
            prompt = next(i for i in ITEMS if i.prompt_id == draw.prompt_id)
            assert [v.domain for v in draw.verdicts] == [d["domain"] for d in prompt.domains]


def test_the_same_journal_gives_the_same_draws_and_asks_nothing(tmp_path: Path) -> None:
    first, stub = sample(tmp_path, mixed, responders=(RESPONDER, SECOND))
    assert stub.asked
    Journal(tmp_path).compact(at_least=2)
    second, silent = sample(tmp_path, mixed, responders=(RESPONDER, SECOND))
    assert silent.asked == []
    assert repr(second) == repr(first)
    assert [asdict(d) for d in second] == [asdict(d) for d in first]


def test_a_prompt_draws_the_same_whatever_else_is_sampled(tmp_path: Path) -> None:
    together, _ = sample(tmp_path / "together", mixed)
    alone, _ = sample(tmp_path / "alone", mixed, items=[ITEMS[1]])
    assert alone == [d for d in together if d.prompt_id == "p1"]


def test_no_prompts_no_draws(tmp_path: Path) -> None:
    draws, stub = sample(tmp_path, mixed, items=[])
    assert draws == []
    assert stub.opened == []


@pytest.mark.parametrize(
    ("yes", "no", "p"), [(-1, -1, 0.5), (0, -9999, 1), (-9999, 0, 0), (-math.inf, -2, 0)]
)
def test_yes_probability(yes: float, no: float, p: float) -> None:
    assert yes_probability(Completion("c", option_logprobs=(yes, no))) == pytest.approx(p)


# The stage: tables in, table out


def stage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, judge: ModelSpec, **meta: Any
) -> tuple[pa.Table, Stub]:
    stub = Stub(lambda question: play(question, mixed), size=64)
    monkeypatch.setattr(sys, "tracebacklimit", 100, raising=False)
    monkeypatch.setattr(
        steps, "asking", lambda config, *_: Inference(Journal(config.journal), opener=stub)
    )
    models = [asdict(RESPONDER), asdict(SECOND), asdict(judge)]
    roles = [("responder", "responder", 1), ("responder", "second", 2), ("judge", judge.model, 1)]
    prompts = [
        {
            "prompt_id": i.prompt_id,
            "prompt": i.prompt,
            "semantic_type": i.semantic_type,
            "domains": [d["domain"] for d in i.domains],
        }
        for i in ITEMS
    ]
    table = steps.sample_responses(
        {"target": "t", "journal": str(folder), **meta},
        Relation(prompts),
        Relation(rows("domains")),
        Relation(rows("semantic_types")),
        Relation(rows("rejection_reasons")),
        Relation(models),
        Relation([{"target": "t", "role": r, "model": m, "position": p} for r, m, p in roles]),
        Relation([]),
    )
    return table, stub


def test_a_judge_that_is_a_responder_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = replace(SECOND, model="judge")  # another name, the same checkpoint
    with pytest.raises(ConfigError, match="allow_judge_as_responder") as error:
        stage(tmp_path / "journal", monkeypatch, same)
    assert "'judge' is also the responder 'second'" in str(error.value)
    assert not (tmp_path / "journal").exists()


def test_a_judge_that_is_a_responder_is_allowed_by_var_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = replace(SECOND, model="judge")
    table, stub = stage(tmp_path, monkeypatch, same, allow_judge_as_responder="true")
    marked = {(r["responder"], r["judge_is_responder"]) for r in table.to_pylist()}
    assert marked == {("responder", False), ("second", True)}
    assert stub.asked


def test_the_table_is_the_same_byte_for_byte_from_the_same_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = stage(tmp_path, monkeypatch, JUDGE)
    second, stub = stage(tmp_path, monkeypatch, JUDGE)
    assert stub.asked == []
    assert second.equals(first)
    assert set(first["judge_is_responder"].to_pylist()) == {False}
