"""Input for the benchmarks: prompts recombined from the authored seeds, and fingerprints of several shapes.

Knows nothing about what is measured. Everything is drawn from a fixed seed.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from misalign_profile.fingerprints import simhash64

Fingerprints = npt.NDArray[np.uint64]
PROMPTS = Path(__file__).resolve().parents[1] / "seeds" / "prompts.csv"
CLUSTER = 50


def prompts(n: int, *, characters: int = 160, seed: int = 42) -> list[str]:
    """``n`` texts of about ``characters`` characters, made of runs of words of authored prompts."""
    random = np.random.default_rng(seed)
    with PROMPTS.open(encoding="utf-8", newline="") as file:
        authored = [row["prompt"].split() for row in csv.DictReader(file)]
    texts = []
    for _ in range(n):
        words: list[str] = []
        length = 0
        while length < characters:
            source = authored[random.integers(len(authored))]
            start = random.integers(len(source))
            run = source[start : start + int(random.integers(2, 7))]
            words += run
            length += sum(map(len, run)) + len(run)
        texts.append(" ".join(words))
    return texts


def text_like(n: int) -> Fingerprints:
    """Fingerprints of recombined prompts, shape (n,)."""
    values: Fingerprints = simhash64(pa.array(prompts(n))).to_numpy().copy()
    return values


def uniform(n: int) -> Fingerprints:
    """Even and independent bits, shape (n,)."""
    return np.random.default_rng(n).integers(0, 2**64, n, np.uint64)


def clustered(n: int) -> Fingerprints:
    """Text-like, but a tenth of the rows lies in clusters of 50 within 5 bits of their centre."""
    values = text_like(n)
    random = np.random.default_rng(1)
    members = np.arange(n // 10 // CLUSTER * CLUSTER)
    values[members] = values[members // CLUSTER * CLUSTER]
    for _ in range(5):
        values[members] ^= np.uint64(1) << random.integers(0, 64, len(members), np.uint64)
    return values


def one_block(n: int) -> Fingerprints:
    """Uniform, but all share the lowest 16 bits."""
    return uniform(n) & ~np.uint64(0xFFFF)


def two_blocks(n: int) -> Fingerprints:
    """Uniform, but all share the lowest 32 bits."""
    return uniform(n) & ~np.uint64(0xFFFFFFFF)


SHAPES = {
    "text-like": text_like,
    "uniform": uniform,
    "clustered": clustered,
    "one block shared": one_block,
    "two blocks shared": two_blocks,
}
