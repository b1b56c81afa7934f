"""Pulling the plug three times in CI; ``make torture`` does it fifty times with the same code."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import kill  # type: ignore[import-not-found]

SMALL = {"response_prompts_limit": 20, "expansion_target": {"scripted": 1}}
STAGES = ("int_prompts__classified", "int_responses__sampled", "int_responses__verdicts")


@pytest.mark.end_to_end
def test_three_kills_cost_three_batches_and_change_no_table(tmp_path: Path) -> None:
    reference = kill.prepared(tmp_path / "reference", SMALL)
    root = Path(shutil.copytree(reference, tmp_path / "killed"))
    kill.finish(reference, SMALL)
    told = kill.lines(reference / "asked.jsonl")
    aims = [nth_batch(told, stage, 5) for stage in STAGES]
    outcome = kill.torture(reference, root, aims, SMALL)
    assert kill.wrong(outcome) == []
    first, *others = [k.model for k in outcome.kills]
    assert first in ("int_prompts__classified", "int_prompts__typed")  # dbt runs both at a time
    assert others == list(STAGES[1:])
    assert all(0 < len(k.lost) <= kill.SIZE for k in outcome.kills)
    assert outcome.tables > 60
    assert outcome.calls == len(outcome.asked) == len(kill.asked(told))


def nth_batch(told: list[kill.Line], model: str, n: int) -> kill.Aim:
    """The moment at which a model has asked its n-th batch."""
    batches = [x for x in told if x["event"] == "batch"]
    mine = [place for place, x in enumerate(batches) if x["model"] == model]
    return kill.Aim("start", model, len(kill.asked(batches[: mine[n - 1] + 1])))


def test_what_is_wrong_is_said() -> None:
    fallen = kill.Kill("int_prompts__classified", 1.0, frozenset(f"call {n}" for n in range(17)))
    outcome = kill.Outcome((fallen,), Counter({"other": 2}), ("marts.mart_usage",), 2, 1, ("torn",))
    assert kill.wrong(outcome) == [
        "marts.mart_usage differs",
        "after the last run: torn",
        "a kill in int_prompts__classified cost 17 calls",
        "calls were asked again that were not in flight at a kill",
    ]


def test_moments_are_in_the_order_of_the_reference() -> None:
    told = [
        {"at": 10.0, "event": "start", "model": "one"},
        {"at": 11.0, "event": "batch", "model": "one", "calls": ["a", "b"]},
        {"at": 12.0, "event": "batch", "model": "one", "calls": ["b", "c"]},
        {"at": 13.0, "event": "end", "model": "one"},
    ]
    planned = kill.aims(told, 40, seed=1)
    assert {(a.event, a.model, a.calls) for a in planned} == {
        ("start", "one", 0),
        ("start", "one", 2),
        ("start", "one", 3),
    }
    assert all(0 <= a.seconds <= 1 for a in planned)
    assert [a.calls for a in planned] == sorted(a.calls for a in planned)
