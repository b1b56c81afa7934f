"""The SQL for near-duplicates finds what comparing all with all finds, and no more."""

from __future__ import annotations

import itertools
from pathlib import Path

import duckdb
import jinja2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAIRS = jinja2.Environment().from_string(
    (ROOT / "macros" / "near_duplicate_pairs.sql").read_text("utf-8")
)
CLUSTERED = ROOT / "models" / "dedup" / "int_prompts__clustered.sql"
RANDOM = np.random.default_rng(42)


def flipped(value: int, bits: list[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def planted() -> list[int]:
    """2,000 fingerprints: random ones, and neighbours of some at every distance 0..18."""
    values = [int(v) for v in RANDOM.integers(0, 2**64, 1_000, np.uint64)]
    values += [0, 2**64 - 1, 2**63, 2**63 - 1, 1]
    for n in range(995):
        distance, base = n % 19, values[n % 60]
        if n % 3 == 0:  # as even over the four blocks as can be: the hardest case for blocks
            bits = [
                16 * (i % 4) + int(RANDOM.integers(4)) * 4 + i // 4 % 4 for i in range(distance)
            ]
        elif n % 3 == 1:  # one block takes all that it can
            bits = [*range(16)][:distance] + [*range(16, 64)][: max(0, distance - 16)]
        else:
            bits = RANDOM.choice(64, distance, replace=False).tolist()
        values.append(flipped(base, bits))
    return values


@pytest.fixture(scope="module")
def fingerprints() -> np.ndarray:
    return np.array(planted(), np.uint64)


@pytest.fixture(scope="module")
def distances(fingerprints: np.ndarray) -> np.ndarray:
    """Hamming distance of every pair, shape (n, n)."""
    return np.bitwise_count(fingerprints[:, None] ^ fingerprints[None, :])


@pytest.fixture(scope="module")
def connection(fingerprints: np.ndarray) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("create table fingerprints (name integer, bits ubigint)")
    con.executemany(
        "insert into fingerprints values (?, ?)", [(n, int(v)) for n, v in enumerate(fingerprints)]
    )
    con.execute("insert into fingerprints values (-1, null)")
    return con


def pairs(con: duckdb.DuckDBPyConnection, max_distance: int) -> list[tuple[int, int, int]]:
    sql = PAIRS.module.near_duplicate_pairs("fingerprints", "name", "bits", max_distance)
    return con.execute(sql).fetchall()


@pytest.mark.parametrize("max_distance", range(17))
def test_equals_all_pairs(
    connection: duckdb.DuckDBPyConnection, distances: np.ndarray, max_distance: int
) -> None:
    found = pairs(connection, max_distance)
    a, b = np.nonzero(np.triu(distances <= max_distance, 1))
    expected = {(int(i), int(j), int(distances[i, j])) for i, j in zip(a, b, strict=True)}
    assert len(found) == len(set(found)), "a pair came out twice"
    assert set(found) == expected
    assert max(d for *_, d in found) == max_distance, "the planted neighbours prove the boundary"


def test_all_equal_fingerprints() -> None:
    con = duckdb.connect()
    con.execute(
        "create table fingerprints as select i as name, 7::ubigint as bits from range(50) t(i)"
    )
    assert len(pairs(con, 10)) == 50 * 49 // 2


def test_clusters_are_connected_components() -> None:
    """Against union-find, on graphs from all loose ends to one long chain."""
    for edges in (0, 40, 150, 199):
        con = duckdb.connect()
        if edges == 199:
            order = RANDOM.permutation(200)
            links = [(int(x), int(y)) for x, y in itertools.pairwise(order)]
        else:
            links = [(int(x), int(y)) for x, y in RANDOM.integers(0, 200, (edges, 2)) if x != y]
        links = sorted({(min(link), max(link)) for link in links})
        root = list(range(200))

        def find(n: int, root: list[int] = root) -> int:
            while root[n] != n:
                n = root[n]
            return n

        for x, y in links:
            low, high = sorted((find(x), find(y)))
            root[high] = low
        con.execute(
            "create table int_prompts__fingerprinted as select i::integer as prompt_id "
            "from range(200) t(i)"
        )
        con.execute("create table int_prompts__near_duplicates (id_a integer, id_b integer)")
        for link in links:
            con.execute("insert into int_prompts__near_duplicates values (?, ?)", link)
        sql = jinja2.Template(CLUSTERED.read_text("utf-8")).render(ref=lambda name: name)
        assert dict(con.execute(sql).fetchall()) == {n: find(n) for n in range(200)}
