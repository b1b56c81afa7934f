"""What stops an export, and that a stopped one leaves everything as it was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from export_fixtures import Change, passes, sums
from misalign_profile import cli, runner
from misalign_profile.errors import CheckError, WarehouseBusy
from misalign_profile.export import export_dataset

ROOT = Path(__file__).resolve().parents[2]


def test_a_cluster_in_two_splits_stops_the_export(changed: Change, tmp_path: Path) -> None:
    leaking = changed(
        """
        update benchmark.fct_pairs set cluster_id = 'c1', split = if(pair_id < '8', 'train', 'test')
        where true
        """
    )
    with pytest.raises(
        CheckError, match="1 clusters lie in more than one split, such as c1 in test and"
    ):
        export_dataset(leaking, tmp_path / "out", target="scripted", gate=passes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("code", "said"), [(1, "did not pass"), (2, "could not check everything")])
def test_what_the_gate_does_not_pass_is_not_written(
    small_warehouse: Path, tmp_path: Path, code: int, said: str
) -> None:
    with pytest.raises(CheckError, match=said) as caught:
        export_dataset(small_warehouse, tmp_path / "out", target="scripted", gate=lambda _: code)
    assert caught.value.exit_code == code
    assert list(tmp_path.iterdir()) == []


def test_the_gate_judges_with_the_settings_of_the_build_while_nobody_can_write(
    small_warehouse: Path, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    def gate(settings: Mapping[str, Any]) -> int:
        seen.update(settings)
        with pytest.raises(duckdb.Error):
            duckdb.connect(str(small_warehouse))
        return 0

    export_dataset(small_warehouse, tmp_path / "out", target="scripted", gate=gate)
    assert seen["bootstrap_replicates"] == 50  # the build's, where dbt_project.yml says 1000


def test_a_warehouse_without_pairs_or_of_an_earlier_version_is_one_line(
    changed: Change, tmp_path: Path
) -> None:
    with pytest.raises(CheckError, match="no warehouse for the export"):
        export_dataset(tmp_path / "no.duckdb", tmp_path / "out", target="scripted", gate=passes)
    with pytest.raises(CheckError, match="there are no pairs to export"):
        export_dataset(
            changed("truncate benchmark.fct_pairs"),
            tmp_path / "out",
            target="scripted",
            gate=passes,
        )
    with pytest.raises(
        CheckError, match=r"cannot read benchmark.dim_settings.*build every model again"
    ):
        export_dataset(
            changed("drop table benchmark.dim_settings"),
            tmp_path / "out",
            target="scripted",
            gate=passes,
        )


def test_a_warehouse_in_use_is_said_to_be_in_use(changed: Change, tmp_path: Path) -> None:
    path = changed("select 1")
    script = f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(WarehouseBusy, match="the export again"):
            export_dataset(path, tmp_path / "out", target="scripted", gate=passes)
        holder.communicate()


def test_force_replaces_an_earlier_export_and_nothing_else(
    small_warehouse: Path, exported: Path, tmp_path: Path
) -> None:
    def export(out: Path, force: bool) -> None:
        export_dataset(small_warehouse, out, target="scripted", gate=passes, force=force)

    out = tmp_path / "set"
    out.mkdir()
    export(out, force=False)  # an empty folder will do
    (out / "data" / "test.jsonl").write_text("broken")
    compiled = out / "harness" / "__pycache__"
    compiled.mkdir()
    (compiled / "questions.cpython-311.pyc").write_bytes(b"left by a run of the task")
    with pytest.raises(CheckError, match="the folder is not empty"):
        export(out, force=False)
    export(out, force=True)
    assert sums(out) == sums(exported)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(CheckError, match=r"files that no export wrote, such as notes\.txt"):
        export(out, force=True)
    assert (out / "notes.txt").read_text() == "mine"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "manifest.json").write_text("[]")
    with pytest.raises(CheckError, match="files that no export wrote"):
        export(foreign, force=True)
    with pytest.raises(CheckError, match="not a folder"):
        export(foreign / "manifest.json", force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["foreign", "set"]


def test_a_write_that_fails_leaves_the_earlier_export(
    small_warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    export_dataset(small_warehouse, out, target="scripted", gate=passes)
    before = sums(out)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("misalign_profile.export.writing.write_sums", full)
    with pytest.raises(CheckError, match="No space left on device"):
        export_dataset(small_warehouse, out, target="scripted", gate=passes, force=True)
    assert sums(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_refused_command_is_one_line_with_the_gates_code(
    small_warehouse: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runner, "project_root", lambda: ROOT)
    monkeypatch.setattr(runner, "warehouse_path", lambda *_: small_warehouse)
    monkeypatch.setattr("misalign_profile.gate.run_gate", lambda *_: 1)
    assert cli.main(["export", str(tmp_path / "out"), "--target", "scripted"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the quality gate did not pass: nothing was written" in error
