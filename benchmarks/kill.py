"""Pulling the plug: ``dbt run`` is killed again and again, and nothing is lost or torn.

``python benchmarks/kill.py --kills 50``. A run that nobody interrupts is the reference. Then a run on
a copy of the same folder is killed with SIGKILL at random moments of its life, in the order of that
life, each time going on where the last one fell; at the end one run comes through. Its tables must
equal the reference's, and a kill may cost at most the batch in flight. ``--keep`` writes the page.
"""

from __future__ import annotations

import argparse
import bisect
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
from harness import ROOT, Record, write

from misalign_profile.journal import Journal

sys.path.insert(0, str(ROOT / "tests" / "python"))

from conftest import copy_project

WATCHED = ROOT / "benchmarks" / "watched.py"
SIZE = 16  # calls a batch
SECONDS = 0.01  # a batch takes
VARS = {"response_prompts_limit": 60}
TARGET = "scripted"
# Left out of the comparison: which run asked, when, and how long it took cannot be the same twice.
OF_A_RUN = ("run_id", "asked_at", "first_asked_at", "seconds", "calls_per_second")
# One row a run: compared as sums over the runs.
SUMMED = {"marts.mart_usage": ("stage", "role", "model", "verb", "is_current")}
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Aim:
    """A moment: ``seconds`` after the model's event, once ``calls`` distinct calls were asked in all."""

    event: str
    model: str
    calls: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Kill:
    """Where a kill fell, how long after the run's first model, and the calls that were in flight."""

    model: str
    seconds: float
    lost: frozenset[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the kills did. ``asked``: how often each call was asked, over all runs."""

    kills: tuple[Kill, ...]
    asked: Counter[str]
    differing: tuple[str, ...]
    tables: int
    calls: int
    problems: tuple[str, ...]


def lines(log: Path, start: int = 0) -> list[Line]:
    """What ``watched.py`` wrote, from a byte on."""
    if not log.exists():
        return []
    with open(log, "rb") as file:
        file.seek(start)
        whole = file.read().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def asked(written: Iterable[Line]) -> Counter[str]:
    return Counter(call for line in written for call in line.get("calls", ()))


def _json(variables: Mapping[str, Any]) -> str:
    return json.dumps(dict(variables))


def start(root: Path, variables: Mapping[str, Any], *more: str) -> subprocess.Popen[bytes]:
    """A watched ``dbt run`` in a project; its log is ``asked.jsonl``, its output ``run.log``."""
    command = [sys.executable, str(WATCHED), "asked.jsonl", str(SIZE), str(SECONDS)]
    command += ["dbt", "run", "--target", TARGET, "--vars", _json(variables), *more]
    with open(root / "run.log", "wb") as output:
        return subprocess.Popen(command, cwd=root, stdout=output, stderr=subprocess.STDOUT)


def finish(root: Path, variables: Mapping[str, Any], *more: str) -> None:
    """A watched run from beginning to end. Raises ``RuntimeError`` when it fails."""
    if start(root, variables, *more).wait():
        raise RuntimeError(f"the run failed: {(root / 'run.log').read_text()[-3000:]}")


def prepared(folder: Path, variables: Mapping[str, Any]) -> Path:
    """A copy of the project with its seeds loaded."""
    folder.mkdir()
    done = copy_project(folder).dbt("seed", "--target", TARGET, "--vars", _json(variables))
    if done.returncode:
        raise RuntimeError(done.stdout)
    return folder


def contents(warehouse: Path) -> dict[str, tuple[int, int]]:
    """Row count and an order-free hash of every table of a warehouse."""
    found: dict[str, tuple[int, int]] = {}
    with duckdb.connect(str(warehouse), read_only=True) as con:
        tables = con.execute(
            "select table_schema || '.' || table_name, list(column_name order by column_name)"
            " from information_schema.columns group by 1 order by 1"
        ).fetchall()
        for table, columns in tables:
            rows_of = ", ".join(f'"{c}"' for c in columns if c not in OF_A_RUN) + f" from {table}"
            if table in SUMMED:
                keys = ", ".join(SUMMED[table])
                sums = "sum(columns('^(calls|.*tokens|retries)$'))"
                rows_of = f"{keys}, {sums} from {table} group by {keys}"
            ((rows, total),) = con.execute(
                f"select count(*), coalesce(sum(hash(r)::hugeint), 0) from (select {rows_of}) as r"
            ).fetchall()
            found[table] = (rows, total)
    return found


def aims(reference: Sequence[Line], kills: int, seed: int) -> list[Aim]:
    """Random moments of the reference's life from its first model on, in their order."""
    times = [line["at"] for line in reference]
    seen: set[str] = set()
    calls = []
    for line in reference:
        seen |= set(line.get("calls", ()))
        calls.append(len(seen))
    moments = random.Random(seed)
    found = []
    for moment in sorted(moments.uniform(times[0], times[-1]) for _ in range(kills)):
        n = bisect.bisect_right(times, moment) - 1
        line = reference[n]
        event = "start" if line["event"] == "batch" else line["event"]
        found.append(Aim(event, line["model"], calls[n], moment - times[n]))
    return found


def killed(root: Path, aim: Aim, variables: Mapping[str, Any]) -> Kill | None:
    """Run and kill at the moment; None when the run came through before it."""
    log = root / "asked.jsonl"
    before = asked(lines(log))
    begin = log.stat().st_size if log.exists() else 0
    run = start(root, variables)
    try:
        while run.poll() is None:
            now = lines(log, begin)
            there = any((x["event"], x["model"]) == (aim.event, aim.model) for x in now)
            if there and len(before | asked(now)) >= aim.calls:
                time.sleep(aim.seconds)
                break
            time.sleep(0.002)
        alive = run.poll() is None
    finally:
        run.kill()
        run.wait()
    at = time.time()
    if not alive:
        if run.returncode:
            raise RuntimeError(f"the run failed: {(root / 'run.log').read_text()[-3000:]}")
        return None
    return _fallen(root, lines(log, begin), at)


def _fallen(root: Path, run: Sequence[Line], at: float) -> Kill:
    mine = set(asked(run))
    lost = mine - Journal(journal_of(root)).known(mine).keys()
    over = {line["model"] for line in run if line["event"] == "end"}
    running = [x["model"] for x in run if x["event"] == "start" and x["model"] not in over]
    if lost:
        where = next(x["model"] for x in reversed(run) if lost & set(x.get("calls", ())))
    else:
        where = running[-1] if running else "between two models"
    return Kill(where, at - run[0]["at"], frozenset(lost))


def journal_of(root: Path) -> Path:
    return root / "warehouse" / f"{TARGET}_journal"


def warehouse_of(root: Path) -> Path:
    return root / "warehouse" / f"{TARGET}.duckdb"


def torture(
    reference: Path, root: Path, planned: Sequence[Aim], variables: Mapping[str, Any]
) -> Outcome:
    """Kill runs in ``root`` as planned, let one come through, compare with the reference."""
    kills: list[Kill] = []
    for aim in planned:
        for part in (1, 4, 16, 64):  # the run may be faster this time
            kill = killed(root, replace(aim, seconds=aim.seconds / part), variables)
            if kill is not None:
                break
        else:
            raise RuntimeError(f"no run lived to see {aim}")
        kills.append(kill)
        print(f"{len(kills)}: {kill.model}, {len(kill.lost)} calls in flight", flush=True)
        problems = Journal(journal_of(root)).verify()[1]
        if problems:
            raise RuntimeError(f"after a kill in {kill.model}: {problems}")
    finish(root, variables)
    ours, theirs = contents(warehouse_of(root)), contents(warehouse_of(reference))
    differing = sorted(t for t in ours.keys() | theirs.keys() if ours.get(t) != theirs.get(t))
    calls, found = Journal(journal_of(root)).verify()
    count = asked(lines(root / "asked.jsonl"))
    return Outcome(tuple(kills), count, tuple(differing), len(theirs), calls, tuple(found))


def wrong(outcome: Outcome) -> list[str]:
    """What the journal promised and did not keep, a line each."""
    found = [f"{table} differs" for table in outcome.differing]
    found += [f"after the last run: {problem}" for problem in outcome.problems]
    found += [
        f"a kill in {kill.model} cost {len(kill.lost)} calls"
        for kill in outcome.kills
        if len(kill.lost) > SIZE
    ]
    lost = Counter(call for kill in outcome.kills for call in kill.lost)
    if {call: n - 1 for call, n in outcome.asked.items() if n > 1} != dict(lost):
        found.append("calls were asked again that were not in flight at a kill")
    return found


def records(outcome: Outcome, reference: Sequence[Line]) -> list[Record]:
    """The tables of docs/benchmarks.md."""
    life = reference[-1]["at"] - reference[0]["at"]
    once = sum(asked(reference).values())
    again = sum(outcome.asked.values()) - len(outcome.asked)
    most = max(len(kill.lost) for kill in outcome.kills)
    caught = sum(1 for kill in outcome.kills if kill.lost)
    kept = outcome.tables - len(outcome.differing)
    what = "What the kills cost"
    found = [
        Record(what, "calls asked by a run that nobody interrupts", once, life),
        Record(
            what,
            "calls asked twice",
            again,
            None,
            note=f"at most {most} a kill, {SIZE} are a batch",
        ),
        Record(what, "kills with a batch in flight", caught, None, note=f"of {len(outcome.kills)}"),
        Record(what, "tables with the same content", kept, None, note=f"of {outcome.tables}"),
        Record(what, "calls in the journal", outcome.calls, None, note="`verify` passes"),
    ]
    places = list(dict.fromkeys(x["model"] for x in reference if x["event"] == "start"))
    order = {place: n for n, place in enumerate(places)}
    models = sorted({k.model for k in outcome.kills}, key=lambda m: order.get(m, len(order)))
    for model in models:
        here = [kill for kill in outcome.kills if kill.model == model]
        again = sum(len(kill.lost) for kill in here)
        note = f"{sum(1 for k in here if k.lost)} in a batch, {again} calls asked again"
        mean = sum(kill.seconds for kill in here) / len(here)
        found.append(
            Record(f"Where {len(outcome.kills)} kills fell", model, len(here), mean, note=note)
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--keep", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        reference = prepared(Path(scratch) / "reference", VARS)
        root = Path(shutil.copytree(reference, Path(scratch) / "killed"))
        finish(reference, VARS)
        told = lines(reference / "asked.jsonl")
        outcome = torture(reference, root, aims(told, options.kills, options.seed), VARS)
        write("kill", records(outcome, told), "make torture", keep=options.keep)
    problems = wrong(outcome)
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
