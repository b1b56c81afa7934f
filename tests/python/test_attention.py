"""Attention over keys in several places gives what one softmax over all of them gives."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from misalign_profile.engines import hf_attention
from misalign_profile.engines.hf_cache import NOWHERE, Segment, SegmentCache, attention_masks

HEADS, GROUPS, SIZE = 2, 3, 8
LAYER = SimpleNamespace(layer_idx=0, num_key_value_groups=GROUPS, is_causal=True, training=False)


def segment(rows: int, length: int, start: int, pad: int = 0) -> Segment:
    """Random keys of a stretch of tokens; the last row has ``pad`` tokens of padding in front."""
    positions = torch.arange(start, start + length).repeat(rows, 1)
    if pad:
        positions[-1] = torch.tensor([NOWHERE] * pad + list(range(start, start + length - pad)))
    layer = (torch.randn(rows, HEADS, length, SIZE), torch.randn(rows, HEADS, length, SIZE))
    return Segment([layer], positions, whole=rows == 1)


def plain(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seen: torch.Tensor,
    softcap: float | None,
) -> torch.Tensor:
    """Attention as the papers write it, in double precision."""
    key, value = (x.double().repeat_interleave(GROUPS, dim=1) for x in (key, value))
    scores = query.double() @ key.transpose(2, 3) * SIZE**-0.5
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    weights = scores.masked_fill(~seen[:, None], float("-inf")).softmax(dim=-1)
    return (weights @ value).transpose(1, 2)


@pytest.mark.parametrize("softcap", [None, 5.0, 500.0])
@pytest.mark.parametrize("window", [None, 4, 9, 64])
@pytest.mark.parametrize("piece", [1, 700, 1 << 20])
@pytest.mark.parametrize("short", [0, 1 << 20])
def test_parts_share_one_softmax(
    softcap: float | None,
    window: int | None,
    piece: int,
    short: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(3)
    monkeypatch.setitem(hf_attention.PIECE, "cpu", piece)
    monkeypatch.setattr(hf_attention, "SHORT", short)
    rows, n = 3, 5
    past = [segment(1, 11, 0), segment(1, 2, 11), segment(rows, 6, 13, pad=2)]
    fresh = segment(rows, n, 19, pad=1)
    fresh.positions[-1] -= 3 * (fresh.positions[-1] != NOWHERE)
    cache = SegmentCache(past, joined=False)
    keys = cache.key_positions(fresh.positions)
    q, k = fresh.positions[:, :, None], keys[:, None, :]
    seen = (k <= q) & (k > q - (window or NOWHERE * 2))
    length = 24
    mask = attention_masks(
        fresh.positions, keys, {"": window}, torch.float32, shared=cache.shared, start=16, length=length
    )  # fmt: skip
    assert isinstance(mask, torch.Tensor)
    query = torch.randn(rows, n, HEADS * GROUPS, SIZE).transpose(1, 2)
    got, _ = hf_attention.attend(
        LAYER,
        query,
        *fresh.layers[0],
        mask,
        softcap=softcap,
        segments=past,
        length=length,
        sliding_window=window,
    )
    key, value = (
        torch.cat([part.layers[0][side].expand(rows, -1, -1, -1) for part in [*past, fresh]], dim=2)
        for side in (0, 1)
    )
    expected = plain(query, key, value, seen, softcap)
    real = fresh.positions != NOWHERE
    assert torch.allclose(got[real].double(), expected[real], atol=1e-5)


def test_what_nobody_sees_is_not_even_masked() -> None:
    positions = torch.arange(100, 104)[None]
    keys = torch.arange(104)[None]
    masks = attention_masks(
        positions, keys, {"full": None, "near": 10}, torch.float32, shared=100, start=100, length=104
    )  # fmt: skip
    assert isinstance(masks, dict)
    assert masks["full"].shape[-1] == 4
    assert masks["near"].shape[-1] == 4 + 9


def test_a_model_asked_without_a_mask_is_refused() -> None:
    state = torch.randn(1, HEADS * GROUPS, 2, SIZE)
    with pytest.raises(ValueError, match="mask"):
        hf_attention.attend(LAYER, state, state, state, None)
