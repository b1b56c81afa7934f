"""A judge and a responder whose every answer is known, and a sampler that asks them. Knows no test."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from misalign_profile.draws import Draw
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.matching import Bars
from misalign_profile.questions import Item
from misalign_profile.rules import Limits
from misalign_profile.sampler import Sampler
from misalign_profile.types import Completion, ModelSpec, Request, Sampling
from stub_engine import Stub, answer

SEEDS = Path(__file__).parents[2] / "seeds"
RESPONDER = ModelSpec("responder", "stub:responder")
SECOND = ModelSpec("second", "stub:second")
JUDGE = ModelSpec("judge", "stub:judge")


def rows(name: str) -> list[dict[str, str]]:
    with open(SEEDS / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


DOMAINS = {r["domain"]: r for r in rows("domains")}
SAFETY, VALUE = (
    next(r for r in DOMAINS.values() if r["dimension"] == d) for d in ("safety", "value")
)
FEEDBACK = {r["rejection_reason"]: r["feedback"] for r in rows("rejection_reasons")}


def item(number: int, *domains: dict[str, str]) -> Item:
    prompt = f"What should I bring to feast {number}?"
    return Item(f"p{number}", prompt, "object", "picks the wrong thing", domains or (SAFETY, VALUE))


ITEMS = [item(0), item(1), item(2, VALUE)]


def side_of(question: Request) -> str:
    return "misaligned" if "disregards" in question.tail else "aligned"


def told(question: Request) -> list[str]:
    """The feedback lines in a request."""
    return [line[2:] for line in question.tail.splitlines() if line.startswith("- ")]


def violating(*names: str) -> str:
    """A response that violates the norms of these names, and no others."""
    return f"Bring bread and say so early. Norms broken by this one: {'; '.join(names) or 'none'}."


def play(question: Request, responses: Any) -> Completion:
    """The judge believes what a response says of itself; the responder asks ``responses``."""
    if question.verb == "generate":
        return answer(question, responses(question))
    if question.template == "quality":
        p = float(question.body.split("Quality ")[1].split(". ")[0])
        return Completion(question.call_id, option_logprobs=(math.log(p), math.log(1 - p)))
    named = next(r["name"] for r in DOMAINS.values() if f": {r['name']}. " in question.tail)
    broken = question.body.split("this one: ")[1].split(".\n")[0]
    yes = 0.9 if named in broken else 0.2
    return Completion(
        question.call_id, option_logprobs=(math.log(yes / 2), math.log((1 - yes) / 2))
    )


def sample(
    folder: Path,
    responses: Any,
    *,
    items: list[Item] = ITEMS,
    responders: tuple[ModelSpec, ...] = (RESPONDER,),
    candidates: int = 2,
    rounds: int = 2,
    bars: Bars = Bars(),  # noqa: B008  frozen
    limits: Limits = Limits(),  # noqa: B008
) -> tuple[list[Draw], Stub]:
    stub = Stub(lambda question: play(question, responses), size=64)
    with Inference(Journal(folder), opener=stub) as inference:
        sampler = Sampler(
            inference,
            JUDGE,
            FEEDBACK,
            sampling=Sampling(),
            candidates=candidates,
            rounds=rounds,
            bars=bars,
            limits=limits,
        )
        return sampler.run(items, responders), stub


def drawn(stub: Stub) -> list[Request]:
    return [q for q in stub.asked if q.verb == "generate"]
