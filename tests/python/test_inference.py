"""Asking once: what the journal holds is not asked again, and what was asked is held."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from misalign_profile.errors import EngineError
from misalign_profile.inference import Inference, Progress
from misalign_profile.journal import Journal
from misalign_profile.types import Completion, ModelSpec, Request
from stub_engine import SPEC, Stub, StubEngine, answer, choice, request

OTHER = ModelSpec("other", "stub:two")
THIRD = ModelSpec("third", "stub:three")


def ask(folder: Path, stub: Stub, questions: Sequence[Request], **options: int) -> list[Completion]:
    with Inference(Journal(folder), opener=stub, **options) as inference:
        return inference.ask(questions, label="test")


def test_asks_only_what_is_missing_each_once_and_answers_in_order(tmp_path: Path) -> None:
    questions = [request(n) for n in range(7)]
    ask(tmp_path, Stub(), [questions[5], questions[2]])
    stub = Stub(lambda q: answer(q, q.body))
    answers = ask(tmp_path, stub, questions[::-1])
    assert [a.call_id for a in answers] == [q.call_id for q in questions[::-1]]
    assert [a.text for a in answers if a.text.startswith("Prompt")] == [
        q.body for q in questions[::-1] if q not in (questions[5], questions[2])
    ]
    assert stub.asked == [q for q in questions[::-1] if q not in (questions[5], questions[2])]


def test_equal_requests_are_asked_once_and_all_answered(tmp_path: Path) -> None:
    stub = Stub(lambda q: answer(q, q.body))
    questions = [request(0), request(1), request(0), request(0)]
    texts = [a.text for a in ask(tmp_path, stub, questions)]
    assert texts == ["Prompt 0\n", "Prompt 1\n", "Prompt 0\n", "Prompt 0\n"]
    assert stub.asked == questions[:2]


def test_two_names_of_one_checkpoint_are_asked_once(tmp_path: Path) -> None:
    stub = Stub()
    ask(tmp_path, stub, [request(0), request(0, model=replace(SPEC, model="second name"))])
    assert len(stub.asked) == 1
    assert stub.opened == ["stub"]


def test_nothing_missing_opens_no_engine(tmp_path: Path) -> None:
    ask(tmp_path, Stub(), [request(0), choice(1)])
    stub = Stub()
    assert len(ask(tmp_path, stub, [choice(1), request(0)])) == 2
    assert ask(tmp_path, stub, []) == []
    assert stub.opened == []


def test_an_engine_stays_open_between_questions_and_closes_at_the_end(tmp_path: Path) -> None:
    stub = Stub()
    with Inference(Journal(tmp_path), opener=stub) as inference:
        inference.ask([request(0)], label="test")
        inference.ask([choice(1)], label="test")
        assert stub.opened == ["stub"]
        assert stub.closed == []
    assert stub.closed == ["stub"]


@pytest.mark.parametrize(("resident", "most"), [(1, 1), (2, 2), (5, 3)])
def test_no_more_engines_stay_open_than_allowed(tmp_path: Path, resident: int, most: int) -> None:
    stub, open_at_once = Stub(), []

    def reply(question: Request) -> Completion:
        open_at_once.append(len(stub.opened) - len(stub.closed))
        return answer(question)

    stub.reply = reply
    questions = [request(n, model=m) for n in range(3) for m in (SPEC, OTHER, THIRD)]
    ask(tmp_path, stub, questions, resident=resident)
    assert max(open_at_once) == most
    assert stub.opened == ["stub", "other", "third"]  # grouped: none is opened twice
    assert sorted(stub.closed) == sorted(stub.opened)


def test_engines_close_when_one_breaks(tmp_path: Path) -> None:
    def reply(question: Request) -> Completion:
        raise EngineError("broken")

    stub = Stub(reply)
    with pytest.raises(EngineError):
        ask(tmp_path, stub, [request(0)])
    assert stub.closed == ["stub"]


def test_a_batch_is_on_disk_before_the_next_one_starts(tmp_path: Path) -> None:
    on_disk: list[int] = []

    def reply(question: Request) -> Completion:
        on_disk.append(Journal(tmp_path).verify()[0])
        return answer(question)

    ask(tmp_path, Stub(reply, size=2), [request(n) for n in range(6)])
    assert on_disk == [0, 0, 2, 2, 4, 4]


def test_what_came_before_a_break_is_not_asked_again(tmp_path: Path) -> None:
    def reply(question: Request) -> Completion:
        if question.item == "item3":
            raise EngineError("broken")
        return answer(question)

    questions = [request(n) for n in range(6)]
    with pytest.raises(EngineError):
        ask(tmp_path, Stub(reply, size=2), questions)
    again = Stub()
    ask(tmp_path, again, questions)
    assert again.asked == questions[2:]


class Forgetful(StubEngine):
    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        yield from super().generate(requests[1:])


def test_a_forgotten_answer_is_an_error_and_the_others_are_kept(tmp_path: Path) -> None:
    def forgetful(model: ModelSpec, *, batch_tokens: int) -> Forgetful:
        return Forgetful(Stub(), model.model)

    questions = [request(n) for n in range(3)]
    with (
        pytest.raises(EngineError, match=r"1 of 3 calls got no answer \[stub\]"),
        Inference(Journal(tmp_path), opener=forgetful) as inference,
    ):
        inference.ask(questions, label="test")
    again = Stub()
    ask(tmp_path, again, questions)
    assert again.asked == questions[:1]


@pytest.mark.parametrize(
    "wrong",
    [
        Completion("of nobody", option_logprobs=(-1.0, -1.0)),
        Completion(choice(0).call_id, option_logprobs=(-1.0,)),
        Completion(choice(0).call_id, option_logprobs=(-1.0, float("nan"))),
        Completion(choice(0).call_id, text="yes"),
    ],
    ids=["another call", "an option short", "not a number", "text"],
)
def test_an_answer_that_is_none_is_refused_and_not_recorded(
    tmp_path: Path, wrong: Completion
) -> None:
    with pytest.raises(EngineError, match="stub"):
        ask(tmp_path, Stub(lambda _: wrong), [choice(0)])
    assert Journal(tmp_path).verify() == (0, [])


def test_many_segments_are_merged_at_the_end(tmp_path: Path) -> None:
    questions = [request(n) for n in range(70)]
    ask(tmp_path, Stub(size=1), questions)
    assert len(Journal(tmp_path).segments()) == 1
    again = Stub()
    ask(tmp_path, again, questions)
    assert again.asked == []


def test_progress_ends_with_all_calls_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("judge [m]", 1200, every=1000)
    for _ in range(3):
        progress.advance(400)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "judge [m]: 1,200/1,200 calls" in lines[0]


def test_two_stages_of_one_process_do_not_hold_engines_at_once(tmp_path: Path) -> None:
    holding: list[int] = []
    now = 0

    def reply(question: Request) -> Completion:
        nonlocal now
        now += 1
        holding.append(now)
        time.sleep(0.01)
        now -= 1
        return answer(question)

    def stage(number: int) -> None:
        questions = [request(number * 100 + n) for n in range(5)]
        with Inference(Journal(tmp_path), opener=Stub(reply)) as inference:
            inference.ask(questions, label=f"stage {number}")

    threads = [threading.Thread(target=stage, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holding == [1] * 15
