"""Attention over keys that lie in several places, without copying them together.

A prefix that a batch shares is multiplied once with the queries of all rows, and key heads that
serve several query heads are not repeated. Scores are worked on in pieces small enough to stay near
the processor. The parts share one softmax, so the result is that of keys in one row, up to rounding.
Knows nothing about positions, windows or requests: masks come from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from misalign_profile.engines.hf_cache import Pair, Segment

NAME = "misalign_segments"
PIECE = {"cpu": 1 << 19, "cuda": 1 << 28}  # scores at a time
BOUNDED = 60.0  # exp of capped scores neither overflows nor vanishes: no maximum to subtract
SHORT = 512  # keys up to which copying them together costs less than working in parts
LEAST = -80.0  # exp of less costs ten times as much on a CPU and is nothing beside exp(0)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    segments: Sequence[Segment] = (),
    length: int = 0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of new tokens over ``segments`` and their own keys.

    ``query``: [rows, heads, n, size]; ``key``, ``value``: [rows, key heads, m, size];
    ``attention_mask``: additive, [rows, 1, n, columns], of the last so many keys. Those before them
    are seen by all if the sliding window holds ``length`` positions, else by nobody. Returns
    [rows, n, heads, size].
    """
    rows, heads, n, size = query.shape
    parts = [segment.layers[module.layer_idx] for segment in segments] + [(key, value)]
    width = sum(k.shape[2] for k, _v in parts)
    if attention_mask is None:
        raise ValueError("this attention needs a mask")
    if sliding_window is not None and sliding_window < length:
        parts = _from(parts, width - attention_mask.shape[-1])
        width = attention_mask.shape[-1]
    if softcap is None and (not segments or width <= SHORT):
        if segments:
            key, value = _joined(parts, rows)
            before = width - attention_mask.shape[-1]
            attention_mask = torch.nn.functional.pad(attention_mask, (before, 0))
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return plain
    groups = heads // key.shape[1]
    scale = scaling if scaling is not None else size**-0.5
    q = (query * (scale / softcap if softcap else scale)).reshape(rows, -1, groups, n, size)
    piece = PIECE.get(query.device.type, PIECE["cuda"])
    row_step = max(1, piece // (heads * n * width))
    step = max(1, piece // (heads * width)) if row_step == 1 else n
    out = torch.empty(rows, n, heads, size, dtype=query.dtype, device=query.device)
    for row in range(0, rows, row_step):
        chosen = slice(row, row + row_step)
        for start in range(0, n, step):
            queries = slice(start, start + step)
            visible = start + step if n == key.shape[2] else None  # a token sees none after it
            some = _some(parts, chosen, visible)
            mask = attention_mask[chosen, :, queries]
            if visible is not None and visible < n:
                mask = mask[..., : visible - n]
            result = _piece(q[chosen, :, :, queries], some, mask, softcap)
            out[chosen, queries] = result.permute(0, 3, 1, 2, 4).flatten(2, 3)
    return out, None


def _from(parts: Sequence[Pair], column: int) -> list[Pair]:
    """The parts without the columns before this one."""
    left = []
    for k, v in parts:
        if column < k.shape[2]:
            left.append((k[:, :, column:], v[:, :, column:]))
        column = max(0, column - k.shape[2])
    return left


def _joined(parts: Sequence[Pair], rows: int) -> Pair:
    """All keys and all values in one row, copied for each row."""
    keys, values = (
        torch.cat([part[side].expand(rows, -1, -1, -1) for part in parts], dim=2) for side in (0, 1)
    )
    return keys, values


def _some(parts: Sequence[Pair], rows: slice, visible: int | None) -> list[Pair]:
    """The parts of some rows (a part of one row serves all), the last one up to a column."""
    some = [(k, v) if k.shape[0] == 1 else (k[rows], v[rows]) for k, v in parts]
    k, v = some[-1]
    return [*some[:-1], (k[:, :, :visible], v[:, :, :visible])]


def _piece(
    q: torch.Tensor, parts: Sequence[Pair], mask: torch.Tensor, softcap: float | None
) -> torch.Tensor:
    """One softmax over all parts. ``q``, returned: [rows, key heads, groups, n, size], ``q`` scaled."""
    rows, heads, groups, n, _size = q.shape
    bounded = softcap is not None and softcap <= BOUNDED
    column = mask.shape[-1] - sum(k.shape[2] for k, _v in parts)
    scores, masked = [], []
    for k, _v in parts:
        s = _times(q, k.transpose(2, 3)).float()
        if softcap:
            s.tanh_().mul_(softcap)
        column += k.shape[2]
        covered = min(max(column, 0), k.shape[2])  # the mask is of the last of these keys
        hidden = mask[:, :, None, :, column - covered : max(column, 0)]
        part = s.view(rows, heads, groups, n, -1)[..., k.shape[2] - covered :]
        masked.append((part, hidden))
        if not bounded and covered:
            part += hidden
        scores.append(s)
    if not bounded:
        top = torch.stack([s.amax(dim=-1) for s in scores]).amax(dim=0)[..., None]
        for s in scores:
            s.sub_(top).clamp_(min=LEAST)
    weights = [s.exp_() for s in scores]
    for part, hidden in masked:
        part *= hidden == 0
    total = torch.stack([w.sum(dim=-1) for w in weights]).sum(dim=0)[..., None]
    mixed = [_times(w.to(q.dtype), v) for w, (_k, v) in zip(weights, parts, strict=True)]
    return (torch.stack(mixed).sum(dim=0) / total).to(q.dtype).view(q.shape)


def _times(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """[rows, heads, (groups,) n, a] times [rows or 1, heads, a, b]: [rows, heads, groups * n, b].

    A right side of one row is read once: all rows stand below each other.
    """
    rows, heads, inner = left.shape[0], left.shape[1], left.shape[-1]
    if right.shape[0] == rows:
        return left.reshape(rows, heads, -1, inner) @ right
    folded = left.transpose(0, 1).reshape(heads, -1, inner) @ right[0]
    return folded.view(heads, rows, -1, right.shape[-1]).transpose(0, 1)


AttentionInterface.register(NAME, attend)
