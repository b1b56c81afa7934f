"""Exact log-probabilities of options, in one forward pass however many tokens an option has.

All inner nodes of the options' token trie follow the question as extra tokens; a mask keeps
branches from seeing each other, so each node sees what it would see had its branch been fed alone.
Knows nothing about requests, templates or batching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from misalign_profile.engines.hf_cache import (
    NOWHERE,
    Segment,
    SegmentCache,
    attention_masks,
)
from misalign_profile.engines.hf_loading import Loaded

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trie:
    """Options as token sequences, their inner nodes (proper prefixes) laid out as a list.

    ``tokens``, ``depths``: per node. ``sees``: bool [nodes, nodes], ancestors and self.
    ``steps``: per option token (option, place, token), where place 0 is the end of the question and
    place i + 1 is node i.
    """

    tokens: list[int]
    depths: list[int]
    sees: torch.Tensor
    steps: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    options: int

    @property
    def size(self) -> int:
        return len(self.tokens)


def build_trie(options: Sequence[Ids], device: torch.device) -> Trie:
    """Build the trie of token sequences; an option may be a prefix of another, or equal to it."""
    inner = sorted({option[:n] for option in options for n in range(1, len(option))})
    place = {(): 0} | {node: i + 1 for i, node in enumerate(inner)}
    sees = torch.tensor(
        [[row[: len(column)] == column for column in inner] for row in inner], dtype=torch.bool
    ).reshape(len(inner), len(inner))
    steps = [
        (o, place[option[:n]], option[n])
        for o, option in enumerate(options)
        for n in range(len(option))
    ]
    which, where, token = (
        torch.tensor(column, device=device) for column in zip(*steps, strict=True)
    )
    return Trie(
        tokens=[node[-1] for node in inner],
        depths=[len(node) for node in inner],
        sees=sees.to(device),
        steps=(which, where, token),
        options=len(options),
    )


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of tokens as one batch: ``ids`` and ``positions``, each [rows, longest].

    Positions begin at ``start`` and lie below ``length``, but for padding, which is at ``NOWHERE``.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    start: int
    length: int


def pack(
    rows: Sequence[Ids], starts: Sequence[int], trie: Trie | None, device: torch.device
) -> Packed:
    """Pad rows in front to one length and append the nodes of the trie to each.

    ``starts``: how many tokens precede each row.
    """
    nodes = trie.tokens if trie else []
    depths = trie.depths if trie else []
    longest = max(len(row) for row in rows)
    ids = [[0] * (longest - len(row)) + list(row) + nodes for row in rows]
    positions = [
        [NOWHERE] * (longest - len(row))
        + list(range(start, start + len(row)))
        + [start + len(row) - 1 + depth for depth in depths]
        for row, start in zip(rows, starts, strict=True)
    ]
    length = max(start + len(row) for row, start in zip(rows, starts, strict=True))
    return Packed(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        min(starts),
        length + max(depths, default=0),
    )


def forward(
    loaded: Loaded,
    cache: SegmentCache,
    packed: Packed,
    *,
    keep: int = 1,
    tree: torch.Tensor | None = None,
) -> torch.Tensor:
    """Run the model on new tokens after what ``cache`` holds.

    Returns the logits of the last ``keep`` positions, [rows, keep, vocabulary], made by the model's
    own head (soft-caps and scales included).
    """
    positions = packed.positions
    cache.joined = not loaded.segmented
    masks = attention_masks(
        positions,
        cache.key_positions(positions),
        loaded.windows,
        loaded.dtype,
        tree,
        shared=0 if cache.joined else cache.shared,
        start=packed.start,
        length=packed.length,
    )
    apart = {} if cache.joined else {"segments": cache.past, "length": packed.length}
    logits: torch.Tensor = loaded.model(
        input_ids=packed.ids,
        attention_mask=masks,
        position_ids=positions.masked_fill(positions == NOWHERE, 0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=keep,
        **apart,
    ).logits
    return logits


@torch.inference_mode()
def compute_segment(
    loaded: Loaded, past: list[Segment], rows: Sequence[Ids], starts: Sequence[int]
) -> Segment:
    """Compute the keys and values of rows of tokens that follow ``past``."""
    cache = SegmentCache(past)
    packed = pack(rows, starts, None, loaded.device)
    forward(loaded, cache, packed)
    return Segment(cache.fresh, packed.positions, whole=len(rows) == 1)


@torch.inference_mode()
def score(
    loaded: Loaded, past: list[Segment], rows: Sequence[Ids], starts: Sequence[int], trie: Trie
) -> list[list[float]]:
    """Log-probability of every option after ``past`` and each row of tokens: [rows][options]."""
    packed = pack(rows, starts, trie, loaded.device)
    logits = forward(loaded, SegmentCache(past), packed, keep=trie.size + 1, tree=trie.sees).float()
    which, where, token = trie.steps
    picked = logits[:, where, token] - logits.logsumexp(dim=-1)[:, where]
    out = picked.new_zeros(len(rows), trie.options, dtype=torch.float64)
    return out.index_add_(1, which, picked.double()).tolist()
