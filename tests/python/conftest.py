"""Shared fixtures: a copy of the project to build in, and a finished warehouse on the scripted engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from gate_warehouse import build_warehouse
from misalign_profile.export import export_dataset

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("models", "macros", "seeds", "expectations", "tests/dbt", "demo_checkpoints")


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of the project in a folder of its own, and how to run ``misalign`` and ``dbt`` in it."""

    root: Path

    def misalign(self, *arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
        return self._run("misalign_profile.cli", *arguments, timeout=timeout)

    def dbt(self, *arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
        return self._run("dbt.cli.main", *arguments, timeout=timeout)

    def _run(
        self, module: str, *arguments: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, timeout=timeout, check=False
        )


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows, as dbt hands them to a Python model."""

    rows: list[dict[str, Any]]

    def to_arrow_table(self) -> pa.Table:
        return pa.Table.from_pylist(self.rows)


def copy_project(folder: Path) -> Project:
    """Copy what dbt and the gate read; the package itself is the installed one."""
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(ROOT / name, folder / name)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part)
    (folder / "warehouse").mkdir()
    return Project(folder)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the project, nothing built."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def scripted_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project after ``misalign run --target scripted``; treat it as read-only."""
    project = copy_project(tmp_path_factory.mktemp("scripted"))
    done = project.misalign("run", "--target", "scripted")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return project


@pytest.fixture(scope="session")
def scripted_warehouse(scripted_project: Project) -> Path:
    """The DuckDB file of ``scripted_project``."""
    return scripted_project.root / "warehouse" / "scripted.duckdb"


@pytest.fixture(scope="session")
def small_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse of the gate's tests: every table, few rows; treat it as read-only."""
    path = tmp_path_factory.mktemp("warehouse") / "scripted.duckdb"
    build_warehouse(path)
    return path


@pytest.fixture(scope="session")
def exported(small_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export in layout ``pairs``; treat it as read-only."""
    out = tmp_path_factory.mktemp("export") / "set"
    export_dataset(small_warehouse, out, target="scripted", gate=lambda _: 0)
    return out


@pytest.fixture
def changed(small_warehouse: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the warehouse after some SQL."""

    def change(sql: str) -> Path:
        path = Path(shutil.copy(small_warehouse, tmp_path / "scripted.duckdb"))
        with duckdb.connect(str(path)) as con:
            con.execute(sql)
        return path

    return change
