"""From the log-probabilities along one greedy answer to the probabilities of whole options.

Knows nothing about endpoints, JSON or retries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST = 1e-30  # stands for a probability of which nothing is known but that it is negligible


@dataclass(frozen=True, slots=True)
class Place:
    """A token of the answer; ``listed``: the likeliest at its place, text and natural log-prob."""

    token: str
    logprob: float
    listed: tuple[tuple[str, float], ...]


def fold(text: str) -> str:
    """Text without leading white space, in lower case: spellings of one option are added up."""
    return text.lstrip().lower()


def tokens_needed(options: Sequence[str]) -> int:
    """How many tokens an answer may need to name any option: a token a byte, one for a space."""
    return max(len(option.encode()) for option in options) + 1


def score_path(options: Sequence[str], places: Sequence[Place]) -> tuple[float, ...] | None:
    """Natural-log probabilities of the options in their order, or None: the path cannot tell.

    At each place of the greedy path every listed token is a branch of known probability: that of
    the path so far times its own. A branch

    - that spells an option, or that one option alone can complete, counts as this option;
    - that several options can complete is shared evenly among them: their sum is exact (an upper
      bound if the model may leave the options later), the split is not;
    - that no option begins with is lost.

    An option that no branch leads to gets a bound: half of the least token listed where it parts
    from the path, and no more than an even share of what is not listed there. A branch goes to one
    place only, so the options' probabilities never sum above 1.

    If an option written in one way has a probability above 0.5, it lies on the greedy path: its
    probability is the product of its tokens', each given those before, so none of them is smaller
    than the product; a token above 0.5 is the likeliest at its place, and the path takes it. On the
    path nothing is shared, so this option is exact, and whatever is shared is at most 0.5. With a
    label threshold of 0.5 or more the decision is therefore exact, apart from tokens not listed.

    Two things lie outside of that: a model whose likeliest answer is no option at all, so that the
    options' sum T is small and p / T is what counts, and one that spells an option in several ways
    (``S`` ``0`` and ``S0``). So None is returned wherever another split, or what is not listed,
    could move an option across half of T: a label at 0.5 of p / T never hangs on a split.
    """
    names = [fold(option) for option in options]
    sure, shared, at_most, bound = ([0.0] * len(names) for _ in range(4))

    def give(heirs: Sequence[int], mass: float) -> None:
        if len(heirs) == 1:
            sure[heirs[0]] += mass
            return
        for heir in heirs:
            shared[heir] += mass / len(heirs)
            at_most[heir] += mass

    text, mass = "", 1.0
    heirs = list(range(len(names)))
    for place in places:
        found: set[int] = set()
        branches = _branches(place)
        for token, probability in branches:
            branch = _heirs(names, text, token)
            give(branch, mass * probability)
            found.update(branch)
        own = math.exp(min(place.logprob, 0.0))
        before, text = text, text + place.token
        on_path = _heirs(names, before, place.token) if fold(text) or not place.token else heirs
        missing = [i for i in heirs if i not in found and i not in on_path]
        rest = max(0.0, 1.0 - own - math.fsum(p for _, p in branches))
        least = min([own, *(p for _, p in branches)])
        for i in missing:
            bound[i] = mass * min(least / 2, rest / len(missing))
            at_most[i] += mass * min(least, rest)
        heirs, mass = on_path, mass * own
        if not heirs or (len(heirs) == 1 and fold(text).startswith(names[heirs[0]])):
            break
    if fold(text):
        give(heirs, mass)
    if not any(sure) and not any(shared):
        return None
    scores = [max(a + b or c, LEAST) for a, b, c in zip(sure, shared, bound, strict=True)]
    total = math.fsum(scores)
    if any(low <= total / 2 < low + more for low, more in zip(sure, at_most, strict=True)):
        return None
    return tuple(math.log(score / max(total, 1.0)) for score in scores)  # rounding may pass 1


def _branches(place: Place) -> list[tuple[str, float]]:
    """The listed tokens but for one entry, the path's own, with their probabilities."""
    listed = [(token, math.exp(min(logprob, 0.0))) for token, logprob in place.listed]
    own = next((i for i, (token, _) in enumerate(listed) if token == place.token), None)
    return [entry for i, entry in enumerate(listed) if i != own]


def _heirs(names: Sequence[str], before: str, token: str) -> list[int]:
    """The options that an answer may still be, or is, once ``token`` follows ``before``.

    A token without text ends the answer. Of complete options the longest counts, and only where no
    letter or digit follows it.
    """
    text = fold(before + token)
    if not text:
        return []
    complete = [
        i
        for i, name in enumerate(names)
        if text == name or (text.startswith(name) and not text[len(name)].isalnum())
    ]
    heirs = [max(complete, key=lambda i: len(names[i]))] if complete else []
    if token:
        heirs += [i for i, name in enumerate(names) if name != text and name.startswith(text)]
    return heirs
