"""What every benchmark shares: one process a case, best of several rounds, a table, JSON lines, a page.

Knows nothing about what is measured. Ratios come from one run on one machine; absolute figures
move with whatever else the machine does.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = "| case | n | seconds | a second | beside | times | peak MiB | |"
PACKAGES = ("duckdb", "numba", "numpy", "pandas", "simhash", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a table.

    ``rate`` is items a second, ``ratio`` how many times faster than the peer named in ``beside``;
    what means nothing in a case is None. ``peak_mib`` is the peak of the whole process.
    """

    table: str
    case: str
    n: int
    seconds: float | None
    rate: float | None = None
    beside: str = ""
    ratio: float | None = None
    peak_mib: float | None = None
    note: str = ""


def once(function: Callable[[], Any]) -> float:
    """Seconds of a single round: for what takes long."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def best_of(function: Callable[[], Any], rounds: int) -> float:
    """Seconds of the fastest of several rounds, after one round that is not counted."""
    function()
    return min(once(function) for _ in range(rounds))


def _inside(function: Callable[..., list[Record]], arguments: tuple[Any, ...], pipe: Any) -> None:
    records = function(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send([replace(record, peak_mib=round(peak)) for record in records])
    pipe.close()


def isolated(function: Callable[..., list[Record]], *arguments: Any) -> list[Record]:
    """The function's records from a fresh process, with its peak memory. Raises if it fails."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_inside, args=(function, arguments, theirs))
    process.start()
    theirs.close()
    try:
        records: list[Record] = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"{function.__name__}{arguments} ended with {process.exitcode}"
        ) from None
    process.join()
    return records


def machine() -> dict[str, Any]:
    """What the figures were measured on, and when. Names no host and no path."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def figure(value: float | None) -> str:
    """Three significant digits: 0.0123, 4.56, 1,230."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def tables(records: Iterable[Record]) -> str:
    """Markdown, one table for each name of a table."""
    lines: list[str] = []
    current = ""
    for record in records:
        if record.table != current:
            current = record.table
            lines += ["", f"**{current}**", "", HEAD, "|---|---:|---:|---:|---|---:|---:|---|"]
        numbers = [record.seconds, record.rate, record.ratio, record.peak_mib]
        seconds, rate, ratio, peak = map(figure, numbers)
        cells = [record.case, f"{record.n:,}", seconds, rate, record.beside, ratio, peak]
        cells.append(record.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines).strip() + "\n"


def publish(
    suite: str, text: str, lines: Iterable[dict[str, Any]], command: str, *, keep: bool
) -> None:
    """Print ``text``; with ``keep``, put it into docs/benchmarks.md and ``lines`` beside, as JSON."""
    where = machine()
    print(text)
    if not keep:
        return
    RESULTS.mkdir(exist_ok=True)
    written = [json.dumps({"suite": suite} | line | where) for line in lines]
    (RESULTS / f"{suite}.jsonl").write_text("\n".join(written) + "\n", "utf-8")
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    head = (
        f"Measured on {where['date']}: {where['cpu']}, {where['cores']} cores, Python"
        f" {where['python']}; {versions}. Command: `{command}`."
    )
    page = PAGE.read_text("utf-8")
    begin, end = f"<!-- {suite}: begin -->", f"<!-- {suite}: end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise RuntimeError(f"{PAGE.name} lacks the marks {begin} and {end}")
    PAGE.write_text(f"{before}{begin}\n{head}\n\n{text}{end}{after}", "utf-8")


def write(suite: str, records: list[Record], command: str, *, keep: bool) -> None:
    """Publish the tables of these records."""
    publish(suite, tables(records), map(asdict, records), command, keep=keep)
