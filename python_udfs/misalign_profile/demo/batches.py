"""Examples as padded tensors: several questions share one body, each sees the body and itself only.

Row layout: [prefix + body] [tail 1 + answer 1] [tail 2 + answer 2] ... with the positions of every
question restarting at the end of the body, so that its numbers are those of asking it alone.
Loss falls on answer tokens (and the end of the turn) only. Knows nothing about what the tasks mean.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from misalign_profile.demo.corpus import Example
from misalign_profile.demo.tokenizer import TurnEncoder

FAR = -1e9


@dataclass(frozen=True, slots=True)
class Row:
    """One example as tokens. ``first``: where in ``at`` each question's first answer token is."""

    ids: np.ndarray
    segments: np.ndarray
    positions: np.ndarray
    at: np.ndarray
    targets: np.ndarray
    first: np.ndarray
    kinds: tuple[str, ...]
    task: str


@dataclass(frozen=True, slots=True)
class Padded:
    """Padded rows as arrays in the order of ``Batch``; cheap to hand from process to process."""

    arrays: tuple[np.ndarray, ...]
    kinds: tuple[str, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded rows. ``at`` indexes the flattened (rows x length); ``first`` indexes ``at``."""

    ids: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    at: torch.Tensor
    targets: torch.Tensor
    first: torch.Tensor
    kinds: tuple[str, ...]
    tasks: tuple[str, ...]


def encode(encoder: TurnEncoder, examples: Sequence[Example], end: int) -> list[Row]:
    """Tokenise examples; ``end`` is the id of the token that ends the model's turn."""
    bodies = encoder.bodies([e.body for e in examples])
    answers = iter(encoder.answers([q.answer for e in examples for q in e.questions]))
    rows = []
    for example, body in zip(examples, bodies, strict=True):
        ids = encoder.prefix(example.prefix) + body
        shared = len(ids)
        segments = [0] * shared
        positions = list(range(shared))
        at: list[int] = []
        targets: list[int] = []
        first: list[int] = []
        for number, question in enumerate(example.questions, start=1):
            tail = encoder.tail(question.tail)
            answer = next(answers)
            first.append(len(at))
            begin = len(ids) + len(tail) - 1
            at += range(begin, begin + len(answer) + 1)
            targets += [*answer, end]
            ids += tail + answer
            segments += [number] * (len(tail) + len(answer))
            positions += range(shared, shared + len(tail) + len(answer))
        rows.append(
            Row(
                np.array(ids, dtype=np.int64),
                np.array(segments, dtype=np.int64),
                np.array(positions, dtype=np.int64),
                np.array(at, dtype=np.int64),
                np.array(targets, dtype=np.int64),
                np.array(first, dtype=np.int64),
                tuple(q.kind for q in example.questions),
                example.task,
            )
        )
    return rows


def pad(rows: Sequence[Row]) -> Padded:
    """Pad rows on the right."""
    length = max(len(r.ids) for r in rows)
    ids, segments, positions = (np.zeros((len(rows), length), dtype=np.int64) for _ in range(3))
    segments -= 1
    at, first, seen = [], [], 0
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n], segments[i, :n], positions[i, :n] = row.ids, row.segments, row.positions
        at.append(row.at + i * length)
        first.append(row.first + seen)
        seen += len(row.at)
    arrays = (
        ids,
        segments,
        positions,
        np.concatenate(at),
        np.concatenate([r.targets for r in rows]),
        np.concatenate(first),
    )
    kinds = tuple(k for r in rows for k in r.kinds)
    return Padded(arrays, kinds, tuple(r.task for r in rows for _ in r.kinds))


def to_device(padded: Padded, device: str) -> Batch:
    """Turn padded arrays into tensors on the device."""
    ids, segments, positions, at, targets, first = (
        torch.from_numpy(x).to(device, non_blocking=True) for x in padded.arrays
    )
    return Batch(ids, segments, positions, at, targets, first, padded.kinds, padded.tasks)


def group(rows: Sequence[Row], tokens: int, rng: random.Random) -> list[list[Row]]:
    """Put rows of like length together, at most ``tokens`` padded tokens each; groups shuffled."""
    ordered = sorted(rows, key=lambda r: len(r.ids) + rng.random() * 8)
    groups: list[list[Row]] = [[]]
    longest = 0
    for row in ordered:
        longest = max(longest, len(row.ids))
        if groups[-1] and longest * (len(groups[-1]) + 1) > tokens:
            groups.append([])
            longest = len(row.ids)
        groups[-1].append(row)
    rng.shuffle(groups)
    return groups


def masks(batch: Batch, window: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Additive masks (rows x 1 x length x length): full, and within the sliding window."""
    seg, pos = batch.segments, batch.positions
    length = seg.shape[1]
    step = torch.arange(length, device=seg.device)
    causal = step[None, :, None] >= step[None, None, :]
    visible = causal & ((seg[:, None, :] == 0) | (seg[:, None, :] == seg[:, :, None]))
    near = visible
    if window is not None:
        near = visible & (pos[:, :, None] - pos[:, None, :] < window)
        near = near | (visible & (seg[:, :, None] < 0))

    def additive(allowed: torch.Tensor) -> torch.Tensor:
        return torch.where(allowed, 0.0, FAR)[:, None].to(torch.float32)

    return additive(visible), additive(near)


def answer_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Logits (answer tokens x vocabulary) of a causal LM at the batch's answer places."""
    config = model.config
    window = getattr(config, "sliding_window", None)
    full, near = masks(batch, window)
    mask: torch.Tensor | dict[str, torch.Tensor] = full
    if config.model_type in ("gemma2", "qwen3"):
        mask = {"full_attention": full, "sliding_attention": near}
    hidden = model.model(
        input_ids=batch.ids, attention_mask=mask, position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    hidden = hidden.reshape(-1, hidden.shape[-1])[batch.at]
    logits: torch.Tensor = model.lm_head(hidden)
    cap = getattr(config, "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits
