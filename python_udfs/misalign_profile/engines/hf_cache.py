"""Key-value caches that keep every token, and attention masks made from explicit positions.

Exactness rests on one idea: a query may see a key if the key is valid, not later, and inside the
layer's window; this is decided by *position*, never by column. Padding may therefore stand anywhere
and sliding layers may share a prefix longer than their window. Knows nothing about requests.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache

NOWHERE = 1 << 30  # the position of padding: later than every query, so nobody sees it
Pair = tuple[torch.Tensor, torch.Tensor]


class Segment:
    """Frozen keys and values of a stretch of tokens.

    ``layers``: per layer (keys, values), each [rows, heads, length, size], rows = 1 if shared by a
    whole batch; ``positions``: [rows, length].
    """

    def __init__(self, layers: list[Pair], positions: torch.Tensor) -> None:
        self.layers = layers
        self.positions = positions

    @property
    def length(self) -> int:
        return self.positions.shape[1]

    def rows(self, index: torch.Tensor) -> Segment:
        """Rows of this segment, in the order of ``index``, repeated as it says."""
        layers = [(k.index_select(0, index), v.index_select(0, index)) for k, v in self.layers]
        return Segment(layers, self.positions.index_select(0, index))


class SegmentCache(Cache):  # type: ignore[misc]
    """What was computed before, as frozen segments; new keys and values are kept apart."""

    def __init__(self, past: list[Segment]) -> None:
        super().__init__(layers=[])
        self.past = past
        self.fresh: list[Pair] = []

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_args: Any,
        **_kwargs: Any,
    ) -> Pair:
        """Return the keys and values of all segments and the new ones, for all rows."""
        self.fresh.append((key_states, value_states))
        if not self.past:
            return key_states, value_states
        rows = key_states.shape[0]
        parts = [segment.layers[layer_idx] for segment in self.past]
        keys = [k.expand(rows, -1, -1, -1) for k, _v in parts]
        values = [v.expand(rows, -1, -1, -1) for _k, v in parts]
        return torch.cat([*keys, key_states], dim=2), torch.cat([*values, value_states], dim=2)

    def key_positions(self, new: torch.Tensor) -> torch.Tensor:
        """Positions of all keys that the next forward sees, [rows, keys]; ``new``: [rows, n]."""
        rows = new.shape[0]
        return torch.cat([*(s.positions.expand(rows, -1) for s in self.past), new], dim=1)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return sum(segment.length for segment in self.past)


class GrowingCache(Cache):  # type: ignore[misc]
    """Keys and values of rows that are being continued, in buffers with room to spare."""

    def __init__(self, start: SegmentCache, positions: torch.Tensor, room: int) -> None:
        super().__init__(layers=[])
        self.used = positions.shape[1]
        self.room = room
        rows = positions.shape[0]
        self.positions = torch.nn.functional.pad(positions, (0, room), value=NOWHERE)
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        for layer, (key, value) in enumerate(start.fresh):
            for store, new, side in ((self.keys, key, 0), (self.values, value, 1)):
                shape = (rows, new.shape[1], self.used + room, new.shape[3])
                buffer = new.new_empty(shape)
                at = 0
                for part in (*(s.layers[layer][side] for s in start.past), new):
                    buffer[:, :, at : at + part.shape[2]] = part
                    at += part.shape[2]
                store.append(buffer)

    def advance(self, positions: torch.Tensor) -> None:
        """Make a column for the next token of every row; ``positions``: [rows]."""
        if self.used == self.positions.shape[1]:
            pad = torch.nn.functional.pad
            self.positions = pad(self.positions, (0, self.room), value=NOWHERE)
            self.keys = [pad(k, (0, 0, 0, self.room)) for k in self.keys]
            self.values = [pad(v, (0, 0, 0, self.room)) for v in self.values]
        self.positions[:, self.used] = positions
        self.used += 1

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_args: Any,
        **_kwargs: Any,
    ) -> Pair:
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys[:, :, self.used - 1] = key_states[:, :, 0]
        values[:, :, self.used - 1] = value_states[:, :, 0]
        return keys[:, :, : self.used], values[:, :, : self.used]

    def keep(self, index: torch.Tensor) -> None:
        """Drop all rows but those of ``index``."""
        self.positions = self.positions.index_select(0, index)
        self.keys = [k.index_select(0, index) for k in self.keys]
        self.values = [v.index_select(0, index) for v in self.values]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.used - 1


def attention_masks(
    queries: torch.Tensor,
    keys: torch.Tensor,
    windows: dict[str, int | None],
    dtype: torch.dtype,
    tree: torch.Tensor | None = None,
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Additive masks [rows, 1, queries, keys] by kind of layer; a bare tensor if there is one.

    ``queries``, ``keys``: positions, [rows, n]. ``tree``: bool [n, n], which of the last n tokens
    may see which of the last n, on top of the rest (branches of a trie do not see each other).
    """
    q, k = queries[:, None, :, None], keys[:, None, None, :]
    causal = k <= q
    if tree is not None and tree.shape[0]:
        n = tree.shape[0]
        causal[:, :, -n:, -n:] &= tree
    lowest = torch.finfo(dtype).min
    out: dict[str, torch.Tensor] = {}
    for kind, window in windows.items():
        seen = causal if window is None else causal & (k > q - window)
        out[kind] = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(
            ~seen, lowest
        )
    return next(iter(out.values())) if len(out) == 1 else out
