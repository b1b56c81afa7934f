"""What calls cost, and when a run has spent enough.

Prices are rows of the seed ``prices``; a price that nobody wrote down is unknown, never 0. A
``Ledger`` adds up what one run asked, over all its stages and threads. Knows nothing about engines,
journals, SQL or dbt.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from misalign_profile.errors import BudgetSpent, ConfigError
from misalign_profile.types import Completion, ModelSpec, Request

PORTION = 16  # calls asked before the cost of one is known
CHARACTERS_PER_TOKEN = 4  # rule of thumb for English, until a model's own answers say better


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million prompt, cached and completion tokens, and per machine hour; None: not charged.

    Cached tokens without a figure of their own are charged as prompt tokens.
    """

    prompt: float | None = None
    cached: float | None = None
    completion: float | None = None
    machine_hour: float | None = None

    def usd(
        self, prompt_tokens: float, cached_tokens: float, completion_tokens: float, seconds: float
    ) -> float:
        """The cost of calls that read, reused and wrote so many tokens in so many seconds."""
        prompt = self.prompt or 0.0
        cached = prompt if self.cached is None else self.cached
        tokens = (prompt_tokens - cached_tokens) * prompt + cached_tokens * cached
        tokens += completion_tokens * (self.completion or 0.0)
        return tokens / 1e6 + seconds / 3600 * (self.machine_hour or 0.0)


class Prices:
    """Prices by (source, engine) and day, from rows of the seed."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._dated: dict[tuple[str, str], list[tuple[date, Price]]] = {}
        for row in rows:
            price = Price(
                row["usd_per_million_prompt_tokens"],
                row["usd_per_million_cached_tokens"],
                row["usd_per_million_completion_tokens"],
                row["usd_per_machine_hour"],
            )
            since = row["effective_from"] or date.min
            self._dated.setdefault((row["source"], row["engine"]), []).append((since, price))

    def of(self, model: ModelSpec, on: date | None = None) -> Price | None:
        """The price in force on a day (UTC, default today), or None when none is known."""
        day = on or datetime.now(UTC).date()
        known = self._dated.get((model.source, model.engine), [])
        in_force = [pair for pair in known if pair[0] <= day]
        return max(in_force, key=lambda pair: pair[0])[1] if in_force else None

    def require(self, models: Iterable[ModelSpec]) -> None:
        """Raise ``ConfigError`` naming the models without a price."""
        lacking = sorted({m.model for m in models if self.of(m) is None})
        if lacking:
            raise ConfigError(
                f"budget_usd is set, but no price is known for {', '.join(lacking)}",
                where="seeds/prices.csv",
                hint="add your price there, or set budget_calls or budget_tokens instead",
            )


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one run may spend; 0 sets no limit. Tokens are read and written ones together."""

    usd: float = 0.0
    calls: int = 0
    tokens: int = 0

    def __bool__(self) -> bool:
        return bool(self.usd or self.calls or self.tokens)


@dataclass(slots=True)
class Spent:
    """Sums over calls that were asked."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0


@dataclass(slots=True)
class Ledger:
    """What one run has asked so far; all its stages and threads share one. ``run_id`` names the run."""

    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    spent: Spent = field(default_factory=Spent)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, batch: Sequence[Completion], price: Price | None, mine: Spent) -> None:
        """Count a batch that was answered, here and in ``mine``."""
        tokens = sum(c.prompt_tokens + c.completion_tokens for c in batch)
        usd = sum(_usd(c, price) for c in batch)
        with self._lock:
            for sums in (self.spent, mine):
                sums.calls += len(batch)
                sums.tokens += tokens
                sums.usd += usd

    def room(
        self, budget: Budget, price: Price | None, mine: Spent, ahead: Sequence[Request]
    ) -> int:
        """How many of the requests ``ahead`` still fit. ``mine``: what such requests took so far.

        Calls are counted exactly. Tokens and USD of a call are taken as the mean of ``mine``; before
        there is one, they are guessed from the text, for ``PORTION`` calls at most, and then for
        four times as many calls as are known.
        """
        with self._lock:
            rooms = [len(ahead)]
            if budget.calls:
                rooms.append(budget.calls - self.spent.calls)
            if (budget.tokens or budget.usd) and ahead:
                tokens, usd = _mean(mine) if mine.calls else _guess(ahead[0], price)
                rooms.append(4 * mine.calls or PORTION)
                if budget.tokens:
                    rooms.append(_fit(budget.tokens - self.spent.tokens, tokens))
                if budget.usd:
                    rooms.append(_fit(budget.usd - self.spent.usd, usd))
            return max(0, min(rooms))

    def is_spent(self, budget: Budget) -> bool:
        """Whether a limit is reached."""
        s = self.spent
        return (
            0 < budget.calls <= s.calls or 0 < budget.tokens <= s.tokens or 0 < budget.usd <= s.usd
        )

    def refusal(self, budget: Budget, stage: str, left: int) -> BudgetSpent:
        """The error that ends a run: what was spent, what the limits are, how to go on."""
        s = self.spent
        limits = {
            "budget_usd": (budget.usd, f"{s.usd:,.4f} of {budget.usd:,.4f} USD"),
            "budget_calls": (budget.calls, f"{s.calls:,} of {budget.calls:,} calls"),
            "budget_tokens": (budget.tokens, f"{s.tokens:,} of {budget.tokens:,} tokens"),
        }
        set_ones = {name: said for name, (limit, said) in limits.items() if limit}
        return BudgetSpent(
            f"the budget of this run does not allow the next call: {', '.join(set_ones.values())} "
            f"spent, {left:,} calls of this stage are left",
            where=stage,
            hint="what was answered is in the journal: run again, with a larger "
            f"{' or '.join(set_ones)} if you like, and only the rest is asked",
        )


def portions(
    ledger: Ledger,
    budget: Budget,
    price: Price | None,
    requests: Sequence[Request],
    *,
    label: str,
) -> Iterator[tuple[Sequence[Request], Spent]]:
    """Cut requests into runs that fit the budget; the caller counts what they took in the ``Spent``.

    Raises ``BudgetSpent`` before the first request that does not fit.
    """
    mine = Spent()
    done = 0
    while done < len(requests):
        ahead = requests[done:] if done else requests
        size = ledger.room(budget, price, mine, ahead)
        if size < 1:
            raise ledger.refusal(budget, label, len(requests) - done)
        yield ahead[:size], mine
        done += size


def _usd(c: Completion, price: Price | None) -> float:
    if price is None:
        return 0.0
    return price.usd(c.prompt_tokens, c.cached_tokens, c.completion_tokens, c.seconds)


def _mean(mine: Spent) -> tuple[float, float]:
    return mine.tokens / mine.calls, mine.usd / mine.calls


def _guess(request: Request, price: Price | None) -> tuple[float, float]:
    """Tokens and USD of a request before anything like it was answered, its time left out."""
    characters = len(request.prefix) + len(request.body) + len(request.tail)
    prompt = characters / CHARACTERS_PER_TOKEN
    completion = request.sampling.max_new_tokens if request.sampling else 1
    return prompt + completion, price.usd(prompt, 0, completion, 0) if price else 0.0


def _fit(left: float, each: float) -> int:
    """How many times ``each`` fits into what is left; what costs nothing fits while something is."""
    if left <= 0:
        return 0
    return int(min(left / each, 1e9)) if each > 0 else 10**9
