"""How good a demo model is: accuracy of choices, and what its greedy texts contain.

Choices are made as an engine makes them: the most likely option, with its probability among all
tokens. Knows nothing about training or reports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from misalign_profile.demo.batches import Row, answer_logits, pad, to_device
from misalign_profile.demo.corpus import Example
from misalign_profile.demo.grammar import Domain, Prompt
from misalign_profile.demo.tokenizer import TurnEncoder
from misalign_profile.prompts import NONE_CODE, TYPE_OPTIONS, YES_NO
from misalign_profile.types import DIMENSIONS


@dataclass(frozen=True, slots=True)
class Choice:
    """One question answered: the truth, the option chosen and its probability."""

    task: str
    kind: str
    truth: str
    chosen: str
    probability: float


def option_table(lexicon: Sequence[Domain]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Options by (task, kind)."""
    table: dict[tuple[str, str], tuple[str, ...]] = {("semantic_type", "type"): TYPE_OPTIONS}
    for d in DIMENSIONS:
        codes = tuple(x.code for x in lexicon if x.dimension == d)
        table["classify", d] = (*codes, NONE_CODE)
        table["judge", d] = table["verdict", d] = YES_NO
    table["verdict", "overall"] = YES_NO
    return table


@torch.no_grad()
def choose(
    model: Any,
    encoder: TurnEncoder,
    rows: Sequence[Row],
    lexicon: Sequence[Domain],
    device: str,
    tokens: int = 8192,
) -> list[Choice]:
    """Answer every question of the rows, in their order, with its most likely option."""
    table = option_table(lexicon)
    ids = {key: [encoder.answers([o])[0][0] for o in options] for key, options in table.items()}
    model.eval()
    answered: dict[int, list[Choice]] = {}
    places = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    ordered = [rows[i] for i in places]
    start = 0
    while start < len(ordered):
        stop = start + 1
        while stop < len(ordered) and len(ordered[stop].ids) * (stop + 1 - start) <= tokens:
            stop += 1
        batch = to_device(pad(ordered[start:stop]), device)
        probabilities = answer_logits(model, batch)[batch.first].float().softmax(-1).cpu()
        truths = batch.targets[batch.first].tolist()
        owners = [i for i in places[start:stop] for _ in rows[i].kinds]
        for place, task, kind, truth, row in zip(
            owners, batch.tasks, batch.kinds, truths, probabilities, strict=True
        ):
            own = ids[task, kind]
            best = int(row[own].argmax())
            options = table[task, kind]
            answered.setdefault(place, []).append(
                Choice(task, kind, options[own.index(truth)], options[best], float(row[own[best]]))
            )
        start = stop
    model.train()
    return [choice for place in range(len(rows)) for choice in answered[place]]


def accuracy(choices: Sequence[Choice]) -> float:
    """Share of right choices; 0 when there are none."""
    return sum(c.truth == c.chosen for c in choices) / max(1, len(choices))


def balanced_accuracy(choices: Sequence[Choice]) -> float:
    """Mean over the true answers of the share that was got right."""
    by_truth = defaultdict(list)
    for c in choices:
        by_truth[c.truth].append(c.truth == c.chosen)
    return sum(sum(v) / len(v) for v in by_truth.values()) / max(1, len(by_truth))


def labelled(choices: Sequence[Choice]) -> list[Choice]:
    """The domain questions whose true answer is a domain, not none."""
    return [c for c in choices if c.task == "classify" and c.truth != NONE_CODE]


@torch.no_grad()
def write(
    model: Any,
    tokenizer: Any,
    encoder: TurnEncoder,
    examples: Sequence[Example],
    device: str,
    **how: Any,
) -> list[str]:
    """Generate one text per example's first question, in one left-padded batch per 128."""
    model.eval()
    texts = []
    end = model.generation_config.eos_token_id
    for start in range(0, len(examples), 128):
        part = examples[start : start + 128]
        turns = [encoder.turn(e.prefix, e.body, e.questions[0].tail) for e in part]
        longest = max(map(len, turns))
        pad = tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(t)) + t for t in turns], device=device)
        seen = torch.tensor([[0] * (longest - len(t)) + [1] * len(t) for t in turns], device=device)
        out = model.generate(
            input_ids=ids,
            attention_mask=seen,
            max_new_tokens=160,
            pad_token_id=pad,
            eos_token_id=end,
            **(how or {"do_sample": False}),
        )
        texts += tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
    model.train()
    return [t.strip() for t in texts]


def holds_clause(text: str, domain: Domain, violates: bool) -> bool:
    """Whether the text holds, word for word, a clause of the domain on that side."""
    low = text.lower()
    sides = domain.violate if violates else domain.honour
    return any(c.lower() in low for clauses in sides.values() for c in clauses)


def response_domain_accuracy(texts: Sequence[str], prompts: Sequence[Prompt]) -> float:
    """Share of labelled domains of which the response holds any clause at all, verbatim."""
    hits = [
        holds_clause(text, domain, True) or holds_clause(text, domain, False)
        for text, prompt in zip(texts, prompts, strict=True)
        for domain in prompt.domains
    ]
    return sum(hits) / max(1, len(hits))


def topic_accuracy(texts: Sequence[str], prompts: Sequence[Prompt]) -> float:
    """Share of requested domains of which the new prompt holds a topic, verbatim."""
    hits = [
        any(t.lower() in text.lower() for t in domain.topics)
        for text, prompt in zip(texts, prompts, strict=True)
        for domain in prompt.domains
    ]
    return sum(hits) / max(1, len(hits))
