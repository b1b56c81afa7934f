"""One whole run: dbt build, quality gate, report, and a short table at the end.

Knows dbt's invocation and the order of the parts; knows nothing about stages or SQL.
"""

from __future__ import annotations

import difflib
import fcntl
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from misalign_profile import interrupt
from misalign_profile.errors import ConfigError, MisalignError, WarehouseBusy

_OURS = re.compile(r"misalign_profile\.errors\.\w+: (?P<line>.+)")


def project_root(start: Path | None = None) -> Path:
    """The folder that holds dbt_project.yml: the current one or one above it."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dbt_project.yml").is_file():
            return folder
    raise ConfigError(
        "no dbt_project.yml here or above", where=str(here), hint="change into the project's folder"
    )


def warehouse_path(root: Path, target: str) -> Path:
    """The DuckDB file of a target, as profiles.yml names it."""
    import yaml

    profiles = root / "profiles.yml"
    try:
        outputs = yaml.safe_load(profiles.read_text("utf-8"))["misalign_profile"]["outputs"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(
            f"no targets can be read: {type(error).__name__}: {error}", where=str(profiles)
        ) from None
    if target not in outputs:
        raise ConfigError(
            f"no target {target!r}", where="profiles.yml", hint=f"one of {', '.join(outputs)}"
        )
    return root / str(outputs[target]["path"])


@contextmanager
def exclusive(warehouse: Path) -> Iterator[None]:
    """Hold the target's lock file, or say at once that another run holds it."""
    path = warehouse.with_suffix(".lock")
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(path, "w"))
        except OSError as error:
            raise ConfigError(
                f"cannot write to the warehouse folder: {error.strerror}",
                where=str(path.parent),
                hint="give yourself write permission there, or run in a copy of the project",
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WarehouseBusy(
                "another run is using this warehouse",
                where=str(warehouse),
                hint="wait for it to end, then run again; nothing was changed",
            ) from None
        if warehouse.exists() and not os.access(warehouse, os.W_OK):
            raise ConfigError(
                "the warehouse file is not writable", where=str(warehouse), hint="chmod u+w it"
            )
        yield


class _Events:
    """Turns dbt's events into one line a node that took long or failed."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, event: Any) -> None:
        name = event.info.name
        if name == "LogStartLine":
            unique = event.data.node_info.unique_id
            if event.data.node_info.materialized == "seed" or ".model." in f".{unique}":
                place = f"{event.data.index:>4}/{event.data.total}"
                self._say(f"{place}  {unique.split('.')[-1]}")

    def _say(self, text: str) -> None:
        from misalign_profile.progress import say

        say(f"[{time.monotonic() - self.started:6.1f} s] {text}")


def check_variables(root: Path, variables: Mapping[str, Any]) -> None:
    """Refuse a var that dbt_project.yml does not know: dbt itself would ignore the slip."""
    known = _project_vars(root)
    for name in variables:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "the vars are listed in dbt_project.yml"
            raise ConfigError(f"unknown var {name!r}", where="--vars", hint=hint)


def check_protocols(settings: Mapping[str, Any], target: str) -> None:
    """Refuse the var ``protocols`` before anything is asked, not when its stage begins."""
    from misalign_profile.config import stage_config

    stage_config({"target": target, "protocols": settings["protocols"]})


def settings(root: Path, target: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Every var with the value that it has on a target under ``--vars``."""
    merged = {**_project_vars(root), **variables}
    return {
        name: value[target] if isinstance(value, dict) and target in value else value
        for name, value in merged.items()
    }


def _project_vars(root: Path) -> dict[str, Any]:
    import yaml

    text = (root / "dbt_project.yml").read_text(encoding="utf-8")
    known: dict[str, Any] = yaml.safe_load(text)["vars"]
    return known


def dbt(root: Path, command: str, target: str, variables: Mapping[str, Any]) -> None:
    """Run a dbt command in this process. Raises ``MisalignError`` with one line when it fails."""
    # Unit tests prove SQL logic: `make test`.
    skipped = ["--exclude-resource-type", "unit_test"] if command == "build" else []
    invoke(root, [command, *skipped], target, variables, profiles=root, callbacks=[_Events()])


def invoke(
    root: Path,
    command: Sequence[str],
    target: str,
    variables: Mapping[str, Any],
    *,
    profiles: Path,
    callbacks: Sequence[Callable[[Any], None]] = (),
) -> None:
    """Run dbt in this process with the profiles of a folder. Raises ``MisalignError`` with one line."""
    from dbt.cli.main import dbtRunner

    os.chdir(root)
    arguments = [*command, "--target", target]
    arguments += ["--project-dir", str(root), "--profiles-dir", str(profiles)]
    arguments += ["--log-level", "none", "--log-level-file", "debug"]
    if variables:
        arguments += ["--vars", json.dumps(variables, default=str)]
    try:
        result = dbtRunner(callbacks=list(callbacks)).invoke(arguments)
    finally:
        _let_go_of_the_file()
    if interrupt.asked() or isinstance(result.exception, KeyboardInterrupt):
        raise KeyboardInterrupt  # dbt returns it like any other trouble
    if result.success:
        return
    command_name = command[0]
    if result.exception is not None:
        raise ConfigError(
            first_line(str(result.exception)), where=f"dbt {command_name}", hint="see logs/dbt.log"
        )
    results: list[Any] = getattr(result.result, "results", None) or []
    failed = [r for r in results if str(r.status) in ("error", "fail", "runtime error")]
    message = first_line(failed[0].message or "") if failed else "dbt failed"
    ours = next((m for r in failed if (m := _OURS.search(r.message or ""))), None)
    if ours:
        raise MisalignError(ours["line"])
    where = failed[0].node.name if failed else command_name
    if "Could not set lock on file" in message or "Conflicting lock" in message:
        raise WarehouseBusy(
            "another process has the warehouse file open",
            where=target,
            hint="close it and run again",
        )
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    error = MisalignError(message + more, where=where, hint="details in logs/dbt.log")
    if all(str(r.status) == "fail" for r in failed):
        error.exit_code = 1
    raise error


def _let_go_of_the_file() -> None:
    """dbt-duckdb keeps its connection for the life of the process; gate and report need the file."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager as Connections

    if Connections._ENV is not None:
        Connections._ENV.close()
    Connections.close_all_connections()
    gc.collect()


def first_line(message: str) -> str:
    """The line of a dbt message that says what happened."""
    lines = [x.strip() for x in message.splitlines() if x.strip()]
    for line in lines:
        if "Error:" in line and not line.startswith(
            ("Runtime Error in", "Database Error in", "Compilation Error in")
        ):
            return line
    return next(
        (x for x in lines if not x.startswith(("Runtime Error", "Compilation Error"))), "dbt failed"
    )


def run(root: Path, target: str, variables: Mapping[str, Any]) -> int:
    """dbt build, gate, report, summary. Returns the gate's exit code."""
    from misalign_profile.summary import print_summary

    warehouse = warehouse_path(root, target)
    check_variables(root, variables)
    check_protocols(settings(root, target, variables), target)
    started = time.monotonic()
    with exclusive(warehouse):
        dbt(root, "build", target, variables)
        built = time.monotonic() - started
        report = warehouse.with_name(f"{target}_report.html")
        page = _start_report(warehouse, report)
        with _ended(page), interrupt.cleaned_by(page.kill):
            from misalign_profile.gate import run_gate

            code = run_gate(warehouse, root / "expectations", variables)
            page.wait()
        if page.returncode != 0:
            raise MisalignError(
                "the report could not be written", where=str(report), hint="run `misalign report`"
            )
    print_summary(warehouse, report, built, time.monotonic() - started, code)
    return code


def _start_report(warehouse: Path, out: Path) -> subprocess.Popen[bytes]:
    """Write the report in a process of its own, beside the gate: both only read."""
    command = [
        sys.executable,
        "-m",
        "misalign_profile.cli",
        "report",
        "--warehouse",
        str(warehouse),
    ]
    # In a group of its own: Ctrl-C reaches this process, which ends the other.
    return subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.DEVNULL, process_group=0
    )


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave no process behind, however the block ends."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
