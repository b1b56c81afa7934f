"""``misalign plan``: what a run would ask, before it asks; and nothing is touched."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from conftest import Project, copy_project
from misalign_profile import plan
from misalign_profile.budget import Price, Prices
from misalign_profile.forecast import AT_MOST, ESTIMATE, EXACT, Line
from misalign_profile.measured import Took
from misalign_profile.survey import Seen
from stub_engine import SPEC

PARTS = ["classify prompts", "semantic type", "expand", "classify expansions", "responses"]
PARTS += ["judge", "second judge"]
LAST = [
    *["verdicts"] * 3,
    *["answers"] * 2,
    "judge answers",
    "calibration",
]  # one of the three is the judge
SETTINGS = {"max_new_tokens": 96, "budget_calls": 0, "budget_tokens": 0, "budget_usd": 0}


def rows(text: str) -> list[list[str]]:
    """Cells of the table's rows, the head first and the sum last."""
    table = [line for line in text.splitlines() if line.count("  ") > 5]
    return [re.split(r"  +", line) for line in table]


def untouched(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file and folder."""
    paths = [root, *root.rglob("*")]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in paths}


@pytest.mark.end_to_end
def test_after_a_whole_run_nothing_is_left_to_ask(scripted_project: Project) -> None:
    before = untouched(scripted_project.root)
    done = scripted_project.misalign("plan", "--target", "scripted")
    assert done.returncode == 0, done.stderr
    head, *lines, total = rows(done.stdout)
    assert head[:6] == ["what", "model", "counted", "calls", "in journal", "to ask"]
    assert [line[0] for line in lines] == [*PARTS, *LAST]
    assert {(line[2], line[5], line[-2]) for line in lines} == {(EXACT, "0", "0.00")}
    assert all(line[3] == line[4] != "0" for line in lines)
    assert total[0] == "together"
    assert total[-5:] == ["0", "0", "0", "0.00", "0 s"]
    assert untouched(scripted_project.root) == before


@pytest.mark.end_to_end
def test_without_warehouse_journal_and_endpoint(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    before = untouched(tmp_path)
    done = project.misalign("plan", "--target", "served", "--vars", "{budget_calls: 7}")
    assert done.returncode == 0, done.stderr
    _, classify, types, *rest, _ = rows(done.stdout)
    assert classify[2:6] == [EXACT, "3,045", "0", "3,045"]  # 1,015 prompts in three dimensions
    assert types[2:6] == [EXACT, "1,015", "0", "1,015"]
    *rest, gold = rest
    assert gold[0] == "calibration"
    assert gold[2:6] == [EXACT, "132", "0", "132"]
    assert {line[2] for line in rest} == {AT_MOST}
    assert {tuple(line[-2:]) for line in rest} == {(plan.NO_PRICE, plan.NO_SPEED)}
    assert "budget_calls is 7" in done.stdout
    assert untouched(tmp_path) == before
    wrong = project.misalign("plan", "--target", "served", "--prompts", "none.csv")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert "no such file" in wrong.stderr


@pytest.mark.end_to_end
def test_more_prompts_cost_what_they_add(scripted_project: Project, tmp_path: Path) -> None:
    copy = Project(Path(shutil.copytree(scripted_project.root, tmp_path / "more")))
    (copy.root / "warehouse" / "scripted.duckdb").unlink()  # the journal alone is enough
    source = tmp_path / "mine.txt"
    source.write_text("".join(f"May I tell my sister {n} things about art?\n" for n in range(9)))
    done = copy.misalign("plan", "--target", "scripted", "--prompts", str(source))
    assert done.returncode == 0, done.stderr
    _, classify, types, *rest, _ = rows(done.stdout)
    assert (classify[2], classify[5]) == (EXACT, "27")
    assert (types[2], types[5]) == (EXACT, "9")
    *rest, gold = rest
    assert (gold[2], gold[5]) == (EXACT, "0")
    assert {line[2] for line in rest} == {ESTIMATE}
    by_part = {line[0]: int(line[5].replace(",", "")) for line in rest}
    assert by_part["responses"] == pytest.approx(9 * 6, abs=3)  # about 6 draws a prompt
    assert by_part["verdicts"] == pytest.approx(9 * 6.6, abs=5)


# Tokens, cost and time


class Seeds:
    """Prices, and a typical question of 400 characters."""

    def __init__(self, price: Price | None = None) -> None:
        self.prices = Prices()
        self.prices.of = lambda model: price  # type: ignore[method-assign,assignment]

    def typical(self, line: Line, settings: object) -> int:
        return 400


class Said:
    """A journal's means."""

    def __init__(self, took: Took | None) -> None:
        self.of = lambda model, stage: took


def need(part: str, seen: Seen, took: Took | None, price: Price | None, calls: int) -> plan.Need:
    line = Line(part, SPEC, calls, 0, EXACT, seen)
    return plan._need(line, Said(took), Seeds(price), SETTINGS)  # type: ignore[arg-type]


TOOK = Took(100, 60, 20, 0.5, 0.25)


@pytest.mark.parametrize(
    ("part", "seen", "took", "prompt", "written", "seconds"),
    [
        ("judge", Seen(8, 8, 8 * 300), TOOK, 8 * 150, 8 * 20, 2.0),  # by the texts themselves
        ("judge", Seen(), TOOK, 8 * 100, 8 * 20, 2.0),  # by like calls
        ("judge", Seen(), None, 8 * 100, 0, None),  # a typical question, 4 characters a token
        ("second judge", Seen(), None, 8 * 100, 0, None),
        ("responses", Seen(), None, 8 * 100, 8 * 96, None),  # an answer of full length
        ("responses", Seen(8, 8, 8 * 80), None, 8 * 20, 8 * 96, None),
    ],
)
def test_tokens_and_time_of_what_is_to_ask(
    part: str, seen: Seen, took: Took | None, prompt: float, written: float, seconds: float | None
) -> None:
    needed = need(part, seen, took, None, 8)
    assert needed.prompt_tokens == pytest.approx(prompt)
    assert needed.completion_tokens == pytest.approx(written)
    assert needed.seconds == seconds
    assert needed.usd is None


@pytest.mark.parametrize(
    ("price", "took", "calls", "usd"),
    [
        (Price(2, 1, 10), TOOK, 1_000_000, 40 * 2 + 60 * 1 + 20 * 10),
        (Price(machine_hour=3.6), TOOK, 1_000_000, 250),
        (Price(machine_hour=3.6), None, 1_000_000, None),  # nobody knows how long it takes
        (Price(machine_hour=0), None, 1_000_000, 0),
        (Price(2, 1, 10), None, 0, 0),
        (None, TOOK, 8, None),
        (None, TOOK, 0, 0),
    ],
)
def test_cost_of_what_is_to_ask(
    price: Price | None, took: Took | None, calls: int, usd: float | None
) -> None:
    assert need("judge", Seen(), took, price, calls).usd == usd


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ([1.0, 2.0], "3"),
        ([1.0, None], "1 + ?"),
        ([None, None], "no"),
        ([0.0, None], "no"),
        ([], "0"),
    ],
)
def test_a_sum_says_what_it_lacks(figures: list[float | None], said: str) -> None:
    assert plan._sum(figures, lambda x: f"{x:.0f}", "no") == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h")]
)
def test_durations(seconds: float, said: str) -> None:
    assert plan._duration(seconds) == said
