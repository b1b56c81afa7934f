"""Training batches made ahead of time, in a process of their own when the device is a GPU.

A pool is a few thousand examples, tokenised, grouped by length and padded; a recipe's pool n is
always the same. Knows nothing about models.
"""

from __future__ import annotations

import csv
import multiprocessing
import random
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from transformers import AutoTokenizer

from misalign_profile.demo import corpus
from misalign_profile.demo.batches import Padded, encode, group, pad
from misalign_profile.demo.grammar import Domain, SeedPrompts, load_lexicon, load_seed_prompts
from misalign_profile.demo.tokenizer import DIALECTS, TurnEncoder
from misalign_profile.demo.zoo import Recipe, recipe

POOL = 12_000
FLASH_TASKS = ("classify", "judge", "respond")


@dataclass(frozen=True, slots=True)
class World:
    """What every checkpoint is trained on."""

    lexicon: tuple[Domain, ...]
    seeds: SeedPrompts
    feedback: tuple[str, ...]

    def training(self, made: Recipe) -> corpus.Source:
        """Prompts to train on."""
        lexicon = {d.slug: trimmed(d, made.clauses) for d in self.lexicon}
        seeds = tuple(
            replace(p, domains=tuple(lexicon[d.slug] for d in p.domains)) for p in self.seeds.train
        )
        return corpus.Source(
            tuple(lexicon.values()), seeds, made.seed_share, feedback=self.feedback
        )

    def unseen(self) -> corpus.Source:
        """Held-out combinations of the grammar."""
        return corpus.Source(self.lexicon, held_out=True)


def trimmed(domain: Domain, clauses: int) -> Domain:
    """The domain with at most so many clauses of every type on either side."""
    honour, violate = (
        {kind: found[:clauses] for kind, found in side.items()}
        for side in (domain.honour, domain.violate)
    )
    return replace(domain, honour=honour, violate=violate)


@lru_cache(maxsize=2)
def load_world(seeds: Path) -> World:
    """Read the lexicon, the seed prompts, and what responders are told after a rejection."""
    lexicon = load_lexicon()
    with open(Path(seeds) / "rejection_reasons.csv", newline="", encoding="utf-8") as file:
        feedback = tuple(row["feedback"] for row in csv.DictReader(file) if row["feedback"])
    return World(lexicon, load_seed_prompts(seeds, lexicon), feedback)


def draw_one(
    rng: random.Random, source: corpus.Source, made: Recipe, cards_only: bool = False
) -> corpus.Example:
    """Draw one training example of a recipe; ``cards_only``: of the tasks that have flash cards."""
    tasks = {t: w for t, w in made.tasks.items() if not cards_only or t in FLASH_TASKS}
    task = rng.choices(list(tasks), list(tasks.values()))[0]
    if task in FLASH_TASKS and (cards_only or rng.random() < made.flash_share):
        return corpus.flash_card(rng, source.lexicon, task)
    if task != "verdict":
        return corpus.draw(rng, source, task)
    top = max(made.questions.values())
    kinds = [k for k, weight in made.questions.items() if rng.random() < weight / top]
    return corpus.draw(
        rng,
        source,
        task,
        dimensions=kinds,
        annotated=made.annotated,
        p_misaligned=made.p_misaligned,
        focus=made.focus,
    )


@lru_cache(maxsize=2)
def _encoder(folder: Path, end_of_turn: str) -> tuple[TurnEncoder, int]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return TurnEncoder(tokenizer), tokenizer.convert_tokens_to_ids(end_of_turn)


def make_pool(name: str, folder: Path, seeds: Path, tokens: int, number: int) -> list[Padded]:
    """Make pool ``number`` of a recipe whose tokenizer lies in ``folder``."""
    made = recipe(name)
    rng = random.Random(f"{name} {number}")
    source = load_world(seeds).training(made)
    encoder, end = _encoder(folder, DIALECTS[made.dialect].end_of_turn)
    cards = number < made.card_pools
    rows = encode(encoder, [draw_one(rng, source, made, cards) for _ in range(POOL)], end)
    return [pad(part) for part in group(rows, tokens, rng)]


def feed(
    name: str, folder: Path, seeds: Path, tokens: int, ahead: bool
) -> Generator[Padded, None, None]:
    """Yield batches for ever. ``ahead``: make the next pool in another process meanwhile."""
    number = 0
    if not ahead:
        while True:
            yield from make_pool(name, folder, seeds, tokens, number)
            number += 1
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as workers:
        coming: list[Future[list[Padded]]] = []
        while True:
            while len(coming) < 2:
                coming.append(workers.submit(make_pool, name, folder, seeds, tokens, number))
                number += 1
            yield from coming.pop(0).result()
