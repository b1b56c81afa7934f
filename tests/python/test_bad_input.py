"""Bad input that only a dbt run can find: the run stops early with one line and changes nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).parents[2]
PARTS = (
    "dbt_project.yml",
    "profiles.yml",
    "models",
    "macros",
    "seeds",
    "expectations",
    "tests/dbt",
)
PROGRESS = re.compile(r"\[ *\d+\.\d s\] +\d+/\d+  \w+")
GOOD = b"prompt,domain\nMay I bring my dog?,animal_abuse\n"
ODD = 'it\'s {{ 1 }} "odd" $x #.csv'

# name of the file, its bytes, options, what the line must say
CASES = {
    "missing": (ODD, None, [], ["no such file or folder", ODD]),
    "column": ("in.csv", GOOD, ["--text-column", "tekst"], ["'tekst'", "'prompt', 'domain'"]),
    "encoding": ("in.csv", b"prompt\nna\xefve\n", [], ["not UTF-8", "line 2", "iconv"]),
    "label": (
        "in.csv",
        GOOD + b"And my cat?,cat_abuse\n",
        ["--label-columns", "domain"],
        ["1 labels name no domain", "'cat_abuse' x1", "row 2"],
    ),
    "var": ("in.csv", GOOD, ["--vars", "{prompt_max_characters: none}"], ["prompt_max_characters"]),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose warehouse holds something already."""
    root = tmp_path_factory.mktemp("project")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part)
        elif (ROOT / part).exists():
            shutil.copy(ROOT / part, root / part)
    (root / "warehouse").mkdir()
    with duckdb.connect(str(root / "warehouse/scripted.duckdb")) as con:
        con.execute("create schema staging; create schema marts")
        con.execute("create table staging.stg_source_prompts as select 'kept' as prompt")
        con.execute("create table marts.mart_trade_offs as select 0.25 as trade_off")
    return root


@pytest.mark.end_to_end
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_leaves_the_warehouse_alone(
    project: Path, tmp_path: Path, case: str
) -> None:
    name, content, options, said = CASES[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    command = [str(Path(sys.executable).with_name("misalign")), "run", "--target", "scripted"]
    command += ["--prompts", str(tmp_path / name), *options]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=180)
    *progress, last = run.stderr.splitlines()
    assert run.returncode == 2
    assert "Traceback" not in run.stdout + run.stderr
    assert [line for line in progress if not PROGRESS.fullmatch(line)] == []
    assert last.startswith("misalign: ")
    for part in said:
        assert part in last
    assert run.stdout == ""
    with duckdb.connect(str(project / "warehouse/scripted.duckdb"), read_only=True) as con:
        assert con.execute("from staging.stg_source_prompts").fetchall() == [("kept",)]
        assert con.execute("from marts.mart_trade_offs").fetchall() == [(0.25,)]
    assert not list(project.glob("warehouse/scripted_journal/*.parquet"))
