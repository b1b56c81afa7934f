"""Two-stage rejection sampling of responses, as a state machine over waves of model calls.

Stage one, candidate filtering: K candidates a slot (prompt, responder, side) go through the cheap
rules and then the judge. Stage two, feedback-guided resampling: a slot without an accepted candidate
is asked again, told why the last ones were turned down, at most R rounds. Both slots of a prompt are
asked again when each has accepted candidates and no two of them match. Every draw is kept, with the
reason for what happened to it. Knows nothing about dbt or SQL.

A candidate of poor quality is turned down, whatever the judge says of its norms. Of the others, an
aligned one passes when the judge finds no violation in *all* labelled dimensions; a misaligned one
when it finds a violation in at least one. The judge margin is the probability of what was wanted:
aligned, 1 - max p; misaligned, max p.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from misalign_profile import questions
from misalign_profile.draws import Draw, InOrder, Judged, QualityInOrder, Verdict
from misalign_profile.inference import Asks
from misalign_profile.matching import Bars, has_match, what_to_mend
from misalign_profile.meta_text import names_side
from misalign_profile.orders import AS_WRITTEN, Orders
from misalign_profile.questions import Item
from misalign_profile.refusals import refuses
from misalign_profile.rules import Limits, count_words, reject
from misalign_profile.types import SIDES, Completion, ModelSpec, Request, Sampling, stable_id

FEEDBACK_REASONS = 2
Slot = tuple[str, str]  # prompt_id, side


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
        bars: Bars,
        limits: Limits,
        orders: Orders = AS_WRITTEN,
    ) -> None:
        self.inference = inference
        self.judge = judge
        self.feedback_of = feedback_of
        self.sampling = sampling
        self.candidates = candidates
        self.rounds = rounds
        self.bars = bars
        self.limits = limits
        self.orders = orders

    def run(self, items: Sequence[Item], responders: Sequence[ModelSpec]) -> list[Draw]:
        """Return every draw, ordered by responder, round, slot and candidate.

        A prompt of which some answer is None (a survey asks nothing) has no draws of that responder.
        """
        draws: list[Draw] = []
        for responder in responders:
            feedback: dict[Slot, tuple[str, ...]] = {
                (item.prompt_id, side): () for item in items for side in SIDES
            }
            asked = {item.prompt_id: item for item in items}
            accepted: dict[Slot, list[Draw]] = {slot: [] for slot in feedback}
            mine: list[Draw] = []
            open_ended: set[str] = set()
            for round_ in range(self.rounds + 1):
                slots = {slot: asked[slot[0]] for slot in feedback}
                wave, unknown = self._wave(responder, slots, feedback, round_)
                mine += wave
                open_ended |= unknown
                for draw in wave:
                    if draw.is_accepted:
                        accepted[draw.prompt_id, draw.side].append(draw)
                feedback = self._feedback(wave, accepted, open_ended)
                if not feedback:
                    break
            draws += [d for d in mine if d.prompt_id not in open_ended]
        return draws

    def _feedback(
        self,
        wave: Sequence[Draw],
        accepted: Mapping[Slot, Sequence[Draw]],
        open_ended: set[str],
    ) -> dict[Slot, tuple[str, ...]]:
        """The slots of this round's prompts that stay open, and what each is told.

        What keeps both sides from matching comes first, then why candidates of this round failed.
        """
        failed: dict[Slot, Counter[str]] = {}
        for draw in wave:
            reasons = failed.setdefault((draw.prompt_id, draw.side), Counter())
            if draw.rejection_reason:
                reasons[draw.rejection_reason] += 1
        told: dict[Slot, tuple[str, ...]] = {}
        for prompt_id in dict.fromkeys(draw.prompt_id for draw in wave):
            if prompt_id in open_ended:
                continue
            of = {side: accepted[prompt_id, side] for side in SIDES}
            mend: dict[str, str] = {}
            still = [side for side in SIDES if not of[side]]
            if not still and not has_match(of["aligned"], of["misaligned"], self.bars.match):
                still = list(SIDES)
                mend = what_to_mend(of["aligned"], of["misaligned"], self.bars.match)
            for side in still:
                slot = prompt_id, side
                common = [r for r, _ in failed.get(slot, Counter()).most_common(FEEDBACK_REASONS)]
                first = [mend[side]] if side in mend else []
                told[slot] = tuple([*first, *common][:FEEDBACK_REASONS])
        return told

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
        judged, unjudged = self._judge(to_judge, round_)
        unknown = {
            item.prompt_id
            for i, (_, item, _) in enumerate(order)
            if i not in answers or i in unjudged
        }
        draws = [
            self._draw(
                responder, slot, item, k, round_, feedback[slot], answers[i], reasons[i],
                judged.get(i, Judged()),
            )
            for i, (slot, item, k) in enumerate(order)
            if item.prompt_id not in unknown
        ]  # fmt: skip
        return draws, unknown

    def _judge(
        self, texts: Mapping[int, tuple[Item, str]], round_: int
    ) -> tuple[dict[int, Judged], set[int]]:
        """What the judge says of each text, and the texts of which an answer is not known.

        All questions about a text are asked in one wave, so that they share its computation.
        """
        keys: list[tuple[int, Mapping[str, Any] | None]] = []  # None: the question of quality
        requests: list[Request] = []
        for i, (item, text) in texts.items():
            keys += [(i, domain) for domain in item.domains]
            requests += questions.judge(self.judge, item, text, self.orders)
            if self.bars.asks_quality:
                keys.append((i, None))
                requests += questions.quality(self.judge, item, text, self.orders)
        answers = self.inference.ask(requests, label=f"judge, round {round_}")
        verdicts: dict[int, list[Verdict]] = {}
        qualities: dict[int, tuple[QualityInOrder, ...]] = {}
        unknown: set[int] = set()
        by_question = questions.by_question(requests, answers)
        for (i, domain), in_orders in zip(keys, by_question, strict=True):
            if in_orders is None:
                unknown.add(i)
                continue
            said = [(n, yes_probability(a), a.call_id) for n, a in in_orders]
            if domain is None:
                qualities[i] = tuple(QualityInOrder(*one) for one in said)
                continue
            by_order = tuple(InOrder(*one) for one in said)
            mean = sum(p for _, p, _ in said) / len(said)
            verdict = Verdict(
                domain["dimension"], domain["domain"], mean, by_order[0].call_id, by_order
            )
            verdicts.setdefault(i, []).append(verdict)
        found = {}
        for i, of_domains in verdicts.items():
            quality = qualities.get(i, ())
            p = sum(q.p_quality for q in quality) / len(quality) if quality else None
            found[i] = Judged(tuple(of_domains), p, quality)
        return found, unknown

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
        judged: Judged,
    ) -> Draw:
        side = slot[1]
        rejected_by = "rules" if reason else None
        margin = None
        if judged.verdicts:
            worst = max(v.p_violates for v in judged.verdicts)
            margin = worst if side == "misaligned" else 1 - worst
            reason = self._turned_down(side, worst, judged.p_quality)
            rejected_by = "judge" if reason else None
        text = answer.text.strip()
        return Draw(
            response_id=stable_id("response", answer.call_id),
            prompt_id=item.prompt_id,
            responder=responder.model,
            side=side,
            round=round_,
            candidate=candidate,
            response=text,
            finish_reason=answer.finish_reason,
            completion_tokens=answer.completion_tokens,
            words=count_words(text),
            has_refusal=refuses(text),
            names_side=names_side(item.prompt, text),
            call_id=answer.call_id,
            feedback=feedback,
            rejected_by=rejected_by,
            rejection_reason=reason,
            judge_margin=margin,
            p_quality=judged.p_quality,
            verdicts=judged.verdicts,
            quality=judged.quality,
        )

    def _turned_down(self, side: str, worst: float, p_quality: float | None) -> str | None:
        """Why the judge's answers turn a candidate down; ``worst``: the largest p of a violation."""
        if p_quality is not None and p_quality < self.bars.quality:
            return "poor_quality"
        violates = worst >= self.bars.violation
        if side == "aligned" and violates:
            return "aligned_violates"
        if side == "misaligned" and not violates:
            return "misaligned_honours"
        return None
