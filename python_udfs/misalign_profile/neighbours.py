"""All pairs of 64-bit fingerprints within a Hamming distance, exactly.

The fingerprint is cut into blocks. Block i gets a radius r_i >= -1, and the sum of all r_i + 1 is
d + 1. Two fingerprints within d bits are within r_i bits in at least one block: were they r_i + 1
or more apart in each of them, they would be d + 1 apart (general pigeonhole principle; Qin et al.,
"GPH: Similarity Search in Hamming Space", ICDE 2018). So only fingerprints that are that close in a
block are compared, and a pair is reported by the first block that brings it. A radius of -1 leaves
a block out. One block of no bits is comparing all with all.

Blocks and radii are those that cost least; the cost is known beforehand, see ``distance_counts``.
So a block in which many fingerprints are alike gets a small radius, or none.

Knows nothing about text, prompts, clusters, dbt or DuckDB.
"""

# mypy: disallow-untyped-decorators=False, disable-error-code="import-untyped"

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import comb
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from misalign_profile.errors import ConfigError, InputError

Words = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

BITS = 64
MAX_PAIRS = 50_000_000  # 25 bytes a pair here and 17 more in DuckDB: 2.1 GB
LAYOUTS = ((13, 13, 13, 13, 12), (16, 16, 16, 16))  # bits of each block
VISIT = 200.0  # measured: going to two buckets costs as much as comparing that many fingerprints
TILE = 2_048  # rows that a thread takes at a time: 16 KiB stay in the nearest cache
GROUP, LANES = 4, 8  # so many fingerprints are compared with so many others at once
HELD = 4_096  # pairs that a thread collects before it hands them over
PART = 1 << 20  # pairs that are unpacked at a time

PAIR = pa.struct(
    [("fingerprint_a", pa.uint64()), ("fingerprint_b", pa.uint64()), ("distance", pa.uint8())]
)


class Block(NamedTuple):
    """``width`` bits from bit ``shift`` on: compared if at most ``radius`` of them differ."""

    shift: int
    width: int
    radius: int


# ---- compiled ----


@intrinsic
def _popcount(typing: Any, word: Any) -> Any:  # pragma: no cover - compiled
    """Number of set bits; numba has no name for it."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), emit


@intrinsic
def _add(typing: Any, array: Any, at: Any, number: Any) -> Any:  # pragma: no cover - compiled
    """``array[at] += number``, whole for every thread; returns the value before."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]])
        return builder.atomic_rmw("add", place, args[2], "monotonic")

    return types.int64(array, types.int64, types.int64), emit


@intrinsic
def _close(typing: Any, values: Any, a: Any, b: Any, limit: Any) -> Any:  # pragma: no cover
    """Bit ``LANES * i + j`` tells whether values[a + i] and values[b + j] are within the limit.

    Written in LLVM vectors, since no loop with a rare branch in it is vectorised. LLVM makes
    AVX-512, AVX2, NEON or plain instructions of them, whatever the machine has.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, a, b, limit = args
        data = context.make_array(values)(context, builder, array).data
        vector = ir.VectorType(ir.IntType(BITS), LANES)
        unary = ir.FunctionType(vector, [vector])
        binary = ir.FunctionType(vector, [vector, vector])
        popcount = get_or_insert_function(builder.module, unary, f"llvm.ctpop.v{LANES}i64")
        least = get_or_insert_function(builder.module, binary, f"llvm.umin.v{LANES}i64")

        def shuffled(x: Any, y: Any, lanes: list[int]) -> Any:
            order = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
            return builder.shuffle_vector(x, y, order)

        def spread(word: Any) -> Any:
            one = builder.insert_element(vector(ir.Undefined), word, ir.IntType(32)(0))
            return shuffled(one, one, [0] * LANES)

        far = builder.load(builder.bitcast(builder.gep(data, [b]), vector.as_pointer()), align=8)
        distances = []
        for i in range(GROUP):
            near = builder.load(builder.gep(data, [builder.add(a, a.type(i))]))
            distances.append(builder.call(popcount, [builder.xor(spread(near), far)]))
        closest = distances[0]
        for distance in distances[1:]:
            closest = builder.call(least, [closest, distance])
        limits = spread(limit)
        lanes = builder.bitcast(builder.icmp_unsigned("<=", closest, limits), ir.IntType(LANES))
        bits = ir.IntType(GROUP * LANES)
        start = builder.block
        with builder.if_then(builder.icmp_unsigned("!=", lanes, lanes.type(0)), likely=False):
            hits = [builder.icmp_unsigned("<=", distance, limits) for distance in distances]
            while len(hits) > 1:
                both = list(range(2 * hits[0].type.count))
                hits = [shuffled(x, y, both) for x, y in zip(hits[::2], hits[1::2], strict=True)]
            some, rare = builder.bitcast(hits[0], bits), builder.block
        result = builder.phi(bits)
        result.add_incoming(bits(0), start)
        result.add_incoming(some, rare)
        return builder.zext(result, ir.IntType(BITS))

    return types.uint64(values, types.int64, types.int64, types.uint64), emit


@numba.njit("boolean(uint64[::1], int64, uint64[::1], int64[::1])", nogil=True, cache=True)
def _hand_over(
    held: Words, count: int, keys: Words, counters: Counts
) -> bool:  # pragma: no cover - compiled
    """Append what a thread holds to the pairs of all; false when there is no room."""
    start = _add(counters, 1, count)
    if start + count > len(keys):
        return False
    for i in range(count):
        keys[start + i] = held[i]
    return True


@numba.njit(
    "void(uint64[::1], uint32[::1], int64[::1], int64[::1], uint64, uint64, uint64,"
    " uint64[:, ::1], int64, uint64[::1], int64[::1])",
    nogil=True,
    cache=True,
)
def _search(
    values: Words,
    ranks: npt.NDArray[np.uint32],
    starts: Counts,
    masks: Counts,
    shift: np.uint64,
    low: np.uint64,
    limit: np.uint64,
    earlier: Words,
    tile: int,
    keys: Words,
    counters: Counts,
) -> None:  # pragma: no cover - compiled
    """Find the pairs that one block is the first to bring; several threads do it side by side.

    ``values``: fingerprints in the order of the block, and LANES more that are never reported.
    ``ranks``: their places among all. ``starts``: where each bucket begins. ``masks``: what may
    differ in the block, ascending, so that one bucket after the other is near in memory.
    ``earlier``: shift, low bits and radius of the blocks before. ``counters``: the next row to
    take, the pairs found.
    """
    held = np.empty(HELD, np.uint64)
    count = 0
    one = np.uint64(1)
    while True:
        first = _add(counters, 0, tile)
        if first >= len(ranks) or counters[1] > len(keys):
            break
        last = min(first + tile, len(ranks))
        lowest = np.int64(values[first] >> shift & low)
        highest = np.int64(values[last - 1] >> shift & low)
        for mask in masks:
            for u in range(lowest, highest + 1):
                v = u ^ mask
                a_start, a_end = max(first, starts[u]), min(last, starts[u + 1])
                b_start, b_end = starts[v], starts[v + 1]
                if v < u or a_start >= a_end or b_start >= b_end:
                    continue
                if mask == 0:
                    b_start = a_start
                for b in range(b_start, b_end, LANES):
                    for a in range(a_start, a_end, GROUP):
                        close = _close(values, a, b, limit)
                        while close:
                            bit = np.int64(_popcount((close & (~close + one)) - one))
                            close &= close - one
                            i, j = a + bit // LANES, b + bit % LANES
                            if i >= a_end or j >= b_end or (mask == 0 and j <= i):
                                continue
                            differ = values[i] ^ values[j]
                            known = False
                            for e in range(len(earlier)):
                                apart = _popcount(differ >> earlier[e, 0] & earlier[e, 1])
                                known |= apart <= earlier[e, 2]
                            if known:
                                continue
                            x, y = np.uint64(ranks[i]), np.uint64(ranks[j])
                            held[count] = min(x, y) << np.uint64(32) | max(x, y)
                            count += 1
                            if count == HELD:
                                if not _hand_over(held, count, keys, counters):
                                    return
                                count = 0
    _hand_over(held, count, keys, counters)


# ---- choosing blocks and radii ----


@cache
def _krawtchouk(width: int) -> npt.NDArray[np.float64]:
    """K[k, j] = sum over i of (-1)^i C(j, i) C(width - j, k - i), shape (width + 1, width + 1)."""
    table = np.zeros((width + 1, width + 1))
    for k, j in np.ndindex(table.shape):
        table[k, j] = sum((-1) ** i * comb(j, i) * comb(width - j, k - i) for i in range(k + 1))
    return table


def distance_counts(values: npt.NDArray[np.integer[Any]], width: int) -> npt.NDArray[np.float64]:
    """How many ordered pairs of values are 0, 1, ... ``width`` bits apart, shape (width + 1,).

    ``values``: numbers below 2 ** width, shape (n,). Each is a pair with itself, too: n * n in all.
    With F the Walsh-Hadamard transform of the histogram, and P[j] the sum of F[s] ** 2 over all s
    with j set bits, count[k] = sum over j of K[k, j] P[j] / 2 ** width (the MacWilliams transform;
    Delsarte 1973). That takes width * 2 ** width steps, however many values there are.
    """
    transform = np.bincount(values, minlength=1 << width).astype(np.float64)
    for _ in range(width):  # each step does the lowest bit and makes it the highest
        even, odd = transform[::2], transform[1::2]
        transform = np.concatenate([even + odd, even - odd])
    weights = np.bitwise_count(np.arange(1 << width))
    power = np.bincount(weights, transform * transform, width + 1)
    counts: npt.NDArray[np.float64] = _krawtchouk(width) @ power / (1 << width)
    return counts


def cheapest_blocks(fingerprints: Words, max_distance: int) -> tuple[Block, ...]:
    """The blocks and radii that cost least for these fingerprints, distinct, shape (n,)."""
    n = len(fingerprints)
    best: tuple[float, tuple[Block, ...]] = (n * n / 2, (Block(0, 0, max_distance),))
    for widths in LAYOUTS:
        if 1 << max(widths) > n:  # more buckets than fingerprints never paid
            continue
        plans: dict[int, tuple[float, tuple[Block, ...]]] = {0: (0.0, ())}
        for shift, width in zip(np.cumsum((0, *widths)).tolist(), widths, strict=False):
            values = fingerprints >> np.uint64(shift) & np.uint64((1 << width) - 1)
            visits = [VISIT * comb(width, k) * 2**width for k in range(width + 1)]
            pairs = distance_counts(values.astype(np.int64), width)
            costs = [0.0, *(np.cumsum(pairs + visits) / 2).tolist()]  # of radius -1, 0, 1, ...
            longer: dict[int, tuple[float, tuple[Block, ...]]] = {}
            for spent, (cost, blocks) in plans.items():
                for share in range(min(width + 1, max_distance + 1 - spent) + 1):
                    plan = (cost + costs[share], (*blocks, Block(shift, width, share - 1)))
                    longer[spent + share] = min(plan, longer.get(spent + share, plan))
            plans = longer
        best = min(best, plans[max_distance + 1])
    return best[1]


# ---- searching ----


def _pair_keys(
    ranked: Words, max_distance: int, blocks: Sequence[Block], threads: int, max_pairs: int
) -> tuple[Words, int]:
    """Keys rank_a << 32 | rank_b, ascending, and their number; not all keys if over max_pairs."""
    n = len(ranked)
    keys = np.empty(min(max_pairs, n * (n - 1) // 2), np.uint64)  # costs memory where it is written
    counters = np.zeros(2, np.int64)
    used = [(b.shift, (1 << b.width) - 1, b.radius) for b in blocks if b.radius >= 0]
    table = np.array(used, np.uint64).reshape(-1, 3)
    with ThreadPoolExecutor(threads) as pool:
        tile = max(BITS, min(TILE, n // (8 * threads)))
        for k, (shift, low, radius) in enumerate(table):
            bucket = (ranked >> shift & low).astype(np.uint16)
            ranks = np.argsort(bucket, kind="stable").astype(np.uint32)
            sizes = np.bincount(bucket, minlength=int(low) + 1)
            masks = np.arange(len(sizes), dtype=np.int64)
            arguments: tuple[Any, ...] = (
                np.concatenate([ranked[ranks], np.zeros(LANES, np.uint64)]),
                ranks,
                np.concatenate([[0], np.cumsum(sizes)]),
                masks[np.bitwise_count(masks) <= radius],
                shift,
                low,
                np.uint64(max_distance),
                table[:k],
                tile,
                keys,
                counters,
            )
            counters[0] = 0
            for thread in [pool.submit(_search, *arguments) for _ in range(threads)]:
                thread.result()
            if counters[1] > len(keys):
                break
    found = int(counters[1])
    keys = keys[:found]
    keys.sort()
    return keys, found


def _expected_pairs(ranked: Words, max_distance: int) -> float:
    """The number of pairs, estimated from some 256 fingerprints against all."""
    sample = ranked[:: max(1, len(ranked) // 256)]
    close = [np.count_nonzero(np.bitwise_count(ranked ^ x) <= max_distance) - 1 for x in sample]
    return float(np.mean(close)) * len(ranked) / 2


def pairs_within(
    fingerprints: Words,
    max_distance: int,
    *,
    threads: int | None = None,
    max_pairs: int = MAX_PAIRS,
    blocks: Sequence[Block] | None = None,
) -> tuple[Words, Words, npt.NDArray[np.uint8]]:
    """Every pair of different fingerprints that differ in at most ``max_distance`` of 64 bits.

    ``fingerprints``: shape (n,), in any order; one that is repeated counts once. ``threads``: as
    many as there are cores if None. ``blocks``: chosen if None; the result does not depend on them.
    Returns a, b and their distance in bits, each of shape (pairs,), a < b, ascending by (a, b).
    Raises ConfigError for a distance outside 0..64, InputError for more than ``max_pairs`` pairs.
    """
    if not 0 <= max_distance <= BITS:
        raise ConfigError(
            f"fingerprints cannot be {max_distance} bits apart",
            hint=f"give a distance in 0..{BITS}",
        )
    if fingerprints.dtype != np.uint64:  # a cast could change the bits
        raise TypeError(f"fingerprints must be uint64, not {fingerprints.dtype}")
    if threads is None:
        limited = hasattr(os, "sched_getaffinity")  # not on macOS, not on Windows
        threads = len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1
    ranked = np.sort(fingerprints)
    ranked = ranked[np.concatenate([ranked[:1] == ranked[:1], ranked[1:] != ranked[:-1]])]
    if blocks is None:
        blocks = cheapest_blocks(ranked, max_distance)
    elif sum(block.radius + 1 for block in blocks) <= max_distance:
        raise ValueError(f"{blocks} would miss pairs within {max_distance} bits")
    keys, found = _pair_keys(ranked, max_distance, blocks, threads, max_pairs)
    if found > max_pairs:
        expected = max(float(found), _expected_pairs(ranked, max_distance))
        raise InputError(
            f"about {float(f'{expected:.2g}'):,.0f} pairs of {len(ranked):,} fingerprints are "
            f"within distance {max_distance}, and the limit is {max_pairs:,}",
            hint="lower the distance",
        )
    a, b, distance = (
        np.empty(found, np.uint64),
        np.empty(found, np.uint64),
        np.empty(found, np.uint8),
    )
    for start in range(0, found, PART):
        part = slice(start, start + PART)
        a[part] = ranked[keys[part] >> np.uint64(32)]
        b[part] = ranked[keys[part] & np.uint64(2**32 - 1)]
        distance[part] = np.bitwise_count(a[part] ^ b[part])
    return a, b, distance


def near_duplicate_pairs(
    sets: pa.Array | pa.ChunkedArray, distances: pa.Array | pa.ChunkedArray
) -> pa.Array:
    """``pairs_within`` of every row; a SQL function.

    ``sets``: lists of uint64, shape (n,); null elements are ignored. ``distances``: shape (n,).
    Returns lists of ``PAIR``, shape (n,), null where the set or the distance is null.
    Raises what ``pairs_within`` raises; its limit holds for every list.
    """
    ends, missing, found = [0], [], [pa.array([], PAIR)]
    for fingerprints, distance in zip(sets, distances, strict=True):
        missing.append(not (fingerprints.is_valid and distance.is_valid))
        if not missing[-1]:
            words = fingerprints.values.drop_null().cast(pa.uint64())
            columns = pairs_within(words.to_numpy(zero_copy_only=False), distance.as_py())
            found.append(pa.StructArray.from_arrays([*map(pa.array, columns)], fields=list(PAIR)))
        ends.append(ends[-1] + (0 if missing[-1] else len(found[-1])))
    pairs = found[1] if len(found) == 2 else pa.concat_arrays(found)  # one list is not copied
    mask = pa.array(missing, pa.bool_())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pairs, pa.list_(PAIR), mask=mask)
