"""The orders in which a question lists its options.

Models favour the option that stands first, so a question may be asked in several orders and its
answers averaged. Knows options as words; knows nothing about templates, models or averages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from math import factorial

from misalign_profile.types import stable_id

Listing = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Orders:
    """How many orders a question is asked in at most, and the seed of those beyond the second."""

    wanted: int = 1
    seed: int = 42

    def of(self, options: Listing) -> tuple[Listing, ...]:
        """Distinct orders of the options: as written, reversed, then by hash; n options have n! at most."""
        return _listings(options, self.wanted, self.seed)

    def number(self, options: int | None = None) -> int:
        """How many orders ``of`` gives for so many options; None: more than enough of them."""
        return self.wanted if options is None else min(self.wanted, factorial(options))


AS_WRITTEN = Orders()


@lru_cache(maxsize=64)
def _listings(options: Listing, wanted: int, seed: int) -> tuple[Listing, ...]:
    found = dict.fromkeys((options, options[::-1]))
    enough = min(wanted, factorial(len(options)))
    for attempt in count(2):
        if len(found) >= enough:
            break
        found[_shuffled(options, seed, attempt)] = None
    return tuple(found)[:enough]


def _shuffled(options: Listing, seed: int, attempt: int) -> Listing:
    return tuple(sorted(options, key=lambda o: stable_id("option order", seed, attempt, o)))
