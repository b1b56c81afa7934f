"""What calls took, by hand: tokens a call, and seconds a call on this kind of machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from misalign_profile import journal as journal_module
from misalign_profile import machine as machine_module
from misalign_profile.journal import Journal
from misalign_profile.machine import machine
from misalign_profile.measured import Measured, Took
from misalign_profile.types import Completion
from stub_engine import SPEC, request

Record = Callable[..., None]
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock(datetime):
    """A clock that a test sets."""

    at = START

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return cls.at


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Record a batch of calls that took these seconds each, so many seconds after the start."""
    monkeypatch.setattr(journal_module, "datetime", Clock)
    numbers = iter(range(1000))

    def batch(at: float, *seconds: float, run: str = "r") -> None:
        Clock.at = START + timedelta(seconds=at)
        questions = [request(next(numbers)) for _ in seconds]
        Journal(tmp_path, run_id=run).append(
            [
                (q, Completion(q.call_id, "text", (), "stop", 10, 4, 3, s))
                for q, s in zip(questions, seconds, strict=True)
            ]
        )

    return batch


def took(folder: Path) -> Took | None:
    return Measured(Journal(folder)).of(SPEC, "stage")


def test_tokens_are_means(tmp_path: Path, record: Record) -> None:
    record(0, 0.0, 0.0)
    assert took(tmp_path) == Took(10, 4, 3, 10 / len("Task.\nPrompt 0\nAnswer:"), None)
    assert Measured(Journal(tmp_path)).of(SPEC, "other") is None


@pytest.mark.parametrize(
    ("batches", "seconds"),
    [
        ([(1, 0.5, 0.5), (2, 0.25, 0.75)], 0.5),  # shares of batches: 2 s for 4 calls
        ([(1, 1.0), (2, 1.0, 1.0, 1.0)], 0.5),  # calls in flight together: 1 s by the clock
        ([(1, 0.5, 0.5), (60, 0.5, 0.5)], 0.5),  # another model's turn between does not count
        ([(1, 4.0)], 4.0),
    ],
)
def test_seconds_a_call(
    tmp_path: Path, record: Record, batches: list[tuple[float, ...]], seconds: float
) -> None:
    for at, *each in batches:
        record(at, *each)
    found = took(tmp_path)
    assert found is not None
    assert found.seconds == pytest.approx(seconds)


def test_runs_are_added_up_and_the_time_between_them_is_not(tmp_path: Path, record: Record) -> None:
    record(1, 1.0, run="one")
    record(5000, 3.0, run="two")
    found = took(tmp_path)
    assert found is not None
    assert found.seconds == pytest.approx(2)


def test_another_machine_says_nothing_of_the_speed_here(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "machine", lambda: "NVIDIA H200")
    record(1, 1.0)
    found = took(tmp_path)
    assert found is not None
    assert found.seconds is None
    assert found.prompt_tokens == 10


@pytest.mark.parametrize(
    ("cpu", "gpus", "name"),
    [
        ("model name\t: Fast  CPU\nmodel name\t: Fast  CPU\n", [], "Fast CPU x2"),
        ("model name : A\n", ["Model: \t NVIDIA B\nIRQ: 1\n"] * 2, "A x2 + NVIDIA B + NVIDIA B"),
    ],
)
def test_a_machine_is_its_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: str, gpus: list[str], name: str
) -> None:
    (tmp_path / "cpuinfo").write_text(cpu)
    for n, text in enumerate(gpus):
        (tmp_path / "gpus" / str(n)).mkdir(parents=True)
        (tmp_path / "gpus" / str(n) / "information").write_text(text)
    monkeypatch.setattr(machine_module, "_CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine_module, "_GPUS", tmp_path / "gpus")
    monkeypatch.setattr(machine_module.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert machine.__wrapped__() == name
