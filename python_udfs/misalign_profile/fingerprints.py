"""SimHash fingerprints of whole Arrow vectors, bit for bit those of the ``simhash`` package.

Charikar's SimHash as the package computes it: 64 bits; the features are the character 4-grams of
the normalised text, weighted by how often they occur; the hash is the last 8 bytes of MD5, big
endian; a bit is set if more than half of the grams set it. A text of fewer than 4 characters, the
empty one too, is a single gram. ``simhash_kernel`` is the compiled part.

Knows nothing about dbt or DuckDB.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from simhash import Simhash

from misalign_profile import simhash_kernel
from misalign_profile.text import Characters, characters, identity, normalise

# Above its cut-off of 50 occurrences of a gram the package overflows under NumPy 2.
_Package = type("_Package", (Simhash,), {"large_weight_cutoff": sys.maxsize})


def simhash64(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """SimHash of every text.

    ``texts``: strings of any Arrow string type, shape (n,). Returns uint64, shape (n,), null where
    the text is null. Raises ``pa.ArrowNotImplementedError`` or ``pa.ArrowInvalid`` for what Arrow
    cannot cast to strings. Takes at most 12 bytes of scratch for each byte of the longest text.

    Equal to ``Simhash(normalise(t)).value``; where ``t`` is in NFC without ``_``, and ``t.lower()``
    without final sigma, equal to ``Simhash(t).value``. Several threads may call it; it gives up the
    lock.
    """
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    return pa.concat_arrays(
        [_simhash64(c) for c in chunks if len(c)] or [pa.array([], pa.uint64())]
    )


def simhash64_package(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """What ``simhash64`` returns, computed by the package row by row: slow, and not our own code.

    ``texts``: strings, shape (n,). Returns uint64, shape (n,), null where the text is null.
    """
    rows = texts.to_pylist()
    values = [None if text is None else _Package(normalise(text)).value for text in rows]
    return pa.array(values, pa.uint64())


def is_contextual(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Which texts Python normalises, because in them it depends on neighbouring characters."""
    return _run(texts.cast(pa.large_string()), characters())[1]


def _simhash64(texts: pa.Array) -> pa.Array:
    texts = texts.cast(pa.large_string())
    out, contextual = _run(texts, characters())
    nulls = texts.is_null().to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(contextual & ~nulls)
    if len(rows):
        normal = [normalise(text) for text in texts.take(pa.array(rows)).to_pylist()]
        out[rows], _ = _run(pa.array(normal, pa.large_string()), identity())
    return pa.array(out, mask=nulls)


def _run(
    texts: pa.Array, tables: Characters
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Fingerprints of large_string texts, and which of them are void, each of shape (n,)."""
    _, ends, data = texts.buffers()
    out, contextual = np.empty(len(texts), np.uint64), np.empty(len(texts), np.bool_)
    simhash_kernel.fingerprints(
        np.frombuffer(data or b"", np.uint8),
        np.frombuffer(ends, np.int64, len(texts) + 1, 8 * texts.offset),
        *tables,
        out,
        contextual,
    )
    return out.byteswap(inplace=True), contextual
