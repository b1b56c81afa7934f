"""Draw text, each row with its own random numbers, so that a draw does not depend on its batch.

A row's uniforms come from a counter-based generator keyed by the row; token i takes the i-th. The
nucleus is walked in vocabulary order, not in order of probability, so that rounding that swaps two
neighbours does not change the draw. What is left: a uniform that falls within rounding of a border
between two tokens may give the other one (once in some 4,000 draws of random float32 models).
Knows nothing about requests, templates or batching.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from misalign_profile.engines.hf_cache import Segment, SegmentCache, SlotCache, attention_masks
from misalign_profile.engines.hf_choose import Ids, forward, pack
from misalign_profile.engines.hf_loading import Loaded

NUCLEUS_GUESSES = (64, 512)
ROOM = 32  # columns by which a cache grows


@dataclass(frozen=True, slots=True)
class Draw:
    """How one row is drawn; ``key`` (64 bits) decides its random numbers."""

    key: int
    temperature: float
    top_p: float
    max_new_tokens: int


def uniforms(draws: Sequence[Draw]) -> np.ndarray:
    """Uniforms in [0, 1), float64, [rows, longest limit]; a row depends on its key alone."""
    out = np.zeros((len(draws), max(d.max_new_tokens for d in draws)))
    for row, draw in enumerate(draws):
        random = np.random.Generator(np.random.Philox(key=draw.key))
        out[row, : draw.max_new_tokens] = random.random(draw.max_new_tokens)
    return out


class Picker:
    """Inverse-CDF draws after temperature and top-p, a batch at a time.

    Finding the nucleus by sorting the whole vocabulary costs more than a small model's forward
    pass, so short lists of the likeliest tokens are tried first, starting with the length that
    did last time. The length changes the time, never the draw.
    """

    def __init__(self) -> None:
        self.level = 0

    def pick(
        self, logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, u: torch.Tensor
    ) -> torch.Tensor:
        """Draw one token per row; temperature 0 takes the most likely one.

        ``logits``: [rows, vocabulary]; the others: [rows], ``u`` float64 in [0, 1). Returns
        ids, [rows].
        """
        logits = logits.float()
        likeliest = logits.argmax(dim=-1)
        if not bool((temperature > 0).any()):
            return likeliest
        warm = torch.where(temperature > 0, temperature, torch.ones_like(temperature))
        probs = (logits / warm[:, None].float()).softmax(dim=-1)
        ids, weights = self._nucleus(probs, top_p)
        cumulative = weights.cumsum(dim=-1)
        target = u[:, None] * cumulative[:, -1:]
        at = torch.searchsorted(cumulative, target, right=True).clamp_(max=weights.shape[1] - 1)
        drawn = at[:, 0] if ids is None else ids.gather(1, at)[:, 0]
        return torch.where(temperature > 0, drawn, likeliest)

    def _nucleus(
        self, probs: torch.Tensor, top_p: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The fewest likeliest tokens whose sum reaches top_p: (ids, weights), in vocabulary order.

        Weights (float64) are zero outside the nucleus. No ids: the weights cover the vocabulary.
        """
        vocabulary = probs.shape[1]
        if bool((top_p >= 1).all()):
            return None, probs.double()
        sizes = [size for size in NUCLEUS_GUESSES if size < vocabulary] + [vocabulary]
        for level in range(min(self.level, len(sizes) - 1), len(sizes)):
            top, ids = probs.topk(sizes[level], dim=-1)
            before = top.double().cumsum(dim=-1) - top.double()
            inside = (before < top_p[:, None]) | (top_p[:, None] >= 1)
            if level == len(sizes) - 1 or not bool(inside[:, -1].any()):
                break
        inside[:, 0] = True
        widest = int(inside.sum(dim=-1).max())
        self.level = level - 1 if level and widest * 2 < sizes[level - 1] else level
        weights = top.double().masked_fill_(~inside, 0.0)
        if level == len(sizes) - 1:
            return None, torch.zeros_like(weights).scatter_(1, ids, weights)
        ids, order = ids.sort(dim=-1)
        return ids, weights.gather(1, order)


@dataclass(frozen=True, slots=True)
class Ended:
    """A row that came to its end: the new ids (the stop token last), and whether it stopped itself."""

    row: int
    ids: list[int]
    by_itself: bool


class Slots:
    """What is known of the rows in flight; a free slot holds None in ``rows`` and stale numbers elsewhere.

    Tensors by slot: the draw's settings, its uniforms, the tokens drawn so far and their number.
    """

    def __init__(self, number: int, longest: int, device: torch.device) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.rows: list[int | None] = [None] * number
        self.temperature, self.top_p = zeros(number), zeros(number)
        self.limit = zeros(number, dtype=torch.long)
        self.u = zeros(number, longest)
        self.tokens = zeros(number, longest, dtype=torch.long)
        self.drawn = zeros(number, dtype=torch.long)

    def free(self) -> list[int]:
        return [slot for slot, row in enumerate(self.rows) if row is None]

    def admit(self, index: torch.Tensor, rows: Sequence[int], draws: Sequence[Draw]) -> None:
        """Put rows into the slots of ``index``."""
        for slot, row in zip(index.tolist(), rows, strict=True):
            self.rows[slot] = row
        device = index.device
        self.temperature[index] = torch.tensor(
            [d.temperature for d in draws], device=device, dtype=torch.float64
        )
        self.top_p[index] = torch.tensor(
            [d.top_p for d in draws], device=device, dtype=torch.float64
        )
        self.limit[index] = torch.tensor([d.max_new_tokens for d in draws], device=device)
        u = torch.from_numpy(uniforms(draws)).to(device)
        self.u[index, : u.shape[1]] = u
        self.drawn[index] = 0

    def draw(self, picker: Picker, logits: torch.Tensor) -> torch.Tensor:
        """Draw one token in every slot: ids, [slots]."""
        at = self.drawn[:, None]
        new = picker.pick(logits, self.temperature, self.top_p, self.u.gather(1, at)[:, 0])
        self.tokens.scatter_(1, at, new[:, None])
        return new

    def leave(self, new: torch.Tensor, stops: torch.Tensor) -> list[Ended]:
        """Free the slots of rows that have just ended, and count the token of all others."""
        stopped = torch.isin(new, stops)
        over = (stopped | (self.drawn + 1 >= self.limit)).tolist()
        slots = [slot for slot, row in enumerate(self.rows) if row is not None and over[slot]]
        ended = []
        if slots:
            index = torch.tensor(slots, device=new.device)
            found = zip(
                slots,
                self.tokens[index].tolist(),
                (self.drawn[index] + 1).tolist(),
                stopped[index].tolist(),
                strict=True,
            )
            for slot, ids, length, by_itself in found:
                row, self.rows[slot] = self.rows[slot], None
                ended.append(Ended(row if row is not None else -1, ids[:length], by_itself))
        # a free slot goes on writing its last column, where nobody looks
        self.drawn = torch.minimum(self.drawn + 1, self.limit - 1).clamp_(min=0)
        return ended

    def keep(self, index: torch.Tensor) -> None:
        """Drop all slots but these."""
        self.rows = [self.rows[slot] for slot in index.tolist()]
        for name in ("temperature", "top_p", "limit", "u", "tokens", "drawn"):
            setattr(self, name, getattr(self, name).index_select(0, index))


@torch.inference_mode()
def continue_rows(
    loaded: Loaded,
    past: list[Segment],
    rows: Sequence[Ids],
    start: int,
    draws: Sequence[Draw],
    *,
    at_once: int | None = None,
) -> Iterator[list[Ended]]:
    """Continue each row of tokens after ``past`` (``start`` tokens, shared by all rows).

    At most ``at_once`` rows are in flight (all, if None); rows that ended make room for those that
    wait, which changes no draw. Yields rows as they end, a few at a time, each exactly once.
    """
    device, stops = loaded.device, torch.tensor(loaded.stop_ids, device=loaded.device)
    waiting = deque(range(len(rows)))
    size = min(at_once or len(rows), len(rows))
    slots = Slots(size, max(d.max_new_tokens for d in draws), device)
    cache, picker = SlotCache(), Picker()
    cache.at = torch.zeros(size, dtype=torch.long, device=device)
    logits = torch.empty(0, device=device)
    while waiting or any(row is not None for row in slots.rows):
        free = slots.free()
        if waiting and len(free) * 8 >= len(slots.rows):
            chosen = [waiting.popleft() for _ in range(min(len(free), len(waiting)))]
            index = torch.tensor(free[: len(chosen)], device=device)
            prompt = SegmentCache(past)
            packed = pack([rows[i] for i in chosen], [start] * len(chosen), None, device)
            first = forward(loaded, prompt, packed)[:, -1]
            cache.widen(packed.length)
            cache.place(index, len(slots.rows), prompt, packed.positions)
            cache.at[index] = packed.positions[:, -1]
            if not logits.numel():
                logits = first.new_zeros(len(slots.rows), first.shape[1])
            logits[index] = first
            slots.admit(index, chosen, [draws[i] for i in chosen])
            del prompt
        new = slots.draw(picker, logits)
        if ended := slots.leave(new, stops):
            yield ended
        living = [slot for slot, row in enumerate(slots.rows) if row is not None]
        if not living:
            continue
        if not waiting and len(living) * 8 <= len(slots.rows) * 7:  # copies: not for every row
            index = torch.tensor(living, device=device)
            slots.keep(index)
            cache.keep(index)
            new = new[index]
        logits = _step(loaded, cache, new, [row is not None for row in slots.rows])


def _step(
    loaded: Loaded, cache: SlotCache, new: torch.Tensor, living: Sequence[bool]
) -> torch.Tensor:
    """Feed one token a slot and return the logits of the next, [slots, vocabulary]."""
    cache.at = cache.at + torch.tensor(living, device=new.device)
    cache.used = int(cache.at.max()) + 1
    if cache.used > cache.columns:
        cache.widen(cache.used + ROOM)
    masks = attention_masks(cache.at[:, None], cache.key_positions(), loaded.windows, loaded.dtype)
    logits: torch.Tensor = loaded.model(
        input_ids=new[:, None],
        attention_mask=masks,
        position_ids=cache.at[:, None],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    return logits[:, -1]
