"""Damaged segments and disks that refuse: nothing is lost, and one line says what to do."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from journal_fixtures import altered, filled, ids, one_line, script
from misalign_profile import journal as journal_module
from misalign_profile.errors import JournalError
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from stub_engine import Stub, answer, choice, request

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


# Bytes that change after they were written


def test_a_segment_torn_anywhere_is_named_and_costs_its_own_calls_only(tmp_path: Path) -> None:
    journal = filled(tmp_path / "journal", 5)
    bad = journal.segments()[2]
    whole = bad.read_bytes()
    for cut in (0, 1, 4, 8, len(whole) // 3, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        bad.write_bytes(whole[:cut])
        for use in (lambda: journal.known(ids(5)), lambda: journal.compact(at_least=2)):
            with pytest.raises(JournalError) as error:
                use()
            assert bad.name in one_line(error, tmp_path)
            assert "move this file out of the folder and run again" in str(error.value)
        calls, (problem,) = journal.verify()
        assert (calls, problem.startswith(f"{bad.name}: cannot be read: ")) == (4, True), cut
        assert len(journal.segments()) == 5
        assert bad.read_bytes() == whole[:cut]
    bad.rename(tmp_path / bad.name)
    stub = Stub()
    with Inference(journal, opener=stub) as inference:
        inference.ask([request(n) for n in range(5)], label="test")
    assert stub.asked == [request(2)]
    assert journal.verify() == (5, [])


def test_one_flipped_bit_is_found_wherever_it_lies(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    questions = [*map(request, range(4)), *map(choice, range(4))]
    journal.append([(question, answer(question)) for question in questions])
    (path,) = journal.segments()
    whole = path.read_bytes()
    places = random.Random(7)
    for _ in range(400):
        flipped = bytearray(whole)
        place = places.randrange(len(whole))
        flipped[place] ^= 1 << places.randrange(8)
        path.write_bytes(flipped)
        problems = journal.verify()[1]
        assert problems, place
        assert all(p.startswith(path.name) and p.isprintable() for p in problems), problems
    path.write_bytes(whole)
    assert journal.verify() == (8, [])


OUTSIDE = [
    ("prompt_tokens", 9_999),
    ("seconds", 9.5),
    ("retries", 9),
    ("failures", ["429"]),
    ("stage", "other"),
    ("run_id", "other"),
    ("machine", "other"),
]


@pytest.mark.parametrize(("column", "value"), OUTSIDE)
def test_what_stands_beside_question_and_answer_is_watched_too(
    tmp_path: Path, column: str, value: Any
) -> None:
    journal = filled(tmp_path)
    bad = journal.segments()[1]
    altered(bad, column, value)
    calls, (problem,) = journal.verify()
    assert calls == 3
    assert problem.startswith(f"{bad.name}: changed after it was written")
    with pytest.raises(JournalError, match="was changed after it was written"):
        journal.compact(at_least=2)  # merged, the damage would be hidden for good
    assert bad in journal.segments()
    assert len(journal.segments()) == 3


def test_a_cell_that_no_call_has_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    altered(journal.segments()[1], "options", None)
    calls, (problem,) = journal.verify()
    assert calls == 3
    assert problem.startswith(f"{journal.segments()[1].name}: cannot be read")


def test_a_run_goes_on_when_its_journal_cannot_be_merged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = filled(tmp_path, 70)
    altered(journal.segments()[1], "seconds", 9.5)
    with Inference(journal, opener=Stub()) as inference:
        assert len(inference.ask([request(n) for n in range(71)], label="test")) == 71
    (said,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("misalign")]
    assert journal.segments()[1].name in said
    assert len(journal.segments()) == 71


def test_a_folder_that_cannot_be_read_is_not_an_empty_journal(tmp_path: Path) -> None:
    filled(tmp_path / "home" / "journal")
    (tmp_path / "home").chmod(0o711)
    (tmp_path / "home" / "journal").chmod(0o300)
    if os.getuid() == 0:  # who may read everything, so the reader becomes somebody else
        os.chown(tmp_path / "home" / "journal", 65534, -1)
    code = (
        "import os; os.chdir(sys.argv[1])\n"
        "os.getuid() or os.seteuid(65534)\n"
        "try:\n"
        "    print(Journal('journal', create=False).known(['x']))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)"
    )
    said = script(code, str(tmp_path / "home")).communicate()[0]
    (tmp_path / "home" / "journal").chmod(0o700)
    assert said.startswith("JournalError cannot read the journal: Permission denied [journal]")
