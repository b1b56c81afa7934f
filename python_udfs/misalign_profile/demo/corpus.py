"""Training and held-out examples for every task, asked with the very templates the pipeline uses.

An example is one (prefix, body) with one or more questions about it, each a (tail, answer): the
questions share the body exactly as the engines let requests share it.
Knows nothing about tokens, models or training.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from misalign_profile.demo.grammar import (
    Domain,
    Prompt,
    Response,
    Said,
    by_dimension,
    choose_domains,
    cut_short,
    make_prompt,
    make_response,
)
from misalign_profile.prompts import NONE_CODE, load_template
from misalign_profile.types import DIMENSIONS, SEMANTIC_TYPES

STYLE = "compact"
SLOPPY = 0.15
SLOPPY_MENDED = 0.05
P_MEND = 0.15
OFF_DOMAIN = 0.10


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a body: its tail, the right answer, and its kind in the scores."""

    tail: str
    answer: str
    kind: str


@dataclass(frozen=True, slots=True)
class Example:
    """What a model is shown: ``prefix + body + tail`` for each question, and the answers."""

    task: str
    prefix: str
    body: str
    questions: tuple[Question, ...]


def asked(name: str, kind: str, answer: str, **fields: Any) -> tuple[str, str, Question]:
    """Render one compact template into (prefix, body, question)."""
    prefix, body, tail = load_template(name, STYLE).render(**fields)
    return prefix, body, Question(tail, answer, kind)


def _example(task: str, parts: Sequence[tuple[str, str, Question]]) -> Example:
    shared = {(prefix, body) for prefix, body, _ in parts}
    if len(shared) != 1:
        raise ValueError(f"{task}: the questions do not share one body")
    prefix, body = shared.pop()
    return Example(task, prefix, body, tuple(question for _, _, question in parts))


def fields_of(domains: Sequence[Domain]) -> list[dict[str, str]]:
    """Return what the templates read of a domain."""
    return [{"name": d.name, "code": d.code, "dimension": d.dimension} for d in domains]


@dataclass(frozen=True, slots=True)
class Source:
    """Where prompts come from: the grammar, and a share of seed prompts.

    ``feedback``: what a responder may be told after a rejected draw (seed ``rejection_reasons``).
    """

    lexicon: tuple[Domain, ...]
    seeds: tuple[Prompt, ...] = ()
    seed_share: float = 0.0
    held_out: bool = False
    feedback: tuple[str, ...] = ()

    def prompt(self, rng: random.Random, dimension: str = "") -> Prompt:
        """Draw a prompt; with ``dimension``, one that has a label in it."""
        while True:
            if self.seeds and rng.random() < self.seed_share:
                prompt = rng.choice(self.seeds)
            else:
                groups = by_dimension(self.lexicon)
                prompt = make_prompt(rng, groups, held_out=self.held_out)
            if not dimension or prompt.label(dimension):
                return prompt


def classify_example(prompt: Prompt) -> Example:
    """The three domain questions about a prompt."""
    parts = []
    for dimension in DIMENSIONS:
        label = prompt.label(dimension)
        answer = label.code if label else NONE_CODE
        parts.append(asked("classify", dimension, answer, prompt=prompt.text, dimension=dimension))
    return _example("classify", parts)


def semantic_type_example(prompt: Prompt) -> Example:
    """The question for the semantic type."""
    return _example(
        "semantic_type",
        [asked("semantic_type", "type", prompt.semantic_type, prompt=prompt.text)],
    )


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def rough(rng: random.Random, response: Response) -> Response:
    """Wear a response down as sampling does: a few words dropped, doubled or swapped."""
    words = response.text.split(" ")
    for _ in range(rng.randint(1, 3)):
        i = rng.randrange(len(words))
        action = rng.random()
        if action < 0.4 and len(words) > 8:
            del words[i]
        elif action < 0.7:
            words.insert(i, words[i])
        else:
            words[i] = rng.choice(words)
    return Response(" ".join(words), response.said)


def stray(rng: random.Random, lexicon: Sequence[Domain], response: Response) -> Response:
    """Append a clause of a domain that the prompt has no label in."""
    taken = {s.domain.dimension for s in response.said}
    domain = rng.choice([d for d in lexicon if d.dimension not in taken] or list(lexicon))
    bad = rng.random() < 0.5
    clause = rng.choice((domain.violate if bad else domain.honour)[rng.choice(SEMANTIC_TYPES)])
    text = f"{response.text} {clause[0].upper()}{clause[1:]}."
    return Response(text, (*response.said, Said(domain, bad, clause)))


def read_response(
    rng: random.Random, source: Source, prompt: Prompt, p_misaligned: float = 0.5
) -> Response:
    """Draw a response for somebody to judge: either side, sometimes cut, worn or straying."""
    side = "misaligned" if rng.random() < p_misaligned else "aligned"
    kind = prompt.semantic_type if rng.random() < 0.85 else rng.choice(SEMANTIC_TYPES)
    response = make_response(rng, prompt, side, semantic_type=kind, held_out=source.held_out)
    if source.held_out:
        return response
    chance = rng.random()
    if chance < 0.08:
        return cut_short(rng, response)
    if chance < 0.20:
        return rough(rng, response)
    if chance < 0.25:
        return stray(rng, source.lexicon, response)
    return response


def judge_example(
    rng: random.Random, source: Source, prompt: Prompt, response: Response
) -> Example:
    """The judge's question for every labelled domain, and now and then for another one."""
    domains = list(prompt.domains)
    if not source.held_out and rng.random() < 0.3:
        domains.append(rng.choice(source.lexicon))
    parts = [
        asked(
            "judge",
            domain.dimension,
            _yes(response.violates(domain)),
            prompt=prompt.text,
            response=response.text,
            dimension=domain.dimension,
            domain=fields_of([domain])[0],
        )
        for domain in domains
    ]
    return _example("judge", parts)


def verdict_example(
    prompt: Prompt, response: Response, dimensions: Sequence[str], annotated: Sequence[str]
) -> Example:
    """The verdict questions. Only violations in ``annotated`` dimensions were marked as such."""
    parts = []
    for dimension in dimensions:
        seen = annotated if dimension == "overall" else (dimension,)
        parts.append(
            asked(
                "verdict",
                dimension,
                _yes(any(response.misaligned(d) for d in seen)),
                prompt=prompt.text,
                response=response.text,
                dimension=dimension,
            )
        )
    return _example("verdict", parts)


def expand_example(rng: random.Random, source: Source) -> Example:
    """The question for a new prompt; one in ten answers strays from the domains asked for."""
    prompt = source.prompt(rng)
    domains = prompt.domains
    if rng.random() < OFF_DOMAIN:
        domains = choose_domains(rng, by_dimension(source.lexicon))
    part = asked(
        "expand",
        "text",
        prompt.text,
        domains=fields_of(domains),
        semantic_type=prompt.semantic_type,
    )
    return _example("expand", [part])


def respond_example(rng: random.Random, source: Source) -> Example:
    """The question for a response on one side; some answers take the wrong side or are sloppy."""
    prompt = source.prompt(rng)
    side = rng.choice(("aligned", "misaligned"))
    mended = bool(source.feedback) and rng.random() < P_MEND
    taken = side
    sloppy = rng.random() < (SLOPPY_MENDED if mended else SLOPPY)
    fault = rng.choice(("side", "cut", "stray")) if sloppy else ""
    if fault == "side":
        taken = "misaligned" if side == "aligned" else "aligned"
    response = make_response(rng, prompt, taken, held_out=source.held_out)
    if fault == "cut":
        response = cut_short(rng, response)
    elif fault == "stray":
        response = stray(rng, source.lexicon, response)
    part = asked(
        "respond",
        "text",
        response.text,
        prompt=prompt.text,
        domains=fields_of(prompt.domains),
        semantic_type=prompt.semantic_type,
        side=side,
        feedback=rng.sample(source.feedback, rng.randint(1, 2)) if mended else [],
    )
    return _example("respond", [part])


def flash_card(rng: random.Random, lexicon: Sequence[Domain], task: str) -> Example:
    """A short example for learning words: a bare topic as prompt, one bare clause as response."""
    domain = rng.choice(lexicon)
    topic = rng.choice(domain.topics)
    prompt = Prompt(topic, "", (domain,), (topic,))
    if task == "classify":
        whole = classify_example(prompt)
        kept = [q for q in whole.questions if q.kind == domain.dimension or rng.random() < 0.3]
        return Example(task, whole.prefix, whole.body, tuple(kept))
    bad = rng.random() < 0.5
    kind = rng.choice(SEMANTIC_TYPES)
    clause = rng.choice((domain.violate if bad else domain.honour)[kind])
    if task == "respond":
        part = asked(
            "respond",
            "text",
            f"{clause[0].upper()}{clause[1:]}.",
            prompt=prompt.text,
            domains=fields_of([domain]),
            semantic_type=kind,
            side="misaligned" if bad else "aligned",
            feedback=[],
        )
        return _example("respond", [part])
    response = Response(clause, (Said(domain, bad, clause),))
    if task == "judge":
        return judge_example(rng, Source(tuple(lexicon)), prompt, response)
    raise ValueError(f"no flash cards for {task}")


def draw(
    rng: random.Random,
    source: Source,
    task: str,
    *,
    dimensions: Sequence[str] = ("overall", *DIMENSIONS),
    annotated: Sequence[str] = DIMENSIONS,
    p_misaligned: float = 0.5,
    focus: str = "",
) -> Example:
    """Draw one example of the task. The keyword arguments shape the verdict task only."""
    if task == "expand":
        return expand_example(rng, source)
    if task == "respond":
        return respond_example(rng, source)
    prompt = source.prompt(rng, focus)
    if task == "classify":
        return classify_example(prompt)
    if task == "semantic_type":
        return semantic_type_example(prompt)
    response = read_response(rng, source, prompt, p_misaligned)
    if task == "judge":
        return judge_example(rng, source, prompt, response)
    if task == "verdict":
        return verdict_example(prompt, response, dimensions, annotated)
    raise ValueError(f"no task {task}")
