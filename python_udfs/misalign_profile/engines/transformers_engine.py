"""Run a checkpoint in this process: exact choices, reproducible draws, shared prefixes.

Requests are grouped by prefix (computed once), then by options, then batched by length. Knows
nothing about templates, journals or dbt.
"""

from __future__ import annotations

import gc
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from misalign_profile.engines.batching import (
    Room,
    halving,
    of_similar_length,
    out_of_memory,
    under_budget,
)
from misalign_profile.engines.hf_cache import Segment
from misalign_profile.engines.hf_choose import Ids, Trie, build_trie, compute_segment, score
from misalign_profile.engines.hf_generate import Draw, Ended, continue_rows
from misalign_profile.engines.hf_loading import Loaded, load
from misalign_profile.engines.hf_rendering import Renderer
from misalign_profile.errors import EngineError
from misalign_profile.types import Completion, ModelSpec, Request, Sampling

AT_ONCE = 32768  # requests tokenised at a time
LEAST_SHARING = 4  # requests that make a prefix worth a pass of its own
PREFIXES_KEPT = 4
LOGITS_AT_ONCE = 1 << 28  # floats: 1 GiB
GATHER_SECONDS = 0.5
CPU_CHOOSE_TOKENS = 3072  # larger batches leave the processor's cache


@dataclass(frozen=True, slots=True)
class Row:
    """A request as token ids: ``head`` is shared by its group and computed once."""

    request: Request
    call_id: str
    head: Ids
    body: Ids
    foot: Ids

    @property
    def suffix(self) -> Ids:
        return self.body + self.foot

    @property
    def size(self) -> int:
        return len(self.body) + len(self.foot)


class TransformersEngine:
    """``choose`` and ``generate`` with a checkpoint loaded by ``transformers``.

    ``batch_tokens`` bounds rows times tokens of a batch; ``max_body_tokens`` is the length above
    which a body loses its middle; ``device`` is cuda if there is one; ``continuous`` lets a waiting
    draw take the place of one that ended, else a batch ends before the next begins (same text);
    ``loaded`` is a model that was made elsewhere. Raises ``ModelNotFound`` when the source does not
    lead to a checkpoint.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        batch_tokens: int = 16384,
        threads: int | None = None,
        max_body_tokens: int = 4096,
        device: str | None = None,
        continuous: bool = True,
        loaded: Loaded | None = None,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.spec = spec
        self.batch_tokens = batch_tokens
        self.continuous = continuous
        self._loaded: Loaded | None = loaded or load(spec, device)
        self.renderer = Renderer(self._loaded.tokenizer, max_body_tokens)
        self._prefixes: OrderedDict[Ids, Segment] = OrderedDict()
        self._tries: dict[tuple[str, ...], Trie] = {}
        self._choosing, self._drawing = (
            Room(f"{spec.model}, choose"),
            Room(f"{spec.model}, generate"),
        )

    @property
    def loaded(self) -> Loaded:
        if self._loaded is None:
            raise EngineError("the engine is closed", where=self.spec.model)
        return self._loaded

    def choose(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with exact log-probabilities of the options, a batch at a time."""
        for some in _windows(requests):
            for head, rows in self._groups(some):
                by_options: dict[tuple[str, ...], list[Row]] = defaultdict(list)
                for row in rows:
                    by_options[row.request.options].append(row)
                for options, group in by_options.items():
                    yield from self._choose_group(head, self._trie(options), group)

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with drawn text, a batch at a time."""
        for some in _windows(requests):
            for head, rows in self._groups(some):

                def cost(row: Row, shared: int = len(head)) -> int:
                    return shared + row.size + _sampling(row).max_new_tokens

                for alike in of_similar_length(rows, cost):
                    each = cost(alike[0])
                    if self.continuous:
                        yield from self._continue(head, alike, each)
                        continue
                    at_once = self._drawing.rows(self.batch_tokens, each)
                    for start in range(0, len(alike), at_once):
                        yield from self._continue(head, alike[start : start + at_once], each)

    def close(self) -> None:
        """Give the model's memory back. Closing twice is fine."""
        self._prefixes.clear()
        self._tries.clear()
        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _groups(self, requests: Sequence[Request]) -> Iterator[tuple[Ids, list[Row]]]:
        """Rows by shared head; a head that few requests share is computed with its rows instead."""
        groups: dict[Ids, list[Row]] = defaultdict(list)
        for row in self._rows(requests):
            groups[row.head].append(row)
        alone: list[Row] = []
        for head, rows in groups.items():
            if len(rows) >= LEAST_SHARING and head:
                yield head, rows
            else:
                alone += [Row(r.request, r.call_id, (), head + r.body, r.foot) for r in rows]
        if alone:
            yield (), alone

    def _rows(self, requests: Sequence[Request]) -> Iterator[Row]:
        bodies = self.renderer.bodies(request.body for request in requests)
        limit = self.loaded.max_positions
        for request in requests:
            head, foot = self.renderer.head(request.prefix), self.renderer.foot(request.tail)
            body = bodies[request.body]
            answer = request.sampling.max_new_tokens if request.sampling else 16
            room = limit - len(head) - len(foot) - answer
            if room < min(len(body), 16) or not (foot or body):
                raise EngineError(
                    f"the question does not fit the model's {limit} positions, or is empty",
                    where=f"{self.spec.model}, item {request.item}",
                    hint="shorten the template or lower max_new_tokens",
                )
            yield Row(request, request.call_id, head, self.renderer.shorten(body, room), foot)

    def _head(self, head: Ids) -> tuple[list[Segment], bool]:
        """The head's keys and values, and whether they were there already."""
        if not head:
            return [], True
        known = head in self._prefixes
        if not known:
            while len(self._prefixes) >= PREFIXES_KEPT:
                self._prefixes.popitem(last=False)
            self._prefixes[head] = compute_segment(self.loaded, [], [head], [0])
        self._prefixes.move_to_end(head)
        return [self._prefixes[head]], known

    def _trie(self, options: tuple[str, ...]) -> Trie:
        if options not in self._tries:
            if len(self._tries) > 256:
                self._tries.clear()
            ids = self.renderer.options(options)
            self._tries[options] = build_trie(ids, self.loaded.device)
        return self._tries[options]

    def _choose_group(self, head: Ids, trie: Trie, rows: list[Row]) -> Iterator[list[Completion]]:
        by_body: dict[Ids, list[Row]] = defaultdict(list)
        for row in rows:
            by_body[row.body].append(row)
        joint = [r for body, rs in by_body.items() if len(rs) == 1 or not body for r in rs]
        shared = [rs for body, rs in by_body.items() if len(rs) > 1 and body]
        most = max(1, LOGITS_AT_ONCE // ((trie.size + 1) * self.loaded.vocabulary))
        budget = self.batch_tokens
        if self.loaded.device.type == "cpu":
            budget = min(budget, CPU_CHOOSE_TOKENS)
        # a row copies the head's keys for one layer at a time, which is cheap but not free
        extra = trie.size + len(head) // 16

        def length(row: Row) -> int:
            return row.size + extra

        room = self._choosing
        for batch in under_budget(joint, length, budget, most=most, room=room):
            yield from halving(batch, partial(self._score, head, trie), room, length)

        def cost(rs: list[Row]) -> int:
            longest = max(len(r.foot) for r in rs)
            return len(rs[0].body) + len(rs) * (longest + extra + len(rs[0].body) // 4)

        width = max((len(rs) for rs in shared), default=1)
        for bodies in under_budget(shared, cost, budget, most=max(1, most // width), room=room):
            yield from halving(bodies, partial(self._score_shared, head, trie), room, cost)

    def _score(self, head: Ids, trie: Trie, rows: list[Row]) -> list[Completion]:
        began = time.perf_counter()
        past, known = self._head(head)
        scores = score(self.loaded, past, [r.suffix for r in rows], [len(head)] * len(rows), trie)
        share = (time.perf_counter() - began) / len(rows)
        cached = [len(head) if known or i else 0 for i in range(len(rows))]
        return [
            _chosen(row, head, logprobs, reused, share)
            for row, logprobs, reused in zip(rows, scores, cached, strict=True)
        ]

    def _score_shared(self, head: Ids, trie: Trie, bodies: list[list[Row]]) -> list[Completion]:
        """Score rows that share bodies: the bodies first, then all their feet."""
        began = time.perf_counter()
        past, known = self._head(head)
        texts = [rs[0].body for rs in bodies]
        segment = compute_segment(self.loaded, past, texts, [len(head)] * len(texts))
        rows = [row for rs in bodies for row in rs]
        owner = [i for i, rs in enumerate(bodies) for _ in rs]
        spread = segment.rows(torch.tensor(owner, device=self.loaded.device))
        starts = [len(head) + len(row.body) for row in rows]
        scores = score(self.loaded, [*past, spread], [r.foot for r in rows], starts, trie)
        share = (time.perf_counter() - began) / len(rows)
        first = {i for i in range(len(rows)) if i == 0 or owner[i] != owner[i - 1]}
        return [
            _chosen(
                row,
                head,
                logprobs,
                (len(head) if known or i else 0) + (0 if i in first else len(row.body)),
                share,
            )
            for i, (row, logprobs) in enumerate(zip(rows, scores, strict=True))
        ]

    def _continue(self, head: Ids, rows: Sequence[Row], each: int) -> Iterator[list[Completion]]:
        """Draw texts of ``each`` tokens at most; out of memory halves the rows in flight and goes on."""
        left, at_once = list(rows), self._drawing.rows(self.batch_tokens, each)
        while left:
            finished: set[int] = set()
            try:
                for ended, seconds, known in self._in_flight(head, left, at_once):
                    yield self._drawn(head, left, ended, seconds, known)
                    finished.update(end.row for end in ended)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            left = [row for i, row in enumerate(left) if i not in finished]
            if left:
                at_once = self._drawing.halved(min(at_once, len(left) + len(finished)), each)

    def _in_flight(
        self, head: Ids, rows: Sequence[Row], at_once: int
    ) -> Iterator[tuple[list[Ended], float, bool]]:
        """Rows that ended, gathered for a moment since each yield becomes a journal segment; the
        seconds since the last ones, and whether the head was known before."""
        began = time.perf_counter()
        past, known = self._head(head)
        draws = [
            Draw(int(row.call_id, 16), s.temperature, s.top_p, s.max_new_tokens)
            for row in rows
            for s in [_sampling(row)]
        ]
        texts = [row.suffix for row in rows]
        gathered: list[Ended] = []
        for ended in continue_rows(self.loaded, past, texts, len(head), draws, at_once=at_once):
            gathered += ended
            seconds = time.perf_counter() - began
            if seconds >= GATHER_SECONDS:
                yield gathered, seconds, known
                gathered, began, known = [], time.perf_counter(), True
        if gathered:
            yield gathered, time.perf_counter() - began, known

    def _drawn(
        self, head: Ids, rows: Sequence[Row], ended: list[Ended], seconds: float, known: bool
    ) -> list[Completion]:
        decode = self.loaded.tokenizer.batch_decode
        texts = decode([end.ids for end in ended], skip_special_tokens=True)
        return [
            Completion(
                call_id=rows[end.row].call_id,
                text=text.strip(),
                finish_reason="stop" if end.by_itself else "length",
                prompt_tokens=len(head) + rows[end.row].size,
                cached_tokens=len(head) if known or i else 0,
                completion_tokens=len(end.ids),
                seconds=seconds / len(ended),
            )
            for i, (end, text) in enumerate(zip(ended, texts, strict=True))
        ]


def _windows(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    for start in range(0, len(requests), AT_ONCE):
        yield requests[start : start + AT_ONCE]


def _sampling(row: Row) -> Sampling:
    if row.request.sampling is None:
        raise EngineError("generate needs a request with sampling", where=row.request.item)
    return row.request.sampling


def _chosen(row: Row, head: Ids, logprobs: list[float], cached: int, seconds: float) -> Completion:
    return Completion(
        call_id=row.call_id,
        option_logprobs=tuple(logprobs),
        finish_reason="choice",
        prompt_tokens=len(head) + row.size,
        cached_tokens=cached,
        seconds=seconds,
    )
