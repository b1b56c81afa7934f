"""The record of model calls: what goes in comes out, and no trouble loses or invents a call."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misalign_profile import journal as journal_module
from misalign_profile.errors import JournalError
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.types import Completion, Request, Sampling
from stub_engine import SPEC, Stub, answer, choice, request

HERE = Path(__file__).parent


def filled(folder: Path, calls: int = 3) -> Journal:
    """A journal with so many calls, a segment each."""
    journal = Journal(folder)
    for number in range(calls):
        question = request(number)
        journal.append([(question, answer(question, f"text {number}"))])
    return journal


def ids(calls: int) -> list[str]:
    return [request(number).call_id for number in range(calls)]


def one_line(error: pytest.ExceptionInfo[JournalError], folder: Path) -> str:
    line = str(error.value)
    assert "\n" not in line
    assert str(folder) in line
    return line


def script(code: str, *arguments: str) -> subprocess.Popen[str]:
    head = "import sys; from pathlib import Path; from stub_engine import *; "
    head += "from misalign_profile.journal import Journal\n"
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    command = [sys.executable, "-c", head + code, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


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


# The key

MODEL = [
    ("source", "other"),
    ("revision", "other"),
    ("engine", "other"),
    ("dtype", "other"),
    ("prompt_style", "compact"),
]
TEXTS = [(k, "other") for k in ("template", "template_hash", "prefix", "body", "tail")]
SAMPLING = [("temperature", 0.1), ("top_p", 0.1), ("max_new_tokens", 1), ("seed", 1)]


@pytest.mark.parametrize("base", [request(), choice()], ids=["generate", "choose"])
@pytest.mark.parametrize(("field", "value"), MODEL)
def test_what_the_model_is_changes_the_key(base: Request, field: str, value: str) -> None:
    assert replace(base, model=replace(SPEC, **{field: value})).call_id != base.call_id


@pytest.mark.parametrize("base", [request(), choice()], ids=["generate", "choose"])
@pytest.mark.parametrize(("field", "value"), TEXTS)
def test_what_is_asked_changes_the_key(base: Request, field: str, value: str) -> None:
    assert replace(base, **{field: value}).call_id != base.call_id


@pytest.mark.parametrize(("field", "value"), SAMPLING)
def test_how_text_is_drawn_changes_the_key(field: str, value: float) -> None:
    changed = request(sampling=replace(Sampling(), **{field: value}))
    assert changed.call_id != request().call_id


def test_each_draw_has_a_key_of_its_own_and_a_choice_one_key_for_all_items() -> None:
    assert request(sample_index=1).call_id != request().call_id
    assert request(item="other").call_id != request().call_id
    assert choice(sample_index=1, item="other").call_id == choice().call_id
    assert choice(options=("no", "yes")).call_id != choice().call_id
    assert choice(options=("yesno",)).call_id != choice().call_id


def test_text_does_not_slip_from_one_part_into_the_next() -> None:
    assert request(prefix="ab", body="c").call_id != request(prefix="a", body="bc").call_id


@pytest.mark.parametrize("base", [request(), choice()], ids=["generate", "choose"])
@pytest.mark.parametrize("field", ["model", "category"])
def test_what_a_model_is_called_does_not_change_the_key(base: Request, field: str) -> None:
    assert replace(base, model=replace(SPEC, **{field: "other"})).call_id == base.call_id
    assert replace(base, stage="other").call_id == base.call_id


def test_other_batches_and_engines_kept_open_ask_nothing_again(tmp_path: Path) -> None:
    for tokens, resident, size in ((64, 1, 1), (16384, 3, 5)):
        stub = Stub(size=size)
        with Inference(Journal(tmp_path), batch_tokens=tokens, resident=resident, opener=stub) as i:
            i.ask([request(n) for n in range(5)], label="test")
        assert len(stub.asked) == (5 if tokens == 64 else 0)


# Broken files


def test_a_torn_temporary_file_is_ignored_and_removed_when_old(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    torn = tmp_path / "20260101T000000-abc.77.tmp"
    torn.write_bytes(b"PAR1 torn")
    assert len(journal.known(ids(3))) == 3
    assert journal.verify() == (3, [])
    journal.compact()
    assert torn.exists()  # its writer may still be busy
    os.utime(torn, (1, 1))
    journal.compact()
    assert not torn.exists()


@pytest.mark.parametrize("how", ["truncated", "empty", "foreign"])
def test_a_segment_that_cannot_be_read_is_named_and_never_merged(tmp_path: Path, how: str) -> None:
    journal = filled(tmp_path)
    bad = journal.segments()[1]
    if how == "foreign":
        pq.write_table(pa.table({"a": [1]}), bad)
    else:
        bad.write_bytes(bad.read_bytes()[: 0 if how == "empty" else -20])
    before = sorted(tmp_path.glob("*.parquet"))
    with pytest.raises(JournalError) as error:
        journal.known(ids(3))
    assert "journal verify" in one_line(error, tmp_path)
    with pytest.raises(JournalError) as error:
        journal.compact(at_least=2)
    assert "journal verify" in one_line(error, tmp_path)
    assert sorted(tmp_path.glob("*.parquet")) == before
    calls, problems = journal.verify()
    assert calls == 2
    assert len(problems) == 1
    assert bad.name in problems[0]
    assert "\n" not in problems[0]


def altered(path: Path, column: str, value: Any) -> None:
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    values = pa.array([value], table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), values), path)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("text", "flipped", "the answer was changed"),
        ("finish_reason", "length", "the answer was changed"),
        ("option_logprobs", [-0.5], "the answer was changed"),
        ("body", "flipped", "the question was changed"),
        ("source", "flipped", "the question was changed"),
        ("seed", 43, "the question was changed"),
        ("call_id", "0" * 16, "the question was changed"),
    ],
)
def test_verify_finds_what_was_changed(tmp_path: Path, column: str, value: Any, said: str) -> None:
    journal = filled(tmp_path)
    altered(journal.segments()[1], column, value)
    calls, problems = journal.verify()
    assert calls == 3
    assert len(problems) == 1
    assert problems[0].startswith(journal.segments()[1].name)
    assert problems[0].endswith(said)


# Disks that refuse


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(JournalError) as error:
        Journal(tmp_path / "taken")
    assert "cannot open" in one_line(error, tmp_path)


@pytest.mark.parametrize("action", ["append", "compact"])
def test_a_folder_that_must_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    journal = filled(tmp_path)
    before = sorted(tmp_path.iterdir())

    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(journal_module, "open", refuse, raising=False)
    with pytest.raises(JournalError) as error:
        journal.compact() if action == "compact" else filled(tmp_path)
    assert "Permission denied" in one_line(error, tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_vanished(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "there")
    journal.folder.rmdir()
    journal.folder.touch()
    with pytest.raises(JournalError) as error:
        journal.append([(request(), answer(request()))])
    one_line(error, tmp_path)


@pytest.mark.parametrize("call", ["fsync", "write_table"])
def test_a_full_disk_stops_the_run_and_leaves_whole_segments_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    stub = Stub(size=2)
    true = {"fsync": os.fsync, "write_table": pq.write_table}[call]

    def full(*args: Any, **kwargs: Any) -> Any:
        if len(stub.batches) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return true(*args, **kwargs)

    questions = [request(n) for n in range(10)]
    with monkeypatch.context() as patched:
        patched.setattr(os if call == "fsync" else pq, call, full)
        with (
            pytest.raises(JournalError) as error,
            Inference(Journal(tmp_path), opener=stub) as inference,
        ):
            inference.ask(questions, label="test")
    assert "No space left" in one_line(error, tmp_path)
    assert len(stub.batches) == 2  # nothing was asked after the write that failed
    assert stub.closed == ["stub"]
    assert not list(tmp_path.glob("*.tmp"))
    assert Journal(tmp_path).verify() == (2, [])
    again = Stub()
    with Inference(Journal(tmp_path), opener=again) as inference:
        inference.ask(questions, label="test")
    assert again.asked == questions[2:]


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
        assert journal.compact(at_least=2) == 0
        assert len(journal.segments()) == 3
    finally:
        holder.kill()
        holder.communicate()
    assert journal.compact(at_least=2) == 3


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
