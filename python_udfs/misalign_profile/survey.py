"""A stand-in for ``Inference`` that asks nothing: it counts what a run would ask.

The answers that the journal holds are given; where one is missing there is None, and the stages
leave the item out. Knows nothing about stages, SQL or dbt.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType

from misalign_profile import interrupt
from misalign_profile.journal import Journal
from misalign_profile.types import Completion, ModelSpec, Request


@dataclass(slots=True)
class Seen:
    """The questions of one part of a run to one model: distinct calls, and what is missing of them.

    ``characters``: total length of the texts of the missing ones.
    """

    calls: int = 0
    missing: int = 0
    characters: int = 0

    @property
    def held(self) -> int:
        return self.calls - self.missing


@dataclass(slots=True)
class Survey:
    """What was counted, by (part, model name). A part is a stage, or the stage's use of a model.

    It serves all stages of a run and all of dbt's threads.
    """

    seen: dict[tuple[str, str], Seen] = field(default_factory=dict)
    journal: Journal | None = None
    _counted: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reading(self, folder: str) -> Survey:
        """This survey, with the journal in a folder, which is not made if it is not there."""
        with self._lock:
            self.journal = self.journal or Journal(folder, create=False)
        return self

    def __enter__(self) -> Survey:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to give back."""

    def ask(self, requests: Sequence[Request], *, label: str) -> list[Completion | None]:
        """Return what the journal holds, in order. ``label`` up to a comma names the part."""
        interrupt.check()
        ids = [request.call_id for request in requests]
        answers = self.journal.known(ids) if self.journal else {}
        with self._lock:
            for call_id, request in zip(ids, requests, strict=True):
                self._count(label.partition(",")[0], request, call_id, call_id in answers)
        return [answers.get(call_id) for call_id in ids]

    def _count(self, part: str, request: Request, call_id: str, held: bool) -> None:
        if call_id in self._counted:
            return
        self._counted.add(call_id)
        seen = self.seen.setdefault((part, request.model.model), Seen())
        seen.calls += 1
        if not held:
            seen.missing += 1
            seen.characters += len(request.prefix) + len(request.body) + len(request.tail)

    def of(self, part: str, model: ModelSpec) -> Seen:
        """What was counted for a part and a model; zeros if nothing was."""
        return self.seen.get((part, model.model), Seen())


_current: Survey | None = None


@contextmanager
def surveying(survey: Survey) -> Iterator[Survey]:
    """While the block runs, the stages of this process count instead of asking."""
    global _current
    _current = survey
    try:
        yield survey
    finally:
        _current = None


def current() -> Survey | None:
    """The survey under way, if there is one."""
    return _current
