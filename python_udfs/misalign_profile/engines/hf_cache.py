"""Key-value caches that keep every token, and attention masks made from explicit positions.

Exactness rests on one idea: a query may see a key if the key is valid, not later, and inside the
layer's window; this is decided by *position*, never by column. Padding may therefore stand anywhere
and sliding layers may share a prefix longer than their window. Knows nothing about requests.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from transformers.cache_utils import Cache

NOWHERE = 1 << 30  # the position of padding: later than every query, so nobody sees it
Pair = tuple[torch.Tensor, torch.Tensor]


class Segment:
    """Frozen keys and values of a stretch of tokens.

    ``layers``: per layer (keys, values), each [rows, heads, length, size], rows = 1 if shared by a
    whole batch; ``positions``: [rows, length]. ``whole``: one row without padding.
    """

    def __init__(self, layers: list[Pair], positions: torch.Tensor, *, whole: bool = False) -> None:
        self.layers = layers
        self.positions = positions
        self.whole = whole

    @property
    def length(self) -> int:
        return self.positions.shape[1]

    def rows(self, index: torch.Tensor) -> Segment:
        """Rows of this segment, in the order of ``index``, repeated as it says."""
        layers = [(k.index_select(0, index), v.index_select(0, index)) for k, v in self.layers]
        return Segment(layers, self.positions.index_select(0, index))


class SegmentCache(Cache):  # type: ignore[misc]
    """What was computed before, as frozen segments; new keys and values are kept apart.

    ``joined``: whether the model is handed all keys in one row, or gets the segments another way.
    """

    def __init__(self, past: list[Segment], *, joined: bool = True) -> None:
        super().__init__(layers=[])
        self.past = past
        self.joined = joined
        self.fresh: list[Pair] = []

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_args: Any,
        **_kwargs: Any,
    ) -> Pair:
        """Return the new keys and values of all rows, behind those of all segments if joined."""
        self.fresh.append((key_states, value_states))
        if not self.past or not self.joined:
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

    @property
    def shared(self) -> int:
        """How many tokens at the start are the same for all rows."""
        return sum(s.length for s in itertools.takewhile(lambda s: s.whole, self.past))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return sum(segment.length for segment in self.past)


class SlotCache(Cache):  # type: ignore[misc]
    """Keys and values of rows that are being continued: a row lives in a slot, a token of position
    p in column p. So a row that ended leaves its slot to any other, and nothing has to be moved.

    What a former tenant left behind lies at later positions than the new one's, where nobody looks.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.at = torch.zeros(0, dtype=torch.long)  # position of the token to come, by slot
        self.columns = 0
        self.used = 0  # columns that the next forward sees

    def place(
        self, slots: torch.Tensor, rows: int, prompt: SegmentCache, positions: torch.Tensor
    ) -> None:
        """Put rows that ``prompt`` has just computed into ``slots`` of ``rows``; positions: [n, length]."""
        row, column = (positions != NOWHERE).nonzero(as_tuple=True)
        slot, where = slots[row], positions[row, column]
        for layer, pair in enumerate(prompt.fresh):
            for store, new, side in ((self.keys, pair[0], 0), (self.values, pair[1], 1)):
                if layer == len(store):  # zeros: what is masked must still be a number
                    store.append(new.new_zeros((rows, new.shape[1], self.columns, new.shape[3])))
                at = 0
                for part in (segment.layers[layer][side] for segment in prompt.past):
                    store[layer][slots, :, at : at + part.shape[2]] = part
                    at += part.shape[2]
                store[layer][slot, :, where] = new[row, :, column]

    def widen(self, columns: int) -> None:
        """Make room for tokens up to position ``columns`` - 1."""
        more = columns - self.columns
        if more > 0:
            self.columns = columns
            for store in (self.keys, self.values):
                for layer, tensor in enumerate(
                    store
                ):  # one at a time: twice a layer, not twice all
                    store[layer] = torch.nn.functional.pad(tensor, (0, 0, 0, more))

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_args: Any,
        **_kwargs: Any,
    ) -> Pair:
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        slots = torch.arange(keys.shape[0], device=keys.device)
        keys[slots, :, self.at] = key_states[:, :, 0]
        values[slots, :, self.at] = value_states[:, :, 0]
        return keys[:, :, : self.used], values[:, :, : self.used]

    def key_positions(self) -> torch.Tensor:
        """Positions of all keys that the next forward sees, [slots, keys]."""
        return torch.arange(self.used, device=self.at.device).expand(self.at.shape[0], -1)

    def keep(self, slots: torch.Tensor) -> None:
        """Drop all slots but these."""
        self.at = self.at.index_select(0, slots)
        for store in (self.keys, self.values):
            for layer, tensor in enumerate(store):
                store[layer] = tensor.index_select(0, slots)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.used - 1


def attention_masks(
    queries: torch.Tensor,
    keys: torch.Tensor,
    windows: dict[str, int | None],
    dtype: torch.dtype,
    tree: torch.Tensor | None = None,
    *,
    shared: int = 0,
    start: int = 0,
    length: int = NOWHERE,
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Additive masks [rows, 1, queries, keys] by kind of layer; a bare tensor if there is one.

    ``queries``, ``keys``: positions, [rows, n]. ``tree``: bool [n, n], which of the last n tokens
    may see which of the last n, on top of the rest (branches of a trie do not see each other).
    The first ``shared`` keys precede every query, the first of which is at ``start``. Where a window
    holds all ``length`` positions, the mask begins behind them: everybody sees them. Elsewhere it
    begins at the first one that somebody sees.
    """
    q = queries[:, None, :, None]
    lowest = torch.finfo(dtype).min
    out: dict[str, torch.Tensor] = {}
    for kind, window in windows.items():
        all_seen = window is None or length <= window
        first = shared if window is None or all_seen else min(shared, max(0, start - window + 1))
        k = keys[:, None, None, first:]
        seen = k <= q
        if window is not None and not all_seen:
            seen &= k > q - window
        if tree is not None and tree.shape[0]:
            n = tree.shape[0]
            seen[:, :, -n:, -n:] &= tree
        out[kind] = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(
            ~seen, lowest
        )
    return next(iter(out.values())) if len(out) == 1 else out
