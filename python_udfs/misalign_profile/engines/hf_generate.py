"""Draw text, each row with its own random numbers, so that a draw does not depend on its batch.

A row's uniforms come from a counter-based generator keyed by the row; token i takes the i-th. The
nucleus is walked in vocabulary order, not in order of probability, so that rounding that swaps two
neighbours does not change the draw. What is left: a uniform that falls within rounding of a border
between two tokens may give the other one (once in some 4,000 draws of random float32 models).
Knows nothing about requests, templates or batching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from misalign_profile.engines.hf_cache import GrowingCache, Segment, SegmentCache, attention_masks
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


@torch.inference_mode()
def continue_rows(
    loaded: Loaded,
    past: list[Segment],
    rows: Sequence[Ids],
    start: int,
    draws: Sequence[Draw],
) -> list[tuple[list[int], bool]]:
    """Continue each row of tokens after ``past`` (``start`` tokens, shared by all rows).

    Returns per row the new ids (the stop token last) and whether the row stopped by itself.
    """
    device, stops = loaded.device, torch.tensor(loaded.stop_ids, device=loaded.device)
    temperature = torch.tensor([d.temperature for d in draws], device=device, dtype=torch.float64)
    top_p = torch.tensor([d.top_p for d in draws], device=device, dtype=torch.float64)
    limit = torch.tensor([d.max_new_tokens for d in draws], device=device)
    u = torch.from_numpy(uniforms(draws)).to(device)
    tokens = torch.zeros(u.shape, dtype=torch.long, device=device)
    lengths = torch.zeros(len(rows), dtype=torch.long, device=device)
    stopped = torch.zeros(len(rows), dtype=torch.bool, device=device)

    picker = Picker()
    prompt = SegmentCache(past)
    ids, positions = pack(rows, [start] * len(rows), None, device)
    logits = forward(loaded, prompt, ids, positions)[:, -1]
    at = positions[:, -1] + 1
    cache = GrowingCache(prompt, prompt.key_positions(positions), min(ROOM, u.shape[1]))
    del prompt
    alive = torch.arange(len(rows), device=device)  # which row each row of the batch is
    done = torch.zeros_like(stopped)
    for step in range(u.shape[1]):
        new = picker.pick(logits, temperature, top_p, u[:, step])
        tokens[alive, step] = new
        by_itself = torch.isin(new, stops)
        ends = (by_itself | (step + 1 >= limit)) & ~done
        done = done | ends
        lengths[alive[ends]] = step + 1
        stopped[alive[ends]] = by_itself[ends]
        over = int(done.sum())
        if over == len(alive):
            break
        if over * 8 >= len(alive):  # compaction copies the cache: not for every single row
            index = (~done).nonzero()[:, 0]
            cache.keep(index)
            alive, new, at, done = alive[index], new[index], at[index], done[index]
            temperature, top_p, limit, u = temperature[index], top_p[index], limit[index], u[index]
        cache.advance(at)
        masks = attention_masks(
            at[:, None], cache.positions[:, : cache.used], loaded.windows, loaded.dtype
        )
        logits = loaded.model(
            input_ids=new[:, None],
            attention_mask=masks,
            position_ids=at[:, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        at = at + 1
    sizes, ended, table = lengths.tolist(), stopped.tolist(), tokens.tolist()
    return [(row[:n], e) for row, n, e in zip(table, sizes, ended, strict=True)]
