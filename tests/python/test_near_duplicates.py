"""The search for near-duplicates finds what comparing all with all finds, and no more."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misalign_profile.errors import ConfigError, InputError
from misalign_profile.neighbours import (
    Block,
    cheapest_blocks,
    distance_counts,
    near_duplicate_pairs,
    pairs_within,
)
from misalign_profile.plugin import register

ROOT = Path(__file__).parents[2]
CLUSTERED = ROOT / "models" / "dedup" / "int_prompts__clustered.sql"
RANDOM = np.random.default_rng(42)
FOUR, FIVE, EIGHT = (16, 16, 16, 16), (13, 13, 13, 13, 12), (8,) * 8
LAST = 2**64 - 1
NAMES = ("fingerprint_a", "fingerprint_b", "distance")
SQL = """
    select unnest(near_duplicate_pairs(list(fingerprint), {}), recursive := true)
    from (select distinct fingerprint from t)
"""

Words = npt.NDArray[np.uint64]
Pair = tuple[int, int, int]


def flipped(value: int, bits: Iterable[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def planted() -> list[int]:
    """2,000 fingerprints: random ones, and neighbours of some at every distance 0..18."""
    values = [int(v) for v in RANDOM.integers(0, 2**64, 1_000, np.uint64)]
    values += [0, LAST, 2**63, 2**63 - 1, 1]
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


def everything(max_distance: int) -> list[Block]:
    """The plan that compares all with all."""
    return [Block(0, 0, max_distance)]


def blocks(widths: Iterable[int], max_distance: int, left_out: Iterable[int] = ()) -> list[Block]:
    """A plan whose radii are as even as can be over the blocks that are not left out."""
    widths = list(widths)
    used = [k for k in range(len(widths)) if k not in left_out]
    radii = [-1] * len(widths)
    for k in itertools.islice(itertools.cycle(used), max_distance + 1):
        radii[k] += 1
    return [
        Block(sum(widths[:k]), width, radius)
        for k, (width, radius) in enumerate(zip(widths, radii, strict=True))
    ]


def all_with_all(values: Words, max_distance: int) -> list[Pair]:
    """The oracle: every two different values, in numpy."""
    values = np.unique(values)
    apart = np.bitwise_count(values[:, None] ^ values[None, :])
    a, b = np.nonzero(np.triu(apart <= max_distance, 1))
    return list(zip(values[a].tolist(), values[b].tolist(), apart[a, b].tolist(), strict=True))


def found(values: Words | list[int], max_distance: int, **options: Any) -> list[Pair]:
    columns = pairs_within(np.asarray(values, np.uint64), max_distance, **options)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.fixture(scope="module")
def fingerprints() -> Words:
    return np.array(planted(), np.uint64)


@pytest.mark.parametrize("max_distance", range(17))
def test_equals_all_with_all(fingerprints: Words, max_distance: int) -> None:
    expected = all_with_all(fingerprints, max_distance)
    if max_distance:
        assert max(d for *_, d in expected) == max_distance, "the planted ones prove the boundary"
    assert found(fingerprints, max_distance) == expected
    plans = (
        everything(max_distance),
        blocks(FOUR, max_distance),
        blocks(FIVE, max_distance),
        blocks(EIGHT, max_distance),
        blocks(FIVE, max_distance, left_out=(0,)),
        blocks(EIGHT, max_distance, left_out=(1, 6)),
        list(reversed(blocks(FIVE, max_distance))),
        blocks((10, 10, 10), max_distance),  # blocks need not cover all bits
    )
    for plan in plans:
        assert found(fingerprints, max_distance, blocks=plan, threads=2) == expected, plan


@st.composite
def cuts(draw: st.DrawFn, max_distance: int) -> list[Block]:
    """Blocks of up to 9 bits in any order, with any radii that suffice."""
    plan, shift, left = [], 0, max_distance + 1
    for width in draw(st.lists(st.integers(0, 9), max_size=7)):
        share = draw(st.integers(0, left))
        plan.append(Block(shift, width, share - 1))
        shift, left = shift + width, left - share
    return draw(st.permutations([*plan, Block(shift, 0, left - 1)]))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_set_any_blocks(data: st.DataObject) -> None:
    word = st.sampled_from([0, 1, 2**63, LAST]) | st.integers(0, LAST)
    near = st.builds(flipped, word, st.lists(st.integers(0, 63), max_size=12))
    bases = data.draw(st.lists(near, max_size=6))
    some = st.sampled_from(bases) if bases else word
    values = bases + data.draw(
        st.lists(st.builds(flipped, some, st.lists(st.integers(0, 63), max_size=20)), max_size=30)
    )
    max_distance = data.draw(st.integers(0, 64))
    expected = all_with_all(np.array(values, np.uint64), max_distance)
    assert found(values, max_distance) == expected
    plan = data.draw(cuts(max_distance))
    assert found(values, max_distance, blocks=plan, threads=3) == expected


def test_the_smallest_sets() -> None:
    assert found([], 10) == found([7], 64) == found([7, 7, 7], 64) == found([7, 8], 0) == []
    assert found([LAST, 0], 64) == [(0, LAST, 64)]
    assert found([LAST, 0], 63) == []
    assert found([5] * 100_000 + [4], 3) == [(4, 5, 1)]
    for column, dtype in zip(pairs_within(np.array([1, 0], np.uint64), 1), "QQB", strict=True):
        assert column.dtype == np.dtype(dtype)


def in_ball(center: int, n: int, radius: int) -> Words:
    """``n`` fingerprints at most ``radius`` bits from one."""
    flips = np.uint64(1) << RANDOM.integers(0, 64, (radius, n), np.uint64)
    return np.bitwise_xor.reduce(flips, axis=0) ^ np.uint64(center)


def skewed(n: int) -> dict[str, Words]:
    """Sets that a search by blocks could stumble over."""
    words = RANDOM.integers(0, 2**64, n, np.uint64)
    clusters = [in_ball(int(center), 50, 3) for center in words[: n // 500]]
    half = words.copy()
    half[::2] = half[::2] >> np.uint64(16) << np.uint64(16)
    return {
        "a tenth in clusters of 50": np.concatenate([words, *clusters]),
        "one block shared": words & ~np.uint64(0xFFFF),
        "two blocks shared": words & ~np.uint64(0xFFFF0000FFFF),
        "half share a block": half,
        "few values in every block": words & np.uint64(0x00FF00FF00FF00FF),
        "rare bits": words & RANDOM.permutation(words),
    }


@pytest.mark.parametrize("shape", skewed(500))
def test_skewed_sets(shape: str) -> None:
    small = skewed(1_500)[shape]
    for plan in (None, blocks(FOUR, 10), blocks(FIVE, 10), blocks(EIGHT, 10)):
        assert found(small, 10, blocks=plan) == all_with_all(small, 10), plan
    large = np.concatenate([skewed(20_000)[shape], in_ball(12345, 300, 6)])
    chosen = pairs_within(large, 8)
    reference = pairs_within(large, 8, blocks=everything(8))
    assert len(chosen[0]) > 0
    assert all(np.array_equal(x, y) for x, y in zip(chosen, reference, strict=True))


@pytest.mark.parametrize(
    ("n", "layout"), [(8_000, (0,)), (50_000, FIVE), (200_000, FIVE), (1_000_000, FOUR)]
)
def test_blocks_that_are_chosen(n: int, layout: tuple[int, ...]) -> None:
    words = np.unique(RANDOM.integers(0, 2**64, n, np.uint64))
    plan = cheapest_blocks(words, 10)
    assert tuple(block.width for block in plan) == layout
    assert sum(block.radius + 1 for block in plan) == 11
    if n <= 50_000:
        assert found(words, 10) == found(words, 10, blocks=everything(10))
    if len(layout) > 1:
        shared = np.unique(words & ~np.uint64((1 << layout[0]) - 1))
        assert cheapest_blocks(shared, 10)[0].radius == -1, "a useless block is left out"


@pytest.mark.parametrize("width", [0, 1, 2, 7, 13, 16])
def test_distance_counts_against_direct_counting(width: int) -> None:
    anywhere = RANDOM.integers(0, 1 << width, 700)
    low = anywhere & RANDOM.permutation(anywhere) & RANDOM.permutation(anywhere)
    for values in (anywhere, low, np.zeros(700, np.int64), anywhere[:1], anywhere[:0]):
        apart = np.bitwise_count(values[:, None] ^ values[None, :])
        direct = np.bincount(apart.ravel(), minlength=width + 1)
        np.testing.assert_allclose(distance_counts(values, width), direct, rtol=1e-12, atol=1e-6)


def test_order_threads_and_repeats_change_nothing(fingerprints: Words) -> None:
    crowd = np.concatenate([fingerprints, in_ball(99, 500, 4), skewed(9_000)["half share a block"]])
    expected = found(crowd, 12, threads=1)
    assert expected == sorted(expected)
    assert len(expected) > 100_000, "enough for every thread to hand over several times"
    for threads in (2, 5, None):
        for rows in (crowd[::-1], RANDOM.permutation(np.repeat(crowd, 3))):
            assert found(rows, 12, threads=threads) == expected
    with ThreadPoolExecutor(4) as pool:  # as DuckDB does
        assert all(pairs == expected for pairs in pool.map(found, [crowd] * 4, [12] * 4))


def test_wrong_arguments_are_refused() -> None:
    words = np.array([1, 2], np.uint64)
    for distance in (-1, 65, 255):
        with pytest.raises(ConfigError, match=rf"{distance} bits apart.*0\.\.64"):
            pairs_within(words, distance)
    with pytest.raises(TypeError, match="int64"):
        pairs_within(np.array([1, -1]), 3)
    with pytest.raises(ValueError, match="would miss pairs within 3 bits"):
        pairs_within(words, 3, blocks=blocks(FOUR, 2))


@pytest.mark.parametrize("plan", [None, blocks(FIVE, 10)])
def test_too_many_pairs(plan: list[Block] | None) -> None:
    ball = in_ball(7, 3_000, 5)
    number = len(pairs_within(ball, 10, blocks=plan)[0])
    assert len(pairs_within(ball, 10, blocks=plan, max_pairs=number)[0]) == number
    for limit in (number - 1, 1_000, 0):
        with pytest.raises(InputError, match="lower the distance") as error:
            pairs_within(ball, 10, blocks=plan, max_pairs=limit)
        assert f"and the limit is {limit:,}" in str(error.value)
        named = float(str(error.value).split()[1].replace(",", ""))
        assert named == pytest.approx(number, rel=0.15), "two digits of an estimate"


def in_a_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc: ru_maxrss counts the parent's")
def test_too_many_pairs_take_no_memory() -> None:
    """450 million pairs would be 11 GB; the limit of a million is 8 MB."""
    code = """
import re, numpy as np
from misalign_profile import errors, neighbours
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
words = np.arange(30_000, dtype=np.uint64)
before = peak()
try:
    neighbours.pairs_within(words, 15, max_pairs=1_000_000)
except errors.InputError as error:
    print(peak() - before, error)
"""
    grown, line = in_a_process(code).split(maxsplit=1)
    assert line.startswith("about 450,000,000 pairs of 30,000 fingerprints")
    assert int(grown) < 64


def test_a_machine_without_vector_instructions(fingerprints: Words, tmp_path: Path) -> None:
    np.save(tmp_path / "words.npy", fingerprints)
    code = """
import os, numpy as np
from misalign_profile import neighbours
words = np.load(os.environ["WORDS"])
print([column.tolist() for column in neighbours.pairs_within(words, 10)])
"""
    printed = in_a_process(
        code,
        WORDS=str(tmp_path / "words.npy"),
        NUMBA_CPU_NAME="generic",
        NUMBA_CPU_FEATURES="",
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert printed == str([column.tolist() for column in pairs_within(fingerprints, 10)])


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    register(con)
    con.execute("create table t (fingerprint ubigint)")
    return con


def test_sql_equals_all_with_all(
    connection: duckdb.DuckDBPyConnection, fingerprints: Words
) -> None:
    words = pa.table({"fingerprint": np.concatenate([fingerprints, fingerprints[:50]])})
    connection.register("words", words)
    connection.execute("insert into t from words union all select null")
    for distance in (0, 3, 10):
        result = connection.execute(SQL.format(distance))
        assert tuple(column[0] for column in result.description) == NAMES
        assert result.fetchall() == all_with_all(fingerprints, distance)


def test_sql_without_rows_or_with_nulls_only(connection: duckdb.DuckDBPyConnection) -> None:
    assert connection.execute(SQL.format(10)).fetchall() == []
    connection.execute("insert into t values (null), (null)")
    assert connection.execute(SQL.format(10)).fetchall() == []


def test_sql_sets_are_independent(connection: duckdb.DuckDBPyConnection) -> None:
    rows = connection.execute("""
        select near_duplicate_pairs(words::ubigint[], distance::utinyint) from (
            values
            (0, [6, 7, null, 7, 4], 1), (1, [], 5), (2, null, 5), (3, [1, 2], null), (4, [null], 3),
            (5, [6, 1], 3)
        ) as s(place, words, distance)
        order by place
    """).fetchall()
    first = [dict(zip(NAMES, pair, strict=True)) for pair in ((4, 6, 1), (6, 7, 1))]
    last = [dict(zip(NAMES, (1, 6, 3), strict=True))]
    assert [row for (row,) in rows] == [first, [], None, None, [], last]


def test_sql_errors_are_one_line_with_a_hint(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("insert into t select unnest([1, 2])")
    with pytest.raises(duckdb.Error, match=r"65 bits apart -> give a distance in 0\.\.64"):
        connection.execute(SQL.format(65)).fetchall()
    connection.execute("insert into t from range(12_000)")
    with pytest.raises(duckdb.Error, match=r"about 72,000,000 pairs .* -> lower the distance"):
        connection.execute(SQL.format(20)).fetchall()


@pytest.mark.parametrize("wrap", [lambda array: array, lambda array: pa.chunked_array([array])])
def test_arrow_in_arrow_out(wrap: Callable[[pa.Array], pa.Array]) -> None:
    sets = pa.array([[1, 3, None], None, [], [2, 6, 2]], pa.list_(pa.uint64()))
    distances = pa.array([1, 1, 1, 2], pa.uint8())
    result = near_duplicate_pairs(wrap(sets), wrap(distances))
    assert [row and [tuple(p.values()) for p in row] for row in result.to_pylist()] == [
        [(1, 3, 1)], None, [], [(2, 6, 1)]
    ]  # fmt: skip
    nothing = near_duplicate_pairs(wrap(sets[:0]), wrap(distances[:0]))
    assert len(nothing) == 0
    assert nothing.type == result.type
