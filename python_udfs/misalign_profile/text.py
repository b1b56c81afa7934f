"""Text as the warehouse compares it: normalisation, SimHash fingerprints, word counts.

The fingerprint follows the ``simhash`` package (Charikar's SimHash, 64 bits, character 4-grams,
weight = number of occurrences) with XXH64 in the place of MD5. Knows nothing about dbt or DuckDB.
"""

from __future__ import annotations

import re
import unicodedata

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

GRAM = 4
_LETTERS = re.compile(r"\w+", re.UNICODE)

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


def normalise(text: str) -> str:
    """Return what the fingerprint sees: NFKC, lower case, word characters only (Python ``\\w``)."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return "".join(_LETTERS.findall(text.lower()))


def word_count(text: str) -> int:
    """Number of runs of word characters."""
    return len(_LETTERS.findall(text))


@numba.njit(cache=True, nogil=True, inline="always")
def _rotl(x: np.uint64, r: int) -> np.uint64:  # pragma: no cover - compiled
    return (x << np.uint64(r)) | (x >> np.uint64(64 - r))


@numba.njit(cache=True, nogil=True)
def _xxh64_short(
    data: npt.NDArray[np.uint8], start: int, end: int
) -> np.uint64:  # pragma: no cover
    """XXH64 with seed 0 of fewer than 32 bytes (xxHash specification, small-input path)."""
    h = _P5 + np.uint64(end - start)
    i = start
    while i + 8 <= end:
        k = np.uint64(0)
        for b in range(8):
            k |= np.uint64(data[i + b]) << np.uint64(8 * b)
        k *= _P2
        k = _rotl(k, 31)
        k *= _P1
        h ^= k
        h = _rotl(h, 27) * _P1 + _P4
        i += 8
    if i + 4 <= end:
        k = np.uint64(0)
        for b in range(4):
            k |= np.uint64(data[i + b]) << np.uint64(8 * b)
        h ^= k * _P1
        h = _rotl(h, 23) * _P2 + _P3
        i += 4
    while i < end:
        h ^= np.uint64(data[i]) * _P5
        h = _rotl(h, 11) * _P1
        i += 1
    h ^= h >> np.uint64(33)
    h *= _P2
    h ^= h >> np.uint64(29)
    h *= _P3
    h ^= h >> np.uint64(32)
    return h


@numba.njit(cache=True, nogil=True)
def _fingerprints(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], out: npt.NDArray[np.uint64]
) -> None:  # pragma: no cover - compiled
    ones = np.zeros(64, np.int64)
    ring = np.zeros(GRAM, np.int64)
    for row in range(len(out)):
        ones[:] = 0
        start, end = offsets[row], offsets[row + 1]
        characters = 0
        grams = 0
        position = start
        while position < end:
            ring[characters % GRAM] = position
            characters += 1
            position += 1
            while position < end and (data[position] & 0xC0) == 0x80:
                position += 1
            if characters >= GRAM:
                h = _xxh64_short(data, ring[characters % GRAM], position)
                grams += 1
                for bit in range(64):
                    ones[bit] += (h >> np.uint64(bit)) & np.uint64(1)
        if characters < GRAM:
            h = _xxh64_short(data, start, end)
            grams = 1
            for bit in range(64):
                ones[bit] = (h >> np.uint64(bit)) & np.uint64(1)
        value = np.uint64(0)
        for bit in range(64):
            if 2 * ones[bit] > grams:
                value |= np.uint64(1) << np.uint64(bit)
        out[row] = value


def simhash64(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """SimHash of every text.

    ``texts``: strings, shape (n,). Returns uint64, shape (n,), null where the text is null.
    Bit-identical to ``Simhash(normalise(t), reg=r"\\w+", hashfunc=xxh64).value``.
    """
    rows = texts.to_pylist()
    parts = [normalise(t).encode("utf-8") if t is not None else b"" for t in rows]
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(p) for p in parts], out=offsets[1:])
    data = np.frombuffer(b"".join(parts), np.uint8)
    out = np.empty(len(parts), np.uint64)
    _fingerprints(data, offsets, out)
    mask = np.array([t is None for t in rows], dtype=bool)
    return pa.array(out, pa.uint64(), mask=mask)
