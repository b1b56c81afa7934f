"""Two-stage rejection sampling of responses, as a state machine over waves of model calls.

Stage one, candidate filtering: K candidates a slot (prompt, responder, side) go through the cheap
rules and then the judge. Stage two, feedback-guided resampling: a slot without an accepted candidate
is asked again, told why the last ones were turned down, at most R rounds. Every draw is kept, with
the reason for what happened to it. Knows nothing about dbt or SQL.

An aligned candidate passes when the judge finds no violation in *all* labelled dimensions; a
misaligned one when it finds a violation in at least one. The judge margin is the distance of the
deciding probability from certainty: aligned, 1 - max p; misaligned, max p.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from misalign_profile.inference import Inference
from misalign_profile.prompts import YES_NO, ask
from misalign_profile.rules import Limits, reject
from misalign_profile.types import SIDES, Completion, ModelSpec, Request, Sampling, stable_id

FEEDBACK_REASONS = 2


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt to be answered. ``domains``: rows of the taxonomy, one per labelled dimension."""

    prompt_id: str
    prompt: str
    semantic_type: str
    semantic_type_definition: str
    domains: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's probability that a response violates one labelled domain."""

    dimension: str
    domain: str
    p_violates: float
    call_id: str


@dataclass(frozen=True, slots=True)
class Draw:
    """One response that was ever drawn, and what became of it."""

    response_id: str
    prompt_id: str
    responder: str
    side: str
    round: int
    candidate: int
    response: str
    finish_reason: str
    completion_tokens: int
    call_id: str
    feedback: tuple[str, ...]
    rejected_by: str | None
    rejection_reason: str | None
    judge_margin: float | None
    verdicts: tuple[Verdict, ...] = field(default=())


def yes_probability(completion: Completion) -> float:
    """P(yes) renormalised over the two options yes, no."""
    yes, no = completion.option_logprobs
    return float(1 / (1 + np.exp(np.clip(no - yes, -700, 700))))


class Sampler:
    """Runs the waves. ``feedback_of``: rejection reason slug -> what the responder is told."""

    def __init__(
        self,
        inference: Inference,
        judge: ModelSpec,
        feedback_of: Mapping[str, str],
        *,
        sampling: Sampling,
        candidates: int,
        rounds: int,
        threshold: float,
        limits: Limits,
    ) -> None:
        self.inference = inference
        self.judge = judge
        self.feedback_of = feedback_of
        self.sampling = sampling
        self.candidates = candidates
        self.rounds = rounds
        self.threshold = threshold
        self.limits = limits

    def run(self, items: Sequence[Item], responders: Sequence[ModelSpec]) -> list[Draw]:
        """Return every draw, ordered by responder, round, slot and candidate."""
        draws: list[Draw] = []
        for responder in responders:
            slots = {(item.prompt_id, side): item for item in items for side in SIDES}
            feedback: dict[tuple[str, str], tuple[str, ...]] = dict.fromkeys(slots, ())
            for round_ in range(self.rounds + 1):
                wave = self._wave(responder, slots, feedback, round_)
                draws += wave
                done = {(d.prompt_id, d.side) for d in wave if d.rejection_reason is None}
                slots = {slot: item for slot, item in slots.items() if slot not in done}
                feedback = self._feedback(wave, slots)
                if not slots:
                    break
        return draws

    def _feedback(
        self, wave: Sequence[Draw], slots: Mapping[tuple[str, str], Item]
    ) -> dict[tuple[str, str], tuple[str, ...]]:
        reasons: dict[tuple[str, str], Counter[str]] = {slot: Counter() for slot in slots}
        for draw in wave:
            if (draw.prompt_id, draw.side) in reasons and draw.rejection_reason:
                reasons[draw.prompt_id, draw.side][draw.rejection_reason] += 1
        return {
            slot: tuple(reason for reason, _ in counts.most_common(FEEDBACK_REASONS))
            for slot, counts in reasons.items()
        }

    def _wave(
        self,
        responder: ModelSpec,
        slots: Mapping[tuple[str, str], Item],
        feedback: Mapping[tuple[str, str], tuple[str, ...]],
        round_: int,
    ) -> list[Draw]:
        order = [(slot, item, k) for slot, item in slots.items() for k in range(self.candidates)]
        requests = [
            ask(
                responder,
                "respond",
                "respond",
                f"{item.prompt_id}/{side}/round{round_}",
                sampling=self.sampling,
                sample_index=k,
                prompt=item.prompt,
                domains=item.domains,
                side=side,
                semantic_type=item.semantic_type,
                semantic_type_definition=item.semantic_type_definition,
                feedback=[self.feedback_of[r] for r in feedback[slot]],
            )
            for slot, item, k in order
            for side in (slot[1],)
        ]
        answers = self.inference.ask(requests, label=f"responses, round {round_}")
        reasons = [
            reject(
                item.prompt, a.text, side=slot[1], finish_reason=a.finish_reason, limits=self.limits
            )
            for (slot, item, _), a in zip(order, answers, strict=True)
        ]
        verdicts = self._judge(
            {i: (order[i][1], a.text.strip()) for i, a in enumerate(answers) if reasons[i] is None},
            round_,
        )
        return [
            self._draw(
                responder, slot, item, k, round_, feedback[slot], a, reason, verdicts.get(i, ())
            )
            for i, ((slot, item, k), a, reason) in enumerate(
                zip(order, answers, reasons, strict=True)
            )
        ]

    def _judge(
        self, texts: Mapping[int, tuple[Item, str]], round_: int
    ) -> dict[int, tuple[Verdict, ...]]:
        keys: list[tuple[int, Mapping[str, Any]]] = []
        requests: list[Request] = []
        for i, (item, text) in texts.items():
            for domain in item.domains:
                keys.append((i, domain))
                requests.append(
                    ask(
                        self.judge,
                        "judge",
                        "judge",
                        item.prompt_id,
                        options=YES_NO,
                        prompt=item.prompt,
                        response=text,
                        dimension=domain["dimension"],
                        domain=domain,
                    )
                )
        answers = self.inference.ask(requests, label=f"judge, round {round_}")
        found: dict[int, list[Verdict]] = {}
        for (i, domain), answer in zip(keys, answers, strict=True):
            verdict = Verdict(
                domain["dimension"], domain["domain"], yes_probability(answer), answer.call_id
            )
            found.setdefault(i, []).append(verdict)
        return {i: tuple(v) for i, v in found.items()}

    def _draw(
        self,
        responder: ModelSpec,
        slot: tuple[str, str],
        item: Item,
        candidate: int,
        round_: int,
        feedback: tuple[str, ...],
        answer: Completion,
        reason: str | None,
        verdicts: tuple[Verdict, ...],
    ) -> Draw:
        side = slot[1]
        rejected_by = "rules" if reason else None
        margin = None
        if verdicts:
            worst = max(v.p_violates for v in verdicts)
            violates = worst >= self.threshold
            margin = worst if side == "misaligned" else 1 - worst
            if side == "aligned" and violates:
                reason, rejected_by = "aligned_violates", "judge"
            elif side == "misaligned" and not violates:
                reason, rejected_by = "misaligned_honours", "judge"
        return Draw(
            response_id=stable_id("response", answer.call_id),
            prompt_id=item.prompt_id,
            responder=responder.model,
            side=side,
            round=round_,
            candidate=candidate,
            response=answer.text.strip(),
            finish_reason=answer.finish_reason,
            completion_tokens=answer.completion_tokens,
            call_id=answer.call_id,
            feedback=feedback,
            rejected_by=rejected_by,
            rejection_reason=reason,
            judge_margin=margin,
            verdicts=verdicts,
        )
