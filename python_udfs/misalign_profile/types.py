"""The records that travel everywhere: a model, a request to it, its completion.

Knows nothing about dbt, DuckDB, torch, files or templates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

DIMENSIONS: tuple[str, ...] = ("safety", "value", "cultural")
SEMANTIC_TYPES: tuple[str, ...] = ("object", "attribute", "relation")
SIDES: tuple[str, ...] = ("aligned", "misaligned")


def stable_id(*parts: object) -> str:
    """Return 16 hex digits that depend on the parts and nothing else (BLAKE2b-64 of their JSON)."""
    blob = json.dumps(parts, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.blake2b(blob.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def encodable(text: str) -> str:
    """Return the text with surrogate pairs joined and lone surrogates as U+FFFD.

    A served model's JSON may hold either; no file, tokenizer or table takes them.
    """
    if text.isascii():
        return text
    mended = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text if mended == text else mended  # the same object: prefixes are many and long


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row of the ``models`` seed: where a model comes from and how it is asked.

    ``source`` is a folder or a hub id; ``prompt_style`` picks the template set (``full`` for
    instruct models, ``compact`` for the demo checkpoints).
    """

    model: str
    source: str
    engine: str = "transformers"
    revision: str = ""
    dtype: str = "auto"
    category: str = ""
    prompt_style: str = "full"

    def identity(self) -> tuple[str, ...]:
        """Everything about the model that can change an answer."""
        return (self.source, self.revision, self.engine, self.dtype, self.prompt_style)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How text is drawn. Temperature 0 means the most likely token."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_new_tokens: int = 512
    seed: int = 42


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one model.

    The text asked is ``prefix + body + tail`` as a single user turn. Requests that share
    ``(model, prefix)`` share its computation; those that share ``(model, prefix, body)`` share that too.
    ``options`` present: *choose* (log-probabilities over the options as continuations of the turn).
    ``sampling`` present: *generate*. Exactly one of the two is set.
    ``sample_index`` numbers draws; of a *choose*, times that it was asked: 0 is the first.
    ``option_order`` says in which of a question's listing orders its text names the options, 0 as
    written. ``options`` keeps one order whatever the text says, so answers compare; texts differ, so
    keys do.
    """

    model: ModelSpec
    stage: str
    template: str
    template_hash: str
    item: str
    prefix: str
    body: str
    tail: str
    options: tuple[str, ...] = ()
    sampling: Sampling | None = None
    sample_index: int = 0
    option_order: int = 0

    def __post_init__(self) -> None:
        for name in ("item", "prefix", "body", "tail"):
            object.__setattr__(self, name, encodable(getattr(self, name)))

    @property
    def verb(self) -> Literal["choose", "generate"]:
        return "choose" if self.options else "generate"

    @property
    def call_id(self) -> str:
        """Hash of everything that can change the answer, and of nothing that cannot."""
        draw: tuple[object, ...] | None = None
        if self.sampling is not None:
            s = self.sampling
            draw = (s.temperature, s.top_p, s.max_new_tokens, s.seed, self.item, self.sample_index)
        elif self.sample_index:
            draw = ("asked again", self.sample_index)
        return stable_id(
            self.model.identity(),
            self.template,
            self.template_hash,
            self.prefix,
            self.body,
            self.tail,
            self.options,
            draw,
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer to the request with the same ``call_id``.

    ``option_logprobs``: natural-log probabilities of the options as full continuations, in the
    request's option order, *not* renormalised over the options (shape: number of options; empty for
    generate). ``finish_reason``: ``choice``, ``constrained`` (a served model's hard choice, no
    probability), ``stop`` or ``length``. ``cached_tokens`` of ``prompt_tokens`` were not computed
    again. ``seconds`` is the request's share of its batch.
    ``failures``: what the tries before this answer ended in, in order, a short kind each, such as
    ``("429", "truncated")``; ``retries`` is their number where an engine fills it.
    """

    call_id: str
    text: str = ""
    option_logprobs: tuple[float, ...] = ()
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    retries: int = 0
    failures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", encodable(self.text))


class Engine(Protocol):
    """Two verbs. Each yields lists of completions, a batch at a time, in any order.

    Every request of the call gets exactly one completion or the call raises an ``EngineError``.
    """

    def choose(self, requests: Sequence[Request]) -> Iterator[list[Completion]]: ...

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]: ...

    def close(self) -> None: ...
