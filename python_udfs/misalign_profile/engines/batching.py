"""Which rows are computed together, and what happens when they do not fit.

Knows nothing about tokenizers, models or options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from misalign_profile.errors import EngineError

T = TypeVar("T")
R = TypeVar("R")


def under_budget(
    rows: Sequence[T], length: Callable[[T], int], budget: int, *, most: int = 1 << 30
) -> Iterator[list[T]]:
    """Cut rows into batches of similar length, the longest first.

    A batch of n rows costs n times its longest ``length``; it stays within ``budget`` unless it is
    a single row, and holds ``most`` rows at most. Ties keep their order.
    """
    batch: list[T] = []
    longest = 0
    for row in sorted(rows, key=length, reverse=True):
        if batch and (longest * (len(batch) + 1) > budget or len(batch) >= most):
            yield batch
            batch = []
        if not batch:
            longest = max(1, length(row))
        batch.append(row)
    if batch:
        yield batch


def out_of_memory(error: BaseException) -> bool:
    """True for CUDA's own error and for the plain ``RuntimeError`` that other allocators raise."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


def halving(batch: list[T], run: Callable[[list[T]], R]) -> Iterator[tuple[list[T], R]]:
    """Yield (rows, ``run(rows)``); out of memory halves the rows and goes on with each half.

    Raises ``EngineError`` when a single row does not fit.
    """
    waiting = [batch]
    while waiting:
        rows = waiting.pop()
        try:
            result: R | None = run(rows)
            failed = False
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            failed, result = True, None
        if not failed:
            yield rows, result  # type: ignore[misc]
            continue
        if torch.cuda.is_available():  # outside the handler: the traceback would keep tensors alive
            torch.cuda.empty_cache()
        if len(rows) == 1:
            raise EngineError(
                "out of memory with a single request",
                hint="lower max_body_tokens or max_new_tokens, or use a smaller model or dtype",
            )
        middle = len(rows) // 2
        waiting += [rows[middle:], rows[:middle]]
