"""Asks models, once: what the journal holds is not asked again.

Groups requests by model and verb, opens an engine only when a call is missing, records every batch
before the next one starts, shows progress. Knows nothing about stages, SQL or dbt.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from misalign_profile.engines import open_engine
from misalign_profile.errors import EngineError
from misalign_profile.journal import Journal
from misalign_profile.types import Completion, Engine, ModelSpec, Request

COMPACT_AT = 64


class Progress:
    """Lines on standard error, at most one every few seconds: done, rate, time left."""

    def __init__(self, label: str, total: int, *, every: float = 5.0) -> None:
        self.label, self.total, self.every = label, total, every
        self.done = 0
        self.started = self.shown = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.shown >= self.every or self.done == self.total:
            self.shown = now
            rate = self.done / max(now - self.started, 1e-9)
            left = (self.total - self.done) / rate
            tail = (
                f", {left:.0f} s left"
                if self.done < self.total
                else f", {now - self.started:.1f} s"
            )
            line = (
                f"          {self.label}: {self.done:,}/{self.total:,} calls, {rate:,.0f}/s{tail}"
            )
            print(line + "\n", end="", file=sys.stderr, flush=True)  # in one piece


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


# dbt runs two Python models of one process at a time. Loading checkpoints in two threads breaks in
# transformers, and two stages side by side would hold twice the memory.
_ONE_STAGE_AT_A_TIME = threading.RLock()


class Inference:
    """A journal and the engines that are open. Use as a context manager; leaving it closes them."""

    def __init__(
        self,
        journal: Journal,
        *,
        batch_tokens: int = 16384,
        resident: int = 2,
        opener: Callable[..., Engine] = open_engine,
    ) -> None:
        self.journal = journal
        self.batch_tokens = batch_tokens
        self.resident = resident
        self.opener = opener
        self.engines: dict[ModelSpec, Engine] = {}
        self.asked = 0

    def __enter__(self) -> Inference:
        _ONE_STAGE_AT_A_TIME.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for engine in self.engines.values():
                engine.close()
            self.engines.clear()
            if len(self.journal.segments()) > COMPACT_AT and value is None:
                self.journal.compact()
        finally:
            _ONE_STAGE_AT_A_TIME.release()

    def _engine(self, model: ModelSpec) -> Engine:
        if model not in self.engines:
            while len(self.engines) >= self.resident:
                self.engines.pop(next(iter(self.engines))).close()
            self.engines[model] = self.opener(model, batch_tokens=self.batch_tokens)
        return self.engines[model]

    def ask(self, requests: Sequence[Request], *, label: str) -> list[Completion]:
        """Return one completion a request, in order. Equal requests are asked once."""
        ids = [r.call_id for r in requests]
        answers = self.journal.known(ids)
        missing: dict[tuple[ModelSpec, str], dict[str, Request]] = {}
        planned: set[str] = set()  # two rows of the models seed may name one checkpoint
        for call_id, request in zip(ids, requests, strict=True):
            if call_id not in answers and call_id not in planned:
                planned.add(call_id)
                missing.setdefault((request.model, request.verb), {})[call_id] = request
        for (model, verb), group in missing.items():
            engine = self._engine(model)
            progress = Progress(f"{label} [{model.model}]", len(group))
            batches = getattr(engine, verb)(list(group.values()))
            for batch in batches:
                _check(model, group, batch)
                self.journal.append([(group[c.call_id], c) for c in batch])
                answers.update((c.call_id, c) for c in batch)
                progress.advance(len(batch))
                self.asked += len(batch)
            lost = len(group.keys() - answers.keys())
            if lost:
                raise EngineError(f"{lost} of {len(group)} calls got no answer", where=model.model)
        return [answers[c] for c in ids]
