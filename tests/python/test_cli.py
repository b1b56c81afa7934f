"""What a user sees who asks for something impossible: one line, exit code 2, no trace."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from misalign_profile import runner
from misalign_profile.cli import main
from misalign_profile.errors import InputError, MisalignError
from misalign_profile.journal import Journal
from stub_engine import answer, request

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder without models: whatever is wrong must be found before dbt starts."""
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "warehouse").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "dbt", lambda *_: pytest.fail("dbt was started"))
    monkeypatch.setattr(runner, "invoke", lambda *_, **__: pytest.fail("dbt was started"))
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Run the command; it must end with this code and one line. Returns the line."""
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("misalign: ")
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    "text", ["{label_threshold: ", "[1, 2]", "[]", "0", "just text", "a: b: c", "{[a]: 1}", "\0"]
)
def test_vars_that_are_no_mapping(
    project: Path, capsys: pytest.CaptureFixture[str], text: str, command: str
) -> None:
    assert "--vars is not" in refused(capsys, command, "--vars", text)


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "-1"], "--limit is -1"),
        (["--vars", "{budget_cals: 1}"], "unknown var 'budget_cals' [--vars] -> did you mean"),
    ],
)
def test_arguments_out_of_range(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    arguments: list[str],
    said: str,
) -> None:
    assert said in refused(capsys, command, *arguments)


@pytest.mark.parametrize("command", [["run"], ["plan"], ["report"], ["journal", "verify"]])
def test_an_unknown_target(
    project: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    line = refused(capsys, *command, "--target", "cloud")
    assert "no target 'cloud' [profiles.yml] -> one of embedded, scripted," in line
    assert list((project / "warehouse").iterdir()) == []


@pytest.mark.parametrize("command", [["run"], ["plan"], ["report"], ["journal", "verify"]])
def test_no_project_here_or_above(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, *command)
    assert "no dbt_project.yml here or above" in line
    assert str(tmp_path) in line


def test_a_project_is_found_from_a_folder_inside_it(project: Path) -> None:
    (project / "models" / "marts").mkdir(parents=True)
    assert runner.project_root(project / "models" / "marts") == project


@pytest.mark.parametrize("text", [None, "a: [", "other_profile: {}", "misalign_profile:", "\ud800"])
def test_profiles_that_hold_no_targets(
    project: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    path = project / "profiles.yml"
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert str(path) in refused(capsys, "run")


def test_a_second_run_while_one_is_running(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = project / "warehouse" / "embedded.lock"
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
    code += "print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        line = refused(capsys, "run")
        assert "another run is using this warehouse" in line
        assert "nothing was changed" in line
    finally:
        holder.kill()
        holder.communicate()
    with runner.exclusive(project / "warehouse" / "embedded.duckdb"):
        pass  # the lock goes with its holder, however that ended


def test_a_warehouse_folder_that_is_a_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "warehouse").rmdir()
    (project / "warehouse").touch()
    assert "cannot write to the warehouse folder" in refused(capsys, "run")


def test_a_warehouse_folder_without_permission(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(runner, "open", refuse, raising=False)
    line = refused(capsys, "run")
    assert "cannot write to the warehouse folder: Permission denied" in line


def test_a_warehouse_file_without_permission(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "warehouse" / "embedded.duckdb").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "the warehouse file is not writable" in refused(capsys, "run")


def test_a_warehouse_folder_is_made_on_demand(project: Path) -> None:
    with runner.exclusive(project / "new" / "embedded.duckdb"):
        assert (project / "new").is_dir()


def test_an_error_stays_on_one_line_whatever_is_in_its_parts() -> None:
    error = InputError("no\nsuch file", where="/data/odd\nname.csv", hint="see\n\tthere")
    assert str(error) == "no such file [/data/odd name.csv] -> see there"


def test_the_exit_code_is_that_of_the_error(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        error = MisalignError("a data test failed")
        error.exit_code = 1
        raise error

    monkeypatch.setattr(runner, "dbt", fail)
    assert "a data test failed" in refused(capsys, "run", code=1)


def test_ctrl_c_says_that_nothing_is_lost(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "dbt", interrupt)
    assert "run again to go on" in refused(capsys, "run", code=130)


@pytest.mark.parametrize(
    ("prompts", "source"),
    [("my.csv", "{cwd}/my.csv"), ("hf://datasets/a/b", "hf://datasets/a/b"), ("/x/y", "/x/y")],
)
def test_prompts_become_vars(
    project: Path, monkeypatch: pytest.MonkeyPatch, prompts: str, source: str
) -> None:
    seen: list[tuple[object, ...]] = []

    def stop(*arguments: object) -> None:
        seen.append(arguments)
        raise InputError("enough")

    monkeypatch.setattr(runner, "dbt", stop)
    options = ["--limit", "5", "--text-column", "text", "--label-columns", "a,b,"]
    variables = ["--vars", "{label_threshold: 0.6}"]
    assert main(["run", "--prompts", prompts, *options, *variables]) == 2
    assert seen == [
        (
            project,
            "build",
            "embedded",
            {
                "label_threshold": 0.6,
                "prompts_source": source.format(cwd=project),
                "prompts_text_column": "text",
                "prompts_label_columns": ["a", "b"],
                "prompts_limit": 5,
            },
        )
    ]


@pytest.mark.parametrize("action", ["verify", "compact"])
def test_a_journal_that_is_not_there_is_said_to_be_missing_and_not_made(
    project: Path, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    assert main(["journal", action, "--target", "scripted"]) == 2
    assert "no journal yet" in capsys.readouterr().err
    assert not (project / "warehouse" / "scripted_journal").exists()


def test_a_journal_in_use_is_not_merged_and_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "warehouse" / "scripted_journal"
    for number in range(3):
        Journal(folder).append([(request(number), answer(request(number)))])
    with open(folder / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert main(["journal", "compact", "--target", "scripted"]) == 2
    assert capsys.readouterr().out == "a run is using the journal\n"
    assert len(Journal(folder).segments()) == 3


def test_journal_commands(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(project / "warehouse" / "scripted_journal")
    for number in range(3):
        journal.append([(request(number), answer(request(number)))])
    assert main(["journal", "verify", "--target", "scripted"]) == 0
    assert main(["journal", "compact", "--target", "scripted"]) == 0
    assert main(["journal", "verify", "--target", "scripted"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "3 calls, 0 problems",
        "merged 3 segments",
        "3 calls, 0 problems",
    ]


def test_a_broken_journal_is_reported_with_exit_code_1(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(project / "warehouse" / "embedded_journal")
    journal.append([(request(), answer(request()))])
    journal.segments()[0].write_bytes(b"PAR1")
    assert main(["journal", "verify"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("0 calls, 1 problems\n  ")
    assert err == ""
    assert "cannot be read" in out
