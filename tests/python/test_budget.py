"""Prices by hand, and runs that stop at a budget, lose nothing and go on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from misalign_profile.budget import PORTION, Budget, Ledger, Price, Prices
from misalign_profile.errors import BudgetSpent, ConfigError
from misalign_profile.inference import Inference
from misalign_profile.journal import Journal
from misalign_profile.questions import semantic_type
from misalign_profile.types import Completion, ModelSpec, Request
from stub_engine import SPEC, Stub, answer, choice, request

SCRIPTED = ModelSpec("s", "scripted:default", "scripted", prompt_style="compact")
TYPES = [{"semantic_type": t, "definition": "."} for t in ("object", "attribute", "relation")]


def price(source: str = SPEC.source, engine: str = SPEC.engine, **figures: Any) -> dict[str, Any]:
    """A row of the seed."""
    tokens = {
        f"usd_per_million_{kind}_tokens": figures.get(kind)
        for kind in ("prompt", "cached", "completion")
    }
    rest = {"effective_from": figures.get("since"), "usd_per_machine_hour": figures.get("hour")}
    return {"source": source, "engine": engine, **tokens, **rest}


def questions(count: int) -> list[Request]:
    """So many scripted questions of some 40 tokens each."""
    prompts = [{"prompt_id": f"{n}", "prompt": f"Prompt number {n}"} for n in range(count)]
    return semantic_type(SCRIPTED, prompts, TYPES)


def ask(
    folder: Path,
    asked: Sequence[Request],
    budget: Budget,
    ledger: Ledger | None = None,
    **more: Any,
) -> list[Completion]:
    with Inference(Journal(folder), budget=budget, ledger=ledger or Ledger(), **more) as inference:
        return inference.ask(asked, label="test")


def recorded(folder: Path) -> int:
    calls, problems = Journal(folder).verify()
    assert problems == []
    return calls


# Prices


@pytest.mark.parametrize(
    ("figures", "seconds", "usd"),
    [  # 1 M prompt tokens, 0.4 M of them cached, 0.1 M written; as in the unit test of fct_calls
        ({"prompt": 2, "cached": 1, "completion": 10}, 2, 0.6 * 2 + 0.4 * 1 + 0.1 * 10),
        ({"prompt": 4, "completion": 10}, 2, 1 * 4 + 0.1 * 10),
        ({"hour": 3}, 1800, 1.5),
        ({"prompt": 4, "completion": 0, "hour": 3}, 3600, 7),
        ({"hour": 0}, 1800, 0),
    ],
)
def test_what_calls_cost(figures: dict[str, float], seconds: float, usd: float) -> None:
    known = Prices([price(**figures)]).of(SPEC)
    assert known is not None
    assert known.usd(1_000_000, 400_000, 100_000, seconds) == pytest.approx(usd)


@pytest.mark.parametrize(
    ("day", "prompt"),
    [((2025, 12, 31), 1), ((2026, 1, 1), 2), ((2026, 1, 31), 2), ((2026, 2, 1), 3)],
)
def test_the_latest_price_that_has_begun_is_in_force(
    day: tuple[int, int, int], prompt: int
) -> None:
    rows = [
        price(prompt=3, since=date(2026, 2, 1)),
        price(prompt=1),
        price(prompt=2, since=date(2026, 1, 1)),
    ]
    assert Prices(rows).of(SPEC, date(*day)) == Price(prompt=prompt)


@pytest.mark.parametrize("other", [{"source": "other"}, {"engine": "served"}])
def test_a_price_holds_for_its_source_and_engine(other: dict[str, str]) -> None:
    assert Prices([price(prompt=1)]).of(replace(SPEC, **other)) is None
    assert Prices([price(since=date(9999, 1, 1), prompt=1)]).of(SPEC) is None


def test_models_without_a_price_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no price is known for a, b \[seeds/prices.csv\]"):
        Prices([price(prompt=1)]).require(
            [replace(SPEC, model="b", source="x"), SPEC, replace(SPEC, model="a", source="y")]
        )


# Budgets


@pytest.mark.parametrize("limit", [1, 100, 256, 300])
def test_calls_are_counted_exactly_and_the_rest_is_asked_later(tmp_path: Path, limit: int) -> None:
    asked = questions(400)
    with pytest.raises(BudgetSpent) as error:
        ask(tmp_path, asked, Budget(calls=limit))
    assert recorded(tmp_path) == limit
    line = str(error.value)
    assert f"{limit} of {limit} calls spent, {400 - limit} calls of this stage are left" in line
    assert "run again, with a larger budget_calls" in line
    assert error.value.exit_code == 2
    ledger = Ledger()
    assert len(ask(tmp_path, asked, Budget(calls=400), ledger)) == 400
    assert ledger.spent.calls == 400 - limit


@pytest.mark.parametrize(
    ("budget", "spent"),
    [(Budget(tokens=5000), "tokens"), (Budget(usd=0.005), "usd")],
    ids=["tokens", "usd"],
)
def test_tokens_and_usd_come_close_to_the_limit_from_below(
    tmp_path: Path, budget: Budget, spent: str
) -> None:
    prices = Prices([price(SCRIPTED.source, "scripted", prompt=1, completion=1)])
    ledger = Ledger()
    with pytest.raises(BudgetSpent, match=f"larger budget_{spent}"):
        ask(tmp_path, questions(1000), budget, ledger, prices=prices)
    limit = getattr(budget, spent)
    assert 0.95 * limit <= getattr(ledger.spent, spent) <= limit
    assert recorded(tmp_path) == ledger.spent.calls


def test_a_budget_that_no_call_fits_into_opens_no_engine(tmp_path: Path) -> None:
    stub = Stub()
    with pytest.raises(BudgetSpent):
        ask(tmp_path, [request()], Budget(tokens=100), opener=stub)  # it may write 512 alone
    assert stub.opened == []


def test_what_the_journal_holds_costs_nothing(tmp_path: Path) -> None:
    asked = questions(50)
    ask(tmp_path, asked, Budget())
    ledger = Ledger()
    ledger.spent.calls = 10
    assert len(ask(tmp_path, asked, Budget(calls=10), ledger)) == 50


def test_calls_that_turn_out_dearer_stop_within_a_batch_and_are_kept(tmp_path: Path) -> None:
    def reply(question: Request) -> Completion:
        late = int(question.item.removeprefix("item")) >= PORTION
        return replace(answer(question), prompt_tokens=1000 if late else 10)

    stub = Stub(reply, size=4)
    asked = [choice(n) for n in range(100)]
    with pytest.raises(BudgetSpent, match=r"of 3,000 tokens spent, 80 calls"):
        ask(tmp_path, asked, Budget(tokens=3000), opener=stub)
    assert recorded(tmp_path) == len(stub.asked) == PORTION + 4


def test_stages_and_threads_of_a_run_share_one_budget(tmp_path: Path) -> None:
    ledger, errors = Ledger(), []

    def stage(number: int) -> None:
        try:
            ask(tmp_path, questions(300)[number * 100 :][:100], Budget(calls=150), ledger)
        except BudgetSpent as error:
            errors.append(error)

    threads = [threading.Thread(target=stage, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.spent.calls == recorded(tmp_path) == 150
    assert len(errors) == 2


def test_no_limit_asks_everything_at_once(tmp_path: Path) -> None:
    stub = Stub(size=1000)
    ask(tmp_path, [request(n) for n in range(100)], Budget(), opener=stub)
    assert [len(batch) for batch in stub.batches] == [100]
