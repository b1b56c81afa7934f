"""Ctrl-C on a real run: it ends within seconds, keeps what was answered and leaves no process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Project
from misalign_profile import runner
from misalign_profile.interrupt import LINE
from misalign_profile.journal import Journal

PATIENCE = 5.0  # seconds that a user waits
BATCH = 16
SLOW = f"""
import sys, time
from misalign_profile.cli import main
from misalign_profile.engines.scripted import ScriptedEngine

def slowly(self, requests):
    for start in range(0, len(requests), {BATCH}):
        time.sleep(float(sys.argv[1]) if start else 0)
        yield requests[start:start + {BATCH}]

ScriptedEngine._batches = slowly
sys.exit(main(sys.argv[2:]))
"""


def session(leader: int) -> list[int]:
    """Processes that live in the session that ``leader`` leads (zombies are gone)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[3]) == leader and after_name[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def soon(condition: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.end_to_end
@pytest.mark.parametrize("seconds", [0.1, 600.0], ids=["quick batches", "an endless batch"])
def test_a_run_stops_on_ctrl_c(project: Project, seconds: float) -> None:
    journal = Journal(project.root / "warehouse" / "scripted_journal")
    command = [sys.executable, "-c", SLOW, str(seconds), "run", "--target", "scripted"]
    run = subprocess.Popen(
        command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert soon(lambda: len(journal.segments()) >= (3 if seconds < 1 else 1), 120)
        time.sleep(1)  # into the next batch
        before = journal.verify()[0]
        asked = time.monotonic()
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
        took = time.monotonic() - asked
    finally:
        run.kill()
    assert run.returncode == 130
    assert took < PATIENCE
    assert [line for line in err.splitlines() if line.startswith("misalign")] == [LINE]
    assert err.rstrip().endswith(LINE)
    assert "Traceback" not in out + err
    assert soon(lambda: session(run.pid) == [], 2)
    kept, problems = journal.verify()
    assert problems == []
    assert kept % BATCH == 0
    assert kept >= before > 0
    assert list(journal.folder.glob("*.tmp")) == []


def test_ctrl_c_during_the_gate_ends_the_report_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def gate(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("misalign_profile.gate.run_gate", gate)
    monkeypatch.setattr(runner, "dbt", lambda *_: None)
    monkeypatch.setattr(runner, "_start_report", lambda *_: report)
    monkeypatch.setattr(runner, "check_variables", lambda *_: None)
    monkeypatch.setattr(runner, "settings", lambda *_: {"protocols": ["verdict"]})
    monkeypatch.setattr(runner, "warehouse_path", lambda *_: tmp_path / "w.duckdb")
    with pytest.raises(KeyboardInterrupt):
        runner.run(tmp_path, "embedded", {})
    assert report.poll() == -signal.SIGKILL
