"""The marts of verdicts on a large benchmark, beside the same figures with pandas and NumPy.

``python benchmarks/marts.py``; verdicts are invented in a process of their own, the marts and their
peer are timed in one each, so that a peak is that of the marts. ``--small`` takes seconds and
writes nothing. The peer's figures are held against the marts': a difference above 1e-9 is an error.
Knows nothing about dbt: a mart's SQL is rendered and run as it is in the models' folders.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import marts_peer
from harness import Record, isolated, once, write
from invented_verdicts import invent
from mart_models import build

MODELS = 10
THREADS = 2
MEMORY = "4GB"
RATES = (  # what reads fct_verdicts, in the order of what reads what
    "mart_alignment_intervals",
    "mart_alignment_metrics",
    "int_verdicts__domain_counts",
    "mart_domain_metrics",
    "int_verdicts__dimension_pairs",
    "mart_trade_off_intervals",
    "mart_trade_offs",
    "mart_published_comparison",
    "int_verdicts__joint",
    "mart_joint_alignment_intervals",
    "mart_joint_alignment",
)
COMPARISONS = (
    "int_verdicts__model_pairs",
    "int_verdicts__counts_to_compare",
    "mart_pareto_shares",
    "mart_pareto_front",
    "mart_comparison_intervals",
    "mart_model_comparisons",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of a run: rows of fct_verdicts, and replicates of the bootstrap."""

    bootstrap_rows: int = 1_000_000
    point_rows: int = 10_000_000
    peer_rows: int = 1_000_000
    replicates: int = 1_000


SMALL = Plan(20_000, 40_000, 20_000, 50)


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """The warehouse with the threads and the memory that the limits speak of."""
    settings = {"threads": THREADS, "memory_limit": MEMORY, "temp_directory": f"{path}.spilled"}
    con = duckdb.connect(path, config=settings)
    con.execute("set enable_progress_bar = false")
    return con


def make(path: Path, rows: int, missing: float = 0) -> list[Record]:
    """Invent a warehouse; no record, since nobody waits for it."""
    with connect(path) as con:
        invent(con, rows, MODELS, missing)
    return []


def marts(path: Path, replicates: int, table: str) -> list[Record]:
    """Every mart, one after the other, and all together; comparisons of models with replicates only."""
    with connect(path) as con:
        rows: int = con.sql("select count(*) from fct_verdicts").fetchall()[0][0]
        records = []
        spilled = 0
        began = time.process_time()
        for name in RATES + COMPARISONS if replicates else RATES:
            processor = time.process_time()
            seconds = once(lambda name=name: build(con, name, bootstrap_replicates=replicates))
            processor = time.process_time() - processor
            found = con.sql(f"select count(*) from {name}").fetchall()[0][0]
            note = f"{processor:.1f} s of processor time, {found:,} rows"
            records.append(Record(table, f"`{name}`", rows, seconds, note=note))
            temporary = con.sql("select coalesce(sum(size), 0) from duckdb_temporary_files()")
            spilled = max(spilled, temporary.fetchall()[0][0])
        processor = time.process_time() - began
    seconds = sum(record.seconds or 0 for record in records)
    note = f"{processor:.1f} s of processor time, {spilled / 2**20:,.0f} MiB spilled to disk"
    return [*records, Record(table, "all of them", rows, seconds, rows / seconds, note=note)]


def beside(path: Path, replicates: int, ours: float) -> list[Record]:
    """The peer's two ways of doing it, beside the seconds of all marts over the same rows."""
    with connect(path) as con:
        given = marts_peer.read(con, replicates)
    table = f"The same figures with pandas and NumPy, {replicates:,} replicates"
    rows = len(given.verdicts)
    records = [Record(table, "marts", rows, ours, rows / ours)]
    for case, bootstrap in marts_peer.WAYS.items():
        start, processor = time.perf_counter(), time.process_time()
        figures = marts_peer.figures(given, bootstrap)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        with connect(path) as con:
            equal = marts_peer.compare(con, figures)
        note = f"{processor:.1f} s of processor time, {equal:,} figures equal to 1e-9"
        records.append(
            Record(table, case, rows, seconds, rows / seconds, "marts", seconds / ours, note=note)
        )
    return records


def measure(plan: Plan, folder: Path) -> list[Record]:
    """All tables."""
    records = []
    path = folder / "bootstrap.duckdb"
    isolated(make, path, plan.bootstrap_rows)
    records += isolated(
        marts, path, plan.replicates, f"Marts with {plan.replicates:,} bootstrap replicates"
    )
    ours = records[-1].seconds
    if plan.peer_rows != plan.bootstrap_rows:
        path = folder / "peer.duckdb"
        isolated(make, path, plan.peer_rows)
        ours = isolated(marts, path, plan.replicates, "")[-1].seconds
    records += isolated(beside, path, plan.replicates, ours)
    path = folder / "points.duckdb"
    isolated(make, path, plan.point_rows)
    return records + isolated(marts, path, 0, "Marts of rates, without replicates")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds, writes nothing")
    small = parser.parse_args().small
    with tempfile.TemporaryDirectory() as folder:
        records = measure(SMALL if small else Plan(), Path(folder))
    write("marts", records, "make bench", keep=not small)


if __name__ == "__main__":
    main()
