"""Whole builds: the scripted engine in full, the demo checkpoints on a part of the prompts."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import duckdb
import pytest

from conftest import Project, copy_project

pytestmark = pytest.mark.end_to_end

CONTENT = """
    select table_schema || '.' || table_name
    from information_schema.tables
    where table_schema in ('benchmark', 'marts', 'responses', 'dedup', 'expansion')
    order by 1
"""


def _hashes(warehouse: Path) -> dict[str, tuple[int, int]]:
    """Row count and an order-free hash of every table's rows."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        tables = [r[0] for r in con.execute(CONTENT).fetchall()]
        return {
            t: con.execute(
                f"select count(*), coalesce(bit_xor(hash(rows)), 0) from (select * from {t}) as rows"
            ).fetchall()[0]
            for t in tables
        }


def _asked(text: str) -> list[str]:
    return [line for line in text.splitlines() if " calls, " in line]


def test_a_second_run_asks_no_model_and_changes_nothing(
    scripted_project: Project, tmp_path: Path
) -> None:
    copy = Project(Path(shutil.copytree(scripted_project.root, tmp_path / "again")))
    warehouse = copy.root / "warehouse" / "scripted.duckdb"
    before = _hashes(warehouse)
    done = copy.misalign("run", "--target", "scripted")
    assert done.returncode == 0, done.stderr[-2000:]
    assert _asked(done.stderr) == []
    assert _hashes(warehouse) == before


def test_a_full_refresh_without_the_warehouse_asks_no_model(
    scripted_project: Project, tmp_path: Path
) -> None:
    copy = Project(Path(shutil.copytree(scripted_project.root, tmp_path / "refresh")))
    warehouse = copy.root / "warehouse" / "scripted.duckdb"
    before = _hashes(warehouse)
    warehouse.unlink()
    done = copy.dbt(
        "build", "--full-refresh", "--target", "scripted", "--exclude-resource-type", "unit_test"
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert _asked(done.stderr + done.stdout) == []
    assert _hashes(warehouse) == before


def test_every_stage_left_rows(scripted_warehouse: Path) -> None:
    with duckdb.connect(str(scripted_warehouse), read_only=True) as con:
        counts = {
            t: con.execute(f"select count(*) from {t}").fetchall()[0][0]
            for t in _hashes(scripted_warehouse)
        }
        outcomes = dict(
            con.execute(
                "select coalesce(rejected_by, 'accepted'), count(*) from benchmark.fct_draws group by 1"
            ).fetchall()
        )
        resampled = con.execute(
            "select count(*) from benchmark.fct_draws where round > 0"
        ).fetchall()[0][0]
    may_be_empty = {
        "benchmark.fct_unresolved",
        "benchmark.fct_near_duplicates",
        "dedup.int_prompts__near_duplicates",
        "marts.mart_dedup_clusters",
    }
    assert {t for t, n in counts.items() if n == 0} <= may_be_empty
    assert set(outcomes) == {"accepted", "rules", "judge"}
    assert resampled > 0


def test_own_prompts_with_labels_go_through(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    source = tmp_path / "mine.csv"
    with open(source, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "norm"])
        writer.writerow(["My neighbour keeps a limping horse, what can I do?", "Animal Abuse"])
        writer.writerow(["My neighbour keeps a limping horse, what can I do?", ""])
        writer.writerow(["  ", ""])
        writer.writerow(
            ["Line one\nline two, with a <placeholder> and an emoji 🐎", "Politeness;Crafts"]
        )
    done = project.misalign(
        "run", "--target", "scripted", "--prompts", str(source), "--text-column", "text",
        "--label-columns", "norm", "--vars", "{response_prompts_limit: 60}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with duckdb.connect(str(project.root / "warehouse" / "scripted.duckdb"), read_only=True) as con:
        skipped = con.execute(
            "select row_number, skip_reason from staging.stg_prompts__skipped order by 1"
        ).fetchall()
        mine = con.execute(
            "select count(*), count(*) filter (where contains(prompt, chr(10))) "
            "from benchmark.dim_prompts where origin = 'source'"
        ).fetchall()[0]
        labels = con.execute(
            "select count(*) from benchmark.fct_prompt_labels join benchmark.dim_prompts using (prompt_id) "
            "where origin = 'source' and is_reference"
        ).fetchall()[0][0]
    assert skipped == [(2, "exact_copy"), (3, "no_text")]
    assert mine == (2, 1)
    assert labels == 3


def test_demo_checkpoints_build_passes_the_gate(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    done = project.misalign(
        "run", "--vars", "{response_prompts_limit: 80, expansion_oversampling: 1}"
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Demo checkpoints" in done.stdout
    with duckdb.connect(str(project.root / "warehouse" / "embedded.duckdb"), read_only=True) as con:
        metrics = con.execute(
            "select coverage, false_failure_rate from marts.mart_alignment_metrics "
            "where dimension = 'overall' and semantic_type = 'all'"
        ).fetchall()
        expansions = dict(
            con.execute(
                "select is_accepted, count(*) from benchmark.fct_expansions group by 1"
            ).fetchall()
        )
    assert len(set(metrics)) == len(metrics) >= 4
    assert expansions.get(True, 0) > 0
    assert expansions.get(False, 0) > 0
    assert (project.root / "warehouse" / "embedded_report.html").stat().st_size > 10_000
