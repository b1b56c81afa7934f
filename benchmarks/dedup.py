"""Near-duplicate removal beside its peers: the simhash package and its index.

``python benchmarks/dedup.py``; every case runs in a process of its own, so that its peak memory is
its own. ``--small`` takes seconds and writes nothing: it proves that the script works.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import duckdb
import jinja2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from corpus import SHAPES, prompts, text_like
from harness import ROOT, Record, best_of, isolated, once, write
from simhash import Simhash, SimhashIndex

from misalign_profile.plugin import register

FINGERPRINTS = "Fingerprints of 160-character prompts, normalisation included"
BESIDE = "All pairs, beside the package's index"
SCALE = "All pairs, by size and shape of the data"
GROWTH = "All pairs, growth"
PACKAGE = "`simhash` package, row by row"
INDEX = "`simhash.SimhashIndex`"
CASES = (  # two shared blocks and text at distance 16: with more rows the pairs pass the limit
    ("text-like", 10, (50_000, 200_000, 1_000_000)),
    ("uniform", 10, (50_000, 200_000, 1_000_000)),
    ("clustered", 10, (50_000, 200_000, 1_000_000)),
    ("one block shared", 10, (200_000,)),
    ("two blocks shared", 10, (50_000,)),
    ("text-like", 16, (50_000, 200_000)),
    ("uniform", 16, (50_000, 200_000, 1_000_000)),
)


def connect(threads: int, **tables: pa.Table) -> duckdb.DuckDBPyConnection:
    """A database in memory with the project's SQL functions and these tables."""
    con = duckdb.connect(config={"threads": threads})
    register(con)
    macro = (ROOT / "macros" / "simhash64.sql").read_text("utf-8") + "{{ create_simhash64_sql() }}"
    con.execute(jinja2.Environment(extensions=["jinja2.ext.do"]).from_string(macro).render())
    for name, table in tables.items():
        con.register("batch", table)
        con.execute(f"create table {name} as select * from batch")
        con.unregister("batch")
    return con


def query(con: duckdb.DuckDBPyConnection, sql: str) -> Callable[[], Any]:
    return lambda: con.execute(sql).fetchall()


def pairs_query(values: npt.NDArray[np.uint64], distance: int) -> Callable[[], Any]:
    """Counts the pairs within the distance in SQL; the compiled code is loaded already."""
    con = connect(2, fingerprints=pa.table({"fingerprint": pa.array(values)}))
    sql = (
        "select count(*) from (select unnest(near_duplicate_pairs(list(distinct fingerprint),"
        f" {distance}::utinyint)) from fingerprints)"
    )
    con.execute(sql + " where false")
    con.execute(f"select near_duplicate_pairs([1, 2]::ubigint[], {distance}::utinyint)")
    return query(con, sql)


def fingerprints(n: int) -> list[Record]:
    """Prompts a second: the package row by row, then the SQL functions."""
    texts = prompts(n)
    few = texts[: max(1, n // 100)]

    def package() -> None:
        for text in few:
            _ = Simhash(text).value

    seconds = best_of(package, 3)
    peer = len(few) / seconds
    records = [Record(FINGERPRINTS, PACKAGE, len(few), seconds, peer)]
    for function, threads, rows in (
        ("simhash64", 1, n),
        ("simhash64", 2, n),
        ("simhash64_sql", 2, max(1, n // 20)),
        ("simhash64_package", 2, len(few)),
    ):
        con = connect(threads, t=pa.table({"prompt": pa.array(texts[:rows])}))
        seconds = best_of(query(con, f"select bit_xor({function}(prompt)) from t"), 3)
        rate = rows / seconds
        case = f"`{function}`, {threads} thread{'s' if threads > 1 else ''}"
        records.append(Record(FINGERPRINTS, case, rows, seconds, rate, PACKAGE, rate / peer))
    return records


def index(n: int, distance: int) -> list[Record]:
    """All neighbours of ``n`` fingerprints; raises when the two do not find the same pairs."""
    values = np.unique(text_like(n))
    objects = [(str(i), Simhash(int(value))) for i, value in enumerate(values)]
    found: set[tuple[int, int]] = set()

    def peer() -> None:
        known = SimhashIndex(objects, k=distance)
        for i, (_, value) in enumerate(objects):
            found.update((i, int(j)) for j in known.get_near_dups(value) if i < int(j))

    theirs = once(peer)
    ask = pairs_query(values, distance)
    ours = best_of(ask, 3)
    ((pairs,),) = ask()
    if len(found) != pairs:
        raise RuntimeError(f"{INDEX} finds {len(found)} pairs, the SQL function {pairs}")
    case = f"`near_duplicate_pairs`, distance {distance}"
    return [
        Record(BESIDE, f"{INDEX}, distance {distance}", n, theirs, note=f"{pairs:,} pairs"),
        Record(BESIDE, case, n, ours, None, INDEX, theirs / ours, note=f"{pairs:,} pairs"),
    ]


def scale(shape: str, n: int, distance: int) -> list[Record]:
    """The SQL function on one shape of data."""
    ask = pairs_query(SHAPES[shape](n), distance)
    found: list[Any] = []
    seconds = once(lambda: found.extend(ask()))
    case = f"{shape}, distance {distance}"
    return [Record(SCALE, case, n, seconds, note=f"{found[0][0]:,} pairs")]


def growth(records: list[Record]) -> list[Record]:
    """The exponent e of seconds ~ n ** e between the smallest and the largest n of a case."""
    cases: dict[str, list[Record]] = {}
    for record in records:
        if record.table == SCALE:
            cases.setdefault(record.case, []).append(record)
    found = []
    for case, points in cases.items():
        low, high = min(points, key=lambda r: r.n), max(points, key=lambda r: r.n)
        if low.n < high.n:
            exponent = math.log(high.seconds / low.seconds) / math.log(high.n / low.n)
            note = f"exponent {exponent:.2f} from {low.n:,} to {high.n:,}"
            found.append(Record(GROWTH, case, high.n, high.seconds, note=note))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds, writes nothing")
    small = parser.parse_args().small
    records = isolated(fingerprints, 2_000 if small else 300_000)
    for n in (200,) if small else (1_000, 5_000):
        records += isolated(index, n, 10)
    for shape, distance, sizes in CASES:
        for n in sizes:
            records += isolated(scale, shape, n // 100 if small else n, distance)
    write("dedup", records + growth(records), "make bench", keep=not small)


if __name__ == "__main__":
    main()
