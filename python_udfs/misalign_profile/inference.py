"""Asks models, once: what the journal holds is not asked again.

Groups requests by model and verb, opens an engine only when a call is missing, records every batch
before the next one starts, shows progress, stops at a budget or when the user says so. Knows
nothing about stages, SQL or dbt.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from misalign_profile import interrupt
from misalign_profile.budget import Budget, Ledger, Prices, portions
from misalign_profile.engines import open_engine
from misalign_profile.errors import EngineError, JournalError
from misalign_profile.journal import Journal
from misalign_profile.progress import Progress, say
from misalign_profile.types import Completion, Engine, ModelSpec, Request

COMPACT_AT = 64


class Asks(Protocol):
    """Whoever answers requests, in order; None where nothing is known and nothing is asked."""

    def ask(self, requests: Sequence[Request], *, label: str) -> Sequence[Completion | None]: ...


def _check(model: ModelSpec, group: Mapping[str, Request], batch: Sequence[Completion]) -> None:
    """Raise ``EngineError`` for an answer to no question, or without usable probabilities."""
    for answer in batch:
        request = group.get(answer.call_id)
        if request is None:
            raise EngineError("an answer came to a call that was not asked", where=model.model)
        scores = answer.option_logprobs
        if len(scores) != len(request.options) or any(map(math.isnan, scores)):
            raise EngineError(
                f"{len(scores)} probabilities for {len(request.options)} options, or not numbers",
                where=f"{model.model}, {request.stage}",
                hint="a checkpoint that overflows in half precision wants dtype float32",
            )


@contextmanager
def _left(batches: Iterator[list[Completion]]) -> Iterator[Iterator[list[Completion]]]:
    """Batches that are left for good at the end, so that an engine asks nothing in advance."""
    try:
        yield batches
    finally:
        getattr(batches, "close", lambda: None)()


# dbt runs two Python models of one process at a time. Loading checkpoints in two threads breaks in
# transformers, and two stages side by side would hold twice the memory.
_ONE_STAGE_AT_A_TIME = threading.RLock()


class Inference:
    """A journal and the engines that are open. Use as a context manager; leaving it closes them.

    ``ledger`` holds what the run has spent of ``budget``; without one, this object is a run.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        batch_tokens: int = 16384,
        resident: int = 2,
        opener: Callable[..., Engine] = open_engine,
        budget: Budget | None = None,
        prices: Prices | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.journal = journal
        self.batch_tokens = batch_tokens
        self.resident = resident
        self.opener = opener
        self.budget = budget or Budget()
        self.prices = prices or Prices()
        self.ledger = ledger or Ledger()
        self.engines: dict[ModelSpec, Engine] = {}

    def __enter__(self) -> Inference:
        _ONE_STAGE_AT_A_TIME.acquire()
        self.journal.hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._close()
            if value is None:
                self._tidy()
        finally:
            _ONE_STAGE_AT_A_TIME.release()

    def _tidy(self) -> None:
        """Merge many segments. What was asked is recorded, so trouble here stops nothing."""
        try:
            if len(self.journal.segments()) > COMPACT_AT:
                self.journal.compact()
        except JournalError as error:
            say(f"misalign: the journal stays in many files: {error}")

    def _close(self) -> None:
        while self.engines:
            self.engines.popitem()[1].close()

    def _engine(self, model: ModelSpec) -> Engine:
        if model not in self.engines:
            while len(self.engines) >= self.resident:
                self.engines.pop(next(iter(self.engines))).close()
            self.engines[model] = self.opener(model, batch_tokens=self.batch_tokens)
        return self.engines[model]

    def ask(self, requests: Sequence[Request], *, label: str) -> list[Completion]:
        """Return one completion a request, in order. Equal requests are asked once.

        Raises ``BudgetSpent`` or ``Stopped``, in both cases after what was answered is recorded.
        """
        ids = [r.call_id for r in requests]
        answers = self.journal.known(ids)
        missing: dict[tuple[ModelSpec, str], dict[str, Request]] = {}
        planned: set[str] = set()  # two rows of the models seed may name one checkpoint
        for call_id, request in zip(ids, requests, strict=True):
            if call_id not in answers and call_id not in planned:
                planned.add(call_id)
                missing.setdefault((request.model, request.verb), {})[call_id] = request
        for (model, verb), group in missing.items():
            title = f"{label} [{model.model}]"
            with Progress(title, len(group)) as progress, interrupt.cleaned_by(self._close):
                self._ask_group(model, verb, group, answers, progress)
        return [answers[c] for c in ids]

    def _ask_group(
        self,
        model: ModelSpec,
        verb: str,
        group: Mapping[str, Request],
        answers: dict[str, Completion],
        progress: Progress,
    ) -> None:
        """Ask what is missing of one model and add it to ``answers``, a batch at a time."""
        price = self.prices.of(model)
        asked = portions(
            self.ledger, self.budget, price, list(group.values()), label=progress.label
        )
        for portion, mine in asked:
            interrupt.check()
            engine = self._engine(model)
            if not mine.calls:
                progress.begin()
            with _left(getattr(engine, verb)(portion)) as batches:
                for batch in batches:
                    _check(model, group, batch)
                    self.journal.append([(group[c.call_id], c) for c in batch])
                    answers.update((c.call_id, c) for c in batch)
                    self.ledger.add(batch, price, mine)
                    tokens = sum(c.prompt_tokens + c.completion_tokens for c in batch)
                    progress.advance(len(batch), tokens)
                    interrupt.check()
                    if self.ledger.is_spent(self.budget) and progress.done < len(group):
                        left = len(group) - progress.done
                        raise self.ledger.refusal(self.budget, progress.label, left)
        lost = len(group.keys() - answers.keys())
        if lost:
            raise EngineError(f"{lost} of {len(group)} calls got no answer", where=model.model)
