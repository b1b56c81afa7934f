"""Which rows are computed together, and what happens when they do not fit.

Knows nothing about tokenizers, models or options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from misalign_profile.errors import EngineError
from misalign_profile.progress import say

T = TypeVar("T")
R = TypeVar("R")


def under_budget(
    rows: Sequence[T],
    length: Callable[[T], int],
    budget: int,
    *,
    most: int = 1 << 30,
    room: Room | None = None,
) -> Iterator[list[T]]:
    """Cut rows into batches of similar length, the longest first.

    A batch of n rows costs n times its longest ``length``; it stays within ``budget`` unless it is
    a single row, and within ``room``; it holds ``most`` rows at most. Ties keep their order.
    """
    room = room or Room("")
    batch: list[T] = []
    longest = 0
    for row in sorted(rows, key=length, reverse=True):
        if batch and (longest * (len(batch) + 1) > room.within(budget) or len(batch) >= most):
            yield batch
            batch = []
        if not batch:
            longest = max(1, length(row))
        batch.append(row)
    if batch:
        yield batch


def of_similar_length(rows: Sequence[T], length: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut rows into lists, the longest first, in which no row is shorter than half of the longest."""
    alike: list[T] = []
    for row in sorted(rows, key=length, reverse=True):
        if alike and 2 * length(row) < length(alike[0]):
            yield alike
            alike = []
        alike.append(row)
    if alike:
        yield alike


def out_of_memory(error: BaseException) -> bool:
    """True for CUDA's own error and for the plain ``RuntimeError`` that other allocators raise."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


class Room:
    """How many tokens a batch may hold, as failures have taught. ``name`` says whose batches."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.most: int | None = None  # tokens; None: nothing has failed

    def within(self, budget: int) -> int:
        return budget if self.most is None else min(budget, self.most)

    def rows(self, budget: int, each: int) -> int:
        """How many rows of ``each`` tokens fit; one at least."""
        return max(1, self.within(budget) // each)

    def halved(self, rows: int, each: int) -> int:
        """How many rows to try where so many of ``each`` tokens did not fit; later batches hold no more.

        Raises ``EngineError`` for a single row. To be called outside the handler of the error, whose
        traceback would keep tensors alive.
        """
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if rows == 1:
            raise EngineError(
                "out of memory with a single request",
                hint="lower max_body_tokens or max_new_tokens, or use a smaller model or dtype",
            )
        if self.most is None:
            say(
                f"misalign: out of memory with {rows} rows [{self.name}]: "
                "batches are halved from here on"
            )
        self.most = self.within(rows // 2 * each)
        return rows // 2


def halving(
    batch: list[T], run: Callable[[list[T]], R], room: Room, length: Callable[[T], int]
) -> Iterator[R]:
    """Yield ``run(rows)``; out of memory halves the rows and goes on, and ``room`` remembers it.

    Raises ``EngineError`` when a single row does not fit.
    """
    waiting, fits = list(batch), len(batch)
    while waiting:
        rows = waiting[:fits]
        result: R | None = None
        try:
            result = run(rows)
            failed = False
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            failed = True
        if failed:
            fits = room.halved(len(rows), max(map(length, rows)))
            continue
        yield result  # type: ignore[misc]
        waiting = waiting[fits:]
