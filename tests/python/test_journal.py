"""The record of model calls: what goes in comes out, and no trouble loses or invents a call."""

from __future__ import annotations

import math
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal_fixtures import filled, ids, script
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.types import Completion
from stub_engine import Stub, answer, choice, request

# What goes in comes out


@pytest.mark.parametrize(
    "text", ["", "plain", "\U0001f642 \u0645\u0631\u062d\u0628\u0627", "a\0b\r\n", "{{ x }}"]
)
def test_an_answer_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    drawn, chosen = request(1), choice(2)
    told = Completion(drawn.call_id, text, (), "length", 7, 3, 5, 0.25, 2)
    scored = Completion(chosen.call_id, "", (-0.1, -math.inf), "choice", 7)
    Journal(tmp_path).append([(drawn, told), (chosen, scored)])
    known = Journal(tmp_path).known([chosen.call_id, drawn.call_id, "of nobody"])
    assert known == {drawn.call_id: told, chosen.call_id: scored}
    assert Journal(tmp_path).verify() == (2, [])


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(categories=None), max_size=8), st.text(max_size=8))
def test_any_text_comes_back(tmp_path_factory: Any, text: str, body: str) -> None:
    folder = tmp_path_factory.mktemp("journal")
    question = request(body=body)
    told = Completion(question.call_id, text)
    Journal(folder).append([(question, told)])
    assert Journal(folder).known([question.call_id]) == {question.call_id: told}
    assert Journal(folder).verify() == (1, [])


def test_half_a_surrogate_pair_becomes_a_replacement_character_and_stops_nothing(
    tmp_path: Path,
) -> None:
    question = request(body="half \ud83d here")
    told = Completion(question.call_id, "\udfff and a pair \ud83d\ude42")
    assert question.body == "half \ufffd here"
    assert told.text == "\ufffd and a pair \U0001f642"
    Journal(tmp_path).append([(question, told)])
    assert Journal(tmp_path).known([question.call_id]) == {question.call_id: told}


def test_an_empty_journal_knows_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "made" / "on demand")
    assert journal.known(ids(1)) == {}
    assert journal.verify() == (0, [])
    assert journal.compact(at_least=1) == 0


def test_of_doubles_the_earliest_answer_counts_before_and_after_compaction(tmp_path: Path) -> None:
    journal, question = Journal(tmp_path), request(0)
    journal.append([(question, answer(question, "first"))])
    journal.append([(request(1), answer(request(1)))])
    journal.compact(at_least=2)  # its name sorts after those of later segments
    journal.append([(question, answer(question, "second"))])
    assert journal.known(ids(1))[question.call_id].text == "first"
    journal.compact(at_least=2)
    assert journal.known(ids(1))[question.call_id].text == "first"
    assert journal.verify() == (2, [])


# Compaction


def test_compaction_keeps_every_call(tmp_path: Path) -> None:
    journal = filled(tmp_path, 9)
    before = journal.known(ids(9))
    assert journal.compact(at_least=10) == 0
    assert journal.compact() == 9
    assert len(journal.segments()) == 1
    assert journal.known(ids(9)) == before
    assert journal.verify() == (9, [])


def test_a_crash_while_old_segments_go_leaves_doubles_that_collapse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = filled(tmp_path, 4)
    before = journal.known(ids(4))
    true, gone = Path.unlink, []

    def crash(self: Path, missing_ok: bool = False) -> None:
        if gone:
            raise KeyboardInterrupt
        gone.append(self)
        true(self, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", crash)
        with pytest.raises(KeyboardInterrupt):
            journal.compact(at_least=2)
    assert len(journal.segments()) == 4  # three old ones and the merged one
    assert journal.known(ids(4)) == before
    assert journal.verify() == (7, [])
    journal.compact(at_least=2)
    assert journal.known(ids(4)) == before
    assert journal.verify() == (4, [])


def test_kills_while_segments_are_merged_lose_no_call(tmp_path: Path) -> None:
    code = (
        "journal = Journal(sys.argv[1])\n"
        "for n in range(int(sys.argv[2]), 100000):\n"
        "    journal.append([(request(n), answer(request(n)))])\n"
        "    print(n, flush=True)\n"
        "    journal.compact(at_least=2)"
    )
    journal, told, moments = Journal(tmp_path), 0, random.Random(3)
    for _ in range(6):
        run = script(code, str(tmp_path), str(told))
        assert run.stdout is not None
        first = run.stdout.readline()
        time.sleep(moments.uniform(0, 0.3))
        run.kill()
        told = int((first + run.communicate()[0]).split()[-1]) + 1
        assert journal.known(ids(told)).keys() >= set(ids(told))
        assert journal.verify()[1] == []
    journal.compact(at_least=1)
    assert len(journal.segments()) == 1
    assert journal.verify()[0] - told in (0, 1)  # recorded, killed before it was said


def test_only_one_process_compacts(tmp_path: Path) -> None:
    journal = filled(tmp_path, 3)
    holder = script(
        "import fcntl; f = open(sys.argv[1] + '/.lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()",
        str(tmp_path),
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert journal.compact(at_least=2) is None
        assert len(journal.segments()) == 3
    finally:
        holder.kill()
        holder.communicate()
    assert journal.compact(at_least=2) == 3


def test_nothing_is_merged_while_another_run_holds_the_journal(tmp_path: Path) -> None:
    journal = filled(tmp_path, 3)
    run = script(
        "from misalign_profile.inference import Inference\n"
        "with Inference(Journal(sys.argv[1]), opener=Stub()) as inference:\n"
        "    inference.ask([request(0)], label='test')\n"
        "print(Journal(sys.argv[1]).compact(at_least=4), flush=True)\n"  # too few: it lets go of nothing
        "sys.stdin.read()",
        str(tmp_path),
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "0\n"
        assert journal.compact(at_least=2) is None  # its SQL may be about to read them
        assert len(journal.segments()) == 3
    finally:
        run.kill()
        run.communicate()
    assert journal.compact(at_least=2) == 3


def test_the_run_that_is_alone_merges_what_it_holds(tmp_path: Path) -> None:
    journal = filled(tmp_path, 3)
    with Inference(journal, opener=Stub()) as inference:
        inference.ask([request(0)], label="test")
    assert journal.compact(at_least=2) == 3
    with Inference(Journal(tmp_path / "other"), opener=Stub()):
        pass  # holds the other journal now, and no longer the first
    child = script("print(Journal(sys.argv[1]).compact(at_least=1))", str(tmp_path))
    assert child.communicate()[0] == "1\n"


def test_segments_that_are_compacted_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = filled(tmp_path)
    stale = journal.segments()
    Journal(tmp_path).compact(at_least=2)
    listed = iter([stale])
    true = Journal.segments
    monkeypatch.setattr(Journal, "segments", lambda self: next(listed, None) or true(self))
    assert len(journal.known(ids(3))) == 3


# Several writers


def test_two_journals_of_one_folder_see_each_others_calls(tmp_path: Path) -> None:
    one, two = Journal(tmp_path), Journal(tmp_path)
    one.append([(request(0), answer(request(0)))])
    two.append([(request(1), answer(request(1)))])
    assert one.known(ids(2)).keys() == two.known(ids(2)).keys() == set(ids(2))
    assert one.run_id != two.run_id


def test_two_processes_append_while_a_third_compacts_and_nothing_is_lost(tmp_path: Path) -> None:
    code = (
        "journal = Journal(sys.argv[1])\n"
        "for n in range(int(sys.argv[2]), 60, 2):\n"
        "    journal.append([(request(n), answer(request(n), f'text {n}'))])"
    )
    writers = [script(code, str(tmp_path), str(start)) for start in (0, 1)]
    journal, reads = Journal(tmp_path), []
    while any(w.poll() is None for w in writers):
        journal.compact(at_least=3)
        reads.append(len(journal.known(ids(60))))
    assert [w.wait() for w in writers] == [0, 0]
    for writer in writers:
        writer.communicate()
    assert reads == sorted(reads)
    known = journal.known(ids(60))
    assert [known[i].text for i in ids(60)] == [f"text {n}" for n in range(60)]
    assert journal.verify()[1] == []


def test_a_killed_run_asks_at_most_one_batch_again(tmp_path: Path) -> None:
    code = (
        "from misalign_profile.inference import Inference\n"
        "def reply(question):\n"
        "    print(question.call_id, flush=True)\n"
        "    return answer(question)\n"
        "stub = Stub(reply, size=4, seconds=0.02)\n"
        "with Inference(Journal(sys.argv[1]), opener=stub) as inference:\n"
        "    inference.ask([request(n) for n in range(400)], label='slow')"
    )
    run = script(code, str(tmp_path))
    end = time.monotonic() + 20
    while len(Journal(tmp_path).segments()) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    printed = run.communicate()[0].split()
    assert run.returncode == -signal.SIGKILL
    again = Stub()
    with Inference(Journal(tmp_path), opener=again) as inference:
        inference.ask([request(n) for n in range(400)], label="again")
    twice = set(printed) & {q.call_id for q in again.asked}
    assert len(printed) >= 12
    assert len(twice) <= 4
    assert len(set(printed) | {q.call_id for q in again.asked}) == 400
    assert Journal(tmp_path).verify()[1] == []
