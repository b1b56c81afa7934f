"""An engine for tests: it answers by a function, batch by batch, and remembers what was asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from misalign_profile.types import Completion, ModelSpec, Request, Sampling

SPEC = ModelSpec("stub", "stub:one")
GOOD = "The elders open the feast and every guest waits for them."


def request(number: int = 0, **fields: Any) -> Request:
    """A question that differs from the others by its number."""
    base: dict[str, Any] = {
        "model": SPEC,
        "stage": "stage",
        "template": "respond",
        "template_hash": "hash",
        "item": f"item{number}",
        "prefix": "Task.\n",
        "body": f"Prompt {number}\n",
        "tail": "Answer:",
        "sampling": Sampling(),
    }
    return Request(**(base | fields))


def choice(number: int = 0, **fields: Any) -> Request:
    return request(number, **({"sampling": None, "options": ("yes", "no")} | fields))


def answer(question: Request, text: str = GOOD) -> Completion:
    if question.verb == "choose":
        return Completion(question.call_id, option_logprobs=tuple(map(math.log, (0.25, 0.5))))
    return Completion(question.call_id, text)


@dataclass
class Stub:
    """Give it as the opener; ``batches`` holds what was asked, in order, a list a batch."""

    reply: Callable[[Request], Completion] = answer
    size: int = 4
    seconds: float = 0.0
    batches: list[list[Request]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def __call__(self, model: ModelSpec, *, batch_tokens: int) -> StubEngine:
        self.opened.append(model.model)
        return StubEngine(self, model.model)

    @property
    def asked(self) -> list[Request]:
        return [question for batch in self.batches for question in batch]


@dataclass
class StubEngine:
    stub: Stub
    name: str

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        for start in range(0, len(requests), self.stub.size):
            batch = list(requests[start : start + self.stub.size])
            self.stub.batches.append(batch)
            time.sleep(self.stub.seconds)
            yield [self.stub.reply(question) for question in batch]

    choose = generate

    def close(self) -> None:
        self.stub.closed.append(self.name)
