"""The demo grammar: prompts, and responses whose every violation is known.

A prompt is a frame (which carries the semantic type) over one to three topics of domains of
different dimensions; a response is a stem plus one authored clause per domain. Draws come from the
``random.Random`` that is given. A tenth of all (frame, topic) and (stem, clause) combinations is
held out: made of words that training shows, in pairs that it never shows.
Knows nothing about templates, tokens or models.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from misalign_profile.demo import frames
from misalign_profile.errors import InputError
from misalign_profile.types import DIMENSIONS, SEMANTIC_TYPES

LEXICON_PATH = Path(__file__).with_name("lexicon.json")
HELD_OUT_SHARE = 0.1
SEED_HELD_OUT_SHARE = 0.2
P_DOMAINS = ((1, 0.35), (2, 0.40), (3, 0.25))
P_VIOLATED = 0.75
WORDS = (20, 60)

Clauses = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain with its topics and, per semantic type, its honouring and violating clauses."""

    slug: str
    dimension: str
    name: str
    code: str
    topics: tuple[str, ...]
    honour: Clauses
    violate: Clauses


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt with the truth about it. ``topics`` is empty for authored seed prompts."""

    text: str
    semantic_type: str
    domains: tuple[Domain, ...]
    topics: tuple[str, ...] = ()

    def label(self, dimension: str) -> Domain | None:
        """Return the prompt's domain in the dimension, or None."""
        return next((d for d in self.domains if d.dimension == dimension), None)


@dataclass(frozen=True, slots=True)
class Said:
    """One clause of a response: whose it is and which side it takes."""

    domain: Domain
    violates: bool
    clause: str


@dataclass(frozen=True, slots=True)
class Response:
    """A response and the clauses that are still readable in it."""

    text: str
    said: tuple[Said, ...]

    def violates(self, domain: Domain) -> bool:
        """Whether a violating clause of this domain is in the response."""
        return any(s.violates and s.domain.slug == domain.slug for s in self.said)

    def misaligned(self, dimension: str) -> bool:
        """Whether any violating clause of the dimension (or of any, for ``overall``) is in it."""
        return any(s.violates and dimension in ("overall", s.domain.dimension) for s in self.said)


def hashed_share(*parts: str) -> float:
    """Return a number in [0, 1) that depends on the parts only."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def is_held_out(frame: str, word: str) -> bool:
    """Whether the pair of a frame (or stem) and a topic (or clause) is kept from training."""
    return hashed_share("held-out", frame, word) < HELD_OUT_SHARE


@lru_cache(maxsize=4)
def load_lexicon(path: Path = LEXICON_PATH) -> tuple[Domain, ...]:
    """Read the lexicon. Raises ``InputError`` when a domain lacks topics or clauses."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the lexicon: {error}", where=str(path)) from None
    domains = []
    for slug, row in rows.items():
        sides: list[Clauses] = []
        for side in ("honour_clauses", "violate_clauses"):
            clauses = {kind: tuple(row[side].get(kind, ())) for kind in SEMANTIC_TYPES}
            if not all(clauses.values()):
                raise InputError(f"{slug} lacks {side} of some type", where=str(path))
            sides.append(clauses)
        if row["dimension"] not in DIMENSIONS or not row["topics"]:
            raise InputError(f"{slug} has no topics or an odd dimension", where=str(path))
        domains.append(
            Domain(slug, row["dimension"], row["name"], row["code"], tuple(row["topics"]), *sides)
        )
    return tuple(domains)


def by_dimension(domains: Iterable[Domain]) -> dict[str, tuple[Domain, ...]]:
    """Group domains by dimension, in the order of ``DIMENSIONS``."""
    rows = tuple(domains)
    return {d: tuple(x for x in rows if x.dimension == d) for d in DIMENSIONS}


@dataclass(frozen=True, slots=True)
class SeedPrompts:
    """The authored seed prompts, split: ``test`` is a fifth of every domain's, never trained on."""

    train: tuple[Prompt, ...]
    test: tuple[Prompt, ...]


def load_seed_prompts(folder: Path, lexicon: Sequence[Domain]) -> SeedPrompts:
    """Read ``prompts.csv`` and ``prompt_labels.csv``. Raises ``InputError`` when one is missing."""
    known = {d.slug: d for d in lexicon}

    def rows(name: str) -> list[dict[str, str]]:
        try:
            with open(Path(folder) / name, newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        except OSError as error:
            raise InputError(f"cannot read seed prompts: {error}", where=str(folder)) from None

    labels: dict[str, list[Domain]] = {}
    for row in rows("prompt_labels.csv"):
        labels.setdefault(row["prompt_id"], []).append(known[row["domain"]])
    homes: dict[str, list[tuple[str, Prompt]]] = {}
    for row in rows("prompts.csv"):
        found = sorted(labels[row["prompt_id"]], key=lambda d: DIMENSIONS.index(d.dimension))
        prompt = Prompt(" ".join(row["prompt"].split()), row["semantic_type"], tuple(found))
        homes.setdefault(row["home_domain"], []).append((row["prompt_id"], prompt))
    train: list[Prompt] = []
    test: list[Prompt] = []
    for members in homes.values():
        members.sort(key=lambda pair: hashed_share("seed", pair[0]))
        cut = round(len(members) * SEED_HELD_OUT_SHARE)
        test += [p for _, p in members[:cut]]
        train += [p for _, p in members[cut:]]
    return SeedPrompts(tuple(train), tuple(test))


def choose_domains(rng: random.Random, groups: dict[str, tuple[Domain, ...]]) -> tuple[Domain, ...]:
    """Draw one to three domains of different dimensions."""
    wanted = rng.choices([n for n, _ in P_DOMAINS], [p for _, p in P_DOMAINS])[0]
    picked = sorted(rng.sample(DIMENSIONS, wanted), key=DIMENSIONS.index)
    return tuple(rng.choice(groups[d]) for d in picked)


def _fill(rng: random.Random, frame: str, topic: str = "") -> str:
    return frame.format(
        t=topic,
        who=rng.choice(frames.WHO),
        where=rng.choice(frames.WHERE),
        when=rng.choice(frames.WHEN),
    )


def _joined(rng: random.Random, topics: Sequence[str]) -> str:
    if len(topics) == 1:
        return topics[0]
    link = rng.choice((" and ", " and also ", " together with ", " as well as "))
    return ", ".join(topics[:-1]) + link + topics[-1]


def _pick(
    rng: random.Random, frame: str, words: Sequence[str], held_out: bool | None
) -> str | None:
    fitting = [w for w in words if held_out is None or is_held_out(frame, w) == held_out]
    return rng.choice(fitting) if fitting else None


def make_prompt(
    rng: random.Random,
    groups: dict[str, tuple[Domain, ...]],
    *,
    held_out: bool | None = False,
    domains: tuple[Domain, ...] = (),
    semantic_type: str = "",
) -> Prompt:
    """Draw a prompt of unseen combinations only (``held_out``), of seen ones, or any (None)."""
    while True:
        chosen = domains or choose_domains(rng, groups)
        kind = semantic_type or rng.choice(SEMANTIC_TYPES)
        frame = rng.choice(frames.PROMPT_FRAMES[kind])
        topics = [_pick(rng, frame, d.topics, held_out) for d in chosen]
        if all(topics):
            break
    found = tuple(str(t) for t in topics)
    order = list(found)
    rng.shuffle(order)
    inside = rng.randint(1, len(order))
    parts = [_fill(rng, frame, _joined(rng, order[:inside]))]
    parts += [_fill(rng, rng.choice(frames.EXTRAS), t) for t in order[inside:]]
    if rng.random() < 0.35:
        parts.insert(0, _fill(rng, rng.choice(frames.OPENERS)))
    text = " ".join(parts)
    if rng.random() < 0.9:
        text = text[0].upper() + text[1:]
    return Prompt(text, kind, chosen, found)


def plan_sides(rng: random.Random, count: int, side: str) -> list[bool]:
    """Say for each of ``count`` domains whether it is violated: none, or most and at least one."""
    if side == "aligned":
        return [False] * count
    flags = [rng.random() < P_VIOLATED for _ in range(count)]
    if not any(flags):
        flags[rng.randrange(count)] = True
    return flags


def _sentences(rng: random.Random, stem: str, clauses: Sequence[str]) -> str:
    parts = [stem]
    rest = list(clauses)
    if rest:
        first = rng.choice(frames.FIRST_JOINTS) + rest.pop(0)
        if rest and rng.random() < 0.4:
            first += rng.choice(frames.INNER_JOINTS) + rest.pop(0)
        parts.append(first + ".")
    if len(rest) == 2 and rng.random() < 0.5:
        rest = [rest[0] + rng.choice(frames.INNER_JOINTS) + rest[1]]
    parts += [rng.choice(frames.NEXT_JOINTS) + clause + "." for clause in rest]
    text = " ".join(p[0].upper() + p[1:] for p in parts)
    words = len(text.split())
    if words < WORDS[0] or (words < 32 and rng.random() < 0.3):
        text += " " + rng.choice(frames.CLOSERS)
    if len(text.split()) > WORDS[1]:
        text = text[len(stem) + 1 :]
    return text


def make_response(
    rng: random.Random,
    prompt: Prompt,
    side: str,
    *,
    semantic_type: str = "",
    held_out: bool | None = False,
    flags: Sequence[bool] | None = None,
) -> Response:
    """Draw a response on the given side: one clause per domain of the prompt, in random order."""
    kind = semantic_type or prompt.semantic_type
    violated = list(flags) if flags is not None else plan_sides(rng, len(prompt.domains), side)
    for attempt in range(50):
        stem = rng.choice(frames.STEMS if prompt.topics else frames.PLAIN_STEMS)
        said = []
        for domain, bad in zip(prompt.domains, violated, strict=True):
            pool = (domain.violate if bad else domain.honour)[kind]
            clause = _pick(rng, stem, pool, held_out if attempt < 49 else None)
            if clause is not None:
                said.append(Said(domain, bad, clause))
        if len(said) == len(prompt.domains):
            break
    rng.shuffle(said)
    topic = rng.choice(prompt.topics) if prompt.topics else ""
    text = _sentences(rng, stem.format(t=topic), [s.clause for s in said])
    return Response(text, tuple(said))


def cut_short(rng: random.Random, response: Response) -> Response:
    """Break a response off mid-sentence; a clause counts while more than half of it is left."""
    words = response.text.split(" ")
    text = " ".join(words[: rng.randint(len(words) // 2, len(words) - 1)]).rstrip(".")
    left = text.lower()

    def readable(said: Said) -> bool:
        tokens = said.clause.lower().split(" ")
        return " ".join(tokens[: len(tokens) // 2 + 1]) in left

    return Response(text, tuple(s for s in response.said if readable(s)))
