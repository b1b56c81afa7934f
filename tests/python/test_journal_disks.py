"""Disks that are really full or really read-only: small file systems of a process's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import Project, copy_project
from journal_fixtures import HERE, filled, paths

MOUNTS = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
TORTURE = HERE.parents[1] / "benchmarks"
PROBE = ["sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]


@pytest.fixture(autouse=True)
def _may_mount() -> None:
    try:
        done = subprocess.run([*MOUNTS, *PROBE], capture_output=True, timeout=30, check=False)
        may = done.returncode == 0
    except OSError:
        may = False
    if not may:
        pytest.skip(
            "no file system can be mounted here; test_journal_damage.py covers it with patches: "
            "test_a_full_disk_stops_the_run_and_leaves_whole_segments_only, "
            "test_a_folder_that_must_not_be_written_to"
        )


def alone(code: str, *arguments: object, timeout: float = 600) -> Any:
    """What a script with mounts of its own gives as ``told``; they go when it ends."""
    head = (
        "import json, subprocess, sys\n"
        "from pathlib import Path\n"
        "from misalign_profile.errors import JournalError\n"
        "from misalign_profile.inference import Inference\n"
        "from misalign_profile.journal import Journal\n"
        "from stub_engine import Stub, request\n"
        "def mount(*words):\n"
        "    subprocess.run(['mount', *map(str, words)], check=True)\n"
        "folder = Path(sys.argv[1])\n"
    )
    tail = "\nprint(json.dumps(told))"
    environment = os.environ | {"PYTHONPATH": paths(HERE, TORTURE)}
    done = subprocess.run(
        [*MOUNTS, sys.executable, "-c", head + code + tail, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


FULL = """
mount('-t', 'tmpfs', '-o', 'size=96k', 'none', folder)
told = {}
questions = [request(n) for n in range(60)]

def ask(kind):
    stub = Stub(size=4)
    try:
        with Inference(Journal(folder), opener=stub) as inference:
            inference.ask(questions, label='test')
    except JournalError as error:
        told['line'] = str(error)
    told[kind] = [q.item for q in stub.asked]
    told[kind + ' batches'] = len(stub.batches)
    told[kind + ' left'] = sorted({p.suffix for p in folder.iterdir() if p.name != '.lock'})
    told[kind + ' verify'] = Journal(folder).verify()

ask('full')
mount('-o', 'remount,size=8m', folder)
ask('wide')
"""


def test_a_disk_that_runs_full(tmp_path: Path) -> None:
    told = alone(FULL, tmp_path)
    batches = told["full batches"]
    assert 3 <= batches <= 14
    assert told["line"].startswith(
        f"cannot write the journal: No space left on device [{tmp_path}]"
    )
    assert "\n" not in told["line"]
    assert told["full left"] == [".parquet"]
    assert told["full verify"] == [4 * (batches - 1), []]
    assert told["wide"] == [f"item{n}" for n in range(4 * (batches - 1), 60)]
    assert told["wide verify"] == [60, []]


READ_ONLY = """
mount('--bind', folder, folder)
mount('-o', 'remount,bind,ro', folder)
told = {'known': len(Journal(folder).known([request(n).call_id for n in range(3)]))}

def ask():
    with Inference(Journal(folder), opener=stub) as inference:
        inference.ask([request(n) for n in range(20)], label='test')

stub = Stub(size=2)
for name, action in (('ask', ask), ('compact', lambda: Journal(folder).compact(at_least=2))):
    try:
        action()
    except JournalError as error:
        told[name] = str(error)
told['asked'] = len(stub.asked)
told['verify'] = Journal(folder).verify()
"""


def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    filled(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    told = alone(READ_ONLY, tmp_path)
    assert told["known"] == 3
    assert told["asked"] == 2  # one batch, and none after the write that failed
    place = f"the journal: Read-only file system [{tmp_path}]"
    assert told["ask"].startswith(f"cannot write {place}")
    assert told["compact"].startswith(f"cannot lock {place}")
    assert "\n" not in told["ask"] + told["compact"]
    assert told["verify"] == [3, []]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


# Whole runs

RUN = """
watched = [sys.executable, str(Path(sys.argv[2]) / 'watched.py')]
journal = folder / 'warehouse' / 'scripted_journal'
told = {}

def run(kind, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    told[kind] = done.returncode
    told[kind + ' said'] = [x for x in done.stderr.splitlines() if x.startswith('misalign')]
    told[kind + ' trace'] = 'Traceback' in done.stdout + done.stderr

def misalign(kind, *words):
    words = *words, '--target', 'scripted'
    run(kind, *watched, kind + '.jsonl', '16', '0', 'misalign', *words)
"""
FULL_RUN = (
    RUN
    + """
journal.mkdir()
mount('-t', 'tmpfs', '-o', 'size=128k', 'none', journal)
misalign('full', 'run')
told['left'] = sorted({p.suffix for p in journal.iterdir() if p.name != '.lock'})
told['kept'], told['problems'] = Journal(journal).verify()
mount('-o', 'remount,size=64m', journal)
stages = 'int_prompts__classified', 'int_prompts__typed', 'int_gold_responses__judged'
words = 'dbt', 'run', '--target', 'scripted', '--select', *stages
run('wide', *watched, 'wide.jsonl', '16', '0', *words)
told['all'], told['later problems'] = Journal(journal).verify()
"""
)


def calls(project: Project, name: str) -> list[str]:
    text = (project.root / f"{name}.jsonl").read_text("utf-8")
    return [call for line in text.splitlines() for call in json.loads(line).get("calls", [])]


@pytest.mark.end_to_end
def test_a_run_on_a_disk_that_runs_full(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    told = alone(FULL_RUN, tmp_path, TORTURE)
    (line,) = told["full said"]
    assert line.startswith("misalign: cannot write the journal: No space left on device [")
    assert line.endswith("finished calls are safe")
    assert (told["full"], told["full trace"]) == (2, False)
    assert told["left"] == [".parquet"]
    assert told["problems"] == told["later problems"] == []
    assert told["kept"] >= 16
    assert told["wide"] == 0
    first, second = calls(project, "full"), calls(project, "wide")
    assert len(set(first)) == len(first)
    lost = len(first) - told["kept"]  # the batches that found no room, one for each stage at most
    assert 0 < lost <= 48  # a batch of each stage that waits for no other: domains, types, gold
    assert len(set(first) & set(second)) == lost
    assert told["all"] == len(set(first) | set(second)) == len(second) + told["kept"]


READ_ONLY_RUN = (
    RUN
    + """
mount('--bind', journal, journal)
mount('-o', 'remount,bind,ro', journal)
misalign('run', 'run')
misalign('compact', 'journal', 'compact')
misalign('verify', 'journal', 'verify')
"""
)


@pytest.mark.end_to_end
def test_a_run_on_a_read_only_journal(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    journal = filled(tmp_path / "warehouse" / "scripted_journal")
    before = journal.segments()
    told = alone(READ_ONLY_RUN, tmp_path, TORTURE)
    for command, verb in (("run", "write"), ("compact", "lock")):
        (line,) = told[f"{command} said"]
        assert line.startswith(f"misalign: cannot {verb} the journal: Read-only file system [")
        assert (told[command], told[f"{command} trace"]) == (2, False)
    assert told["verify"] == 0
    assert len(calls(project, "run")) <= 48  # as above
    assert journal.segments() == before
