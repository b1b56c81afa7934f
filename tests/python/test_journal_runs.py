"""The journal under whole dbt runs: a torn segment, two runs at once, an edited template, other settings."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import ROOT, Project

sys.path.insert(0, str(ROOT / "benchmarks"))

import kill  # type: ignore[import-not-found]

from misalign_profile.journal import Journal

pytestmark = pytest.mark.end_to_end
OTHER_SETTINGS = {
    "batch_tokens": {"scripted": 64},
    "engines_resident": {"scripted": 1},
    "engine_processes": {"scripted": True},
    "budget_calls": 1,
}


@pytest.fixture
def built(scripted_project: Project, tmp_path: Path) -> Project:
    """A finished warehouse and its journal, to do with as one likes."""
    return Project(Path(shutil.copytree(scripted_project.root, tmp_path / "built")))


def stages_asked(root: Path) -> Counter[str]:
    """Calls that the watched runs in a project asked, by stage."""
    found: Counter[str] = Counter()
    for line in kill.lines(root / "asked.jsonl"):
        found[line.get("stage", "")] += len(line.get("calls", ()))
    return +found


def in_parts(journal: Journal) -> list[Path]:
    """Replace the segments by ten, of the same calls."""
    old = journal.segments()
    calls = pq.read_table(old)
    size = len(calls) // 9
    parts = [journal.folder / f"part{n}.parquet" for n in range(10)]
    for n, part in enumerate(parts):
        pq.write_table(calls.slice(n * size, size), part)
    for path in old:
        path.unlink()
    return parts


def test_a_torn_segment_stops_every_command_with_its_name(built: Project) -> None:
    journal = Journal(kill.journal_of(built.root))
    bad, *_ = in_parts(journal)
    held = set(pq.read_table(bad, columns=["call_id"])["call_id"].to_pylist())
    before = {p.name for p in journal.segments()}
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])

    run = built.dbt("run", "--target", "scripted", "--select", "+int_responses__sampled")
    said = [line for line in run.stdout.splitlines() if bad.name in line]
    assert run.returncode == 1
    assert said
    assert all("move this file out of the folder and run again" in line for line in said)
    assert "Traceback" not in run.stdout + run.stderr

    verify = built.misalign("journal", "verify", "--target", "scripted")
    assert verify.returncode == 1
    assert re.search(rf"^  {bad.name}: cannot be read: ", verify.stdout, re.M)
    compact = built.misalign("journal", "compact", "--target", "scripted")
    assert compact.returncode == 2
    (line,) = compact.stderr.splitlines()
    assert line.startswith(f"misalign: the journal segment {bad.name} cannot be read")
    assert {p.name for p in journal.segments()} == before

    bad.rename(built.root / bad.name)
    kill.finish(built.root, {})
    asked = kill.asked(kill.lines(built.root / "asked.jsonl"))
    assert held
    assert asked == Counter(held)
    assert built.misalign("journal", "verify", "--target", "scripted").returncode == 0


@pytest.mark.parametrize("name", ["judge", "semantic_type"])
def test_an_edited_template_asks_its_own_stage_again_and_nothing_else(
    built: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    package = shutil.copytree(
        ROOT / "python_udfs" / "misalign_profile", tmp_path / "edited" / "misalign_profile"
    )
    template = package / "templates" / "compact" / f"{name}.jinja"
    template.write_text(template.read_text("utf-8") + "{# edited #}", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    before = Journal(kill.journal_of(built.root)).select(
        f"select stage, count(distinct call_id) from calls where template = '{name}' group by all"
    )
    kill.finish(built.root, {})
    assert stages_asked(built.root) == dict(before)
    judged = {"judge", "second_judge", "judge_answer"}  # one template, three stages
    assert {stage for stage, _ in before} == (judged if name == "judge" else {name})


def test_other_batches_threads_and_budgets_ask_nothing_again(built: Project) -> None:
    tables = kill.contents(kill.warehouse_of(built.root))
    kill.finish(built.root, OTHER_SETTINGS, "--threads", "1")
    assert stages_asked(built.root) == {}
    after = kill.contents(kill.warehouse_of(built.root))
    assert {t for t in tables if tables[t] != after[t]} <= {"benchmark.dim_settings"}


def test_another_seed_asks_every_draw_again(built: Project) -> None:
    kill.finish(built.root, {"sampling_seed": 43}, "--select", "int_expansions__drawn")
    assert stages_asked(built.root).keys() == {"expand"}


def test_two_runs_at_once_on_one_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "shared" / "scripted_journal")
    variables = {"response_prompts_limit": 20, "journal_root": str(tmp_path / "shared")}
    one = kill.prepared(tmp_path / "one", variables)
    two = Path(shutil.copytree(one, tmp_path / "two"))
    runs: list[subprocess.Popen[bytes]] = [kill.start(root, variables) for root in (one, two)]
    ends = [run.wait(600) for run in runs]
    assert ends == [0, 0], [(root / "run.log").read_text()[-2000:] for root in (one, two)]
    tables = kill.contents(kill.warehouse_of(one))
    assert tables == kill.contents(kill.warehouse_of(two))
    assert tables["benchmark.fct_verdicts"][0] > 0
    assert journal.verify()[1] == []
    asked = [kill.asked(kill.lines(root / "asked.jsonl")) for root in (one, two)]
    assert all(max(count.values()) == 1 for count in asked)  # neither asks what it was told
    recorded = {row[0] for row in journal.select("select call_id from calls")}
    assert recorded == asked[0].keys() | asked[1].keys()
