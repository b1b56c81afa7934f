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

from misalign_profile import questions
from misalign_profile.inference import Asks
from misalign_profile.orders import AS_WRITTEN, Orders
from misalign_profile.questions import Item
from misalign_profile.rules import Limits, reject
from misalign_profile.types import SIDES, Completion, ModelSpec, Request, Sampling, stable_id

FEEDBACK_REASONS = 2


@dataclass(frozen=True, slots=True)
class InOrder:
    """What the judge said when the question listed its options in one order."""

    option_order: int
    p_violates: float
    call_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's probability that a response violates one labelled domain: the mean over ``by_order``.

    ``call_id`` is that of order 0.
    """

    dimension: str
    domain: str
    p_violates: float
    call_id: str
    by_order: tuple[InOrder, ...]


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
        inference: Asks,
        judge: ModelSpec,
        feedback_of: Mapping[str, str],
        *,
        sampling: Sampling,
        candidates: int,
        rounds: int,
        threshold: float,
        limits: Limits,
        orders: Orders = AS_WRITTEN,
    ) -> None:
        self.inference = inference
        self.judge = judge
        self.feedback_of = feedback_of
        self.sampling = sampling
        self.candidates = candidates
        self.rounds = rounds
        self.threshold = threshold
        self.limits = limits
        self.orders = orders

    def run(self, items: Sequence[Item], responders: Sequence[ModelSpec]) -> list[Draw]:
        """Return every draw, ordered by responder, round, slot and candidate.

        A prompt of which some answer is None (a survey asks nothing) has no draws of that responder.
        """
        draws: list[Draw] = []
        for responder in responders:
            slots = {(item.prompt_id, side): item for item in items for side in SIDES}
            feedback: dict[tuple[str, str], tuple[str, ...]] = dict.fromkeys(slots, ())
            mine: list[Draw] = []
            open_ended: set[str] = set()
            for round_ in range(self.rounds + 1):
                wave, unknown = self._wave(responder, slots, feedback, round_)
                mine += wave
                open_ended |= unknown
                done = {(d.prompt_id, d.side) for d in wave if d.rejection_reason is None}
                slots = {
                    slot: item
                    for slot, item in slots.items()
                    if slot not in done and slot[0] not in open_ended
                }
                feedback = self._feedback(wave, slots)
                if not slots:
                    break
            draws += [d for d in mine if d.prompt_id not in open_ended]
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
    ) -> tuple[list[Draw], set[str]]:
        """One round of all slots: its draws, and the prompts of which an answer is not known."""
        order = [(slot, item, k) for slot, item in slots.items() for k in range(self.candidates)]
        requests = [
            questions.respond(
                responder,
                item,
                slot[1],
                round_,
                k,
                [self.feedback_of[r] for r in feedback[slot]],
                self.sampling,
            )
            for slot, item, k in order
        ]
        told = self.inference.ask(requests, label=f"responses, round {round_}")
        answers = {i: answer for i, answer in enumerate(told) if answer is not None}
        reasons = {
            i: reject(
                order[i][1].prompt,
                answer.text,
                side=order[i][0][1],
                finish_reason=answer.finish_reason,
                limits=self.limits,
            )
            for i, answer in answers.items()
        }
        to_judge = {
            i: (order[i][1], answers[i].text.strip()) for i, why in reasons.items() if why is None
        }
        verdicts, unjudged = self._judge(to_judge, round_)
        unknown = {
            item.prompt_id
            for i, (_, item, _) in enumerate(order)
            if i not in answers or i in unjudged
        }
        draws = [
            self._draw(
                responder, slot, item, k, round_, feedback[slot], answers[i], reasons[i], verdicts.get(i, ())
            )
            for i, (slot, item, k) in enumerate(order)
            if item.prompt_id not in unknown
        ]  # fmt: skip
        return draws, unknown

    def _judge(
        self, texts: Mapping[int, tuple[Item, str]], round_: int
    ) -> tuple[dict[int, tuple[Verdict, ...]], set[int]]:
        """Verdicts of each text, and the texts of which one is not known."""
        keys: list[tuple[int, Mapping[str, Any]]] = []
        requests: list[Request] = []
        for i, (item, text) in texts.items():
            keys += [(i, domain) for domain in item.domains]
            requests += questions.judge(self.judge, item, text, self.orders)
        answers = self.inference.ask(requests, label=f"judge, round {round_}")
        found: dict[int, list[Verdict]] = {}
        unknown: set[int] = set()
        by_question = questions.by_question(requests, answers)
        for (i, domain), in_orders in zip(keys, by_question, strict=True):
            if in_orders is None:
                unknown.add(i)
                continue
            said = tuple(InOrder(n, yes_probability(a), a.call_id) for n, a in in_orders)
            mean = sum(one.p_violates for one in said) / len(said)
            verdict = Verdict(domain["dimension"], domain["domain"], mean, said[0].call_id, said)
            found.setdefault(i, []).append(verdict)
        return {i: tuple(v) for i, v in found.items()}, unknown

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
