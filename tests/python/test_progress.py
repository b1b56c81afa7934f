"""How far a stage is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from misalign_profile.progress import Progress, say


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("CI", raising=False)
    return Terminal()


def advanced(tokens: int = 0, **options: float) -> None:
    with Progress("judge [m]", 1200, **options) as progress:
        progress.begin()
        for _ in range(3):
            progress.advance(400, tokens)


@pytest.mark.parametrize(("every", "lines"), [(1000, 1), (0, 3)])
def test_lines_are_few_and_the_last_one_says_all(
    capsys: pytest.CaptureFixture[str], every: float, lines: int
) -> None:
    advanced(every=every)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert "judge [m]: 1,200/1,200 calls, " in said[-1]
    assert "tokens/s" not in said[-1]
    assert all(" s left" in line for line in said[:-1])


def test_a_line_says_tokens_per_second_where_they_are_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    advanced(tokens=50_000, every=1000)
    assert " tokens/s" in capsys.readouterr().err


def test_a_terminal_gets_one_bar(terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress("judge [m]", 1200) as progress:
        progress.advance(400, 50_000)
        progress.advance(800, 50_000)
    drawn = terminal.getvalue()
    assert drawn.count("\n") == 1  # drawn over itself until it is closed
    last = drawn.rstrip("\n").split("\r")[-1]
    assert "judge [m]: 100%|" in last
    assert "1200/1200 calls [" in last
    assert " tokens/s]" in last


def test_a_line_goes_above_the_bar(terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress("judge [m]", 10) as progress:
        progress.advance(5)
        say("[  1.0 s] next")
    screen = [line.split("\r")[-1] for line in terminal.getvalue().split("\n")]
    assert "[  1.0 s] next" in screen
    assert "5/10 calls" in screen[-2]


def test_ci_gets_lines_even_on_a_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    with redirect_stderr(terminal):
        advanced(every=1000)
    assert "\r" not in terminal.getvalue()
    assert terminal.getvalue().count("\n") == 1
