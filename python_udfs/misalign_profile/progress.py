"""How far a stage is: a bar on a terminal, a line every few seconds elsewhere.

Knows counts; knows nothing about models or journals.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType

from tqdm import tqdm

_BAR = (
    "          {desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} calls "
    "[{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
)


tqdm.set_lock(threading.RLock())  # its own is shared between processes and starts a helper process


def say(line: str) -> None:
    """Write a line to standard error, in one piece and above a bar that may be there."""
    tqdm.write(line + "\n", file=sys.stderr, end="")


def on_terminal() -> bool:
    """Whether a bar can be drawn: standard error is a terminal, and no CI reads it."""
    return sys.stderr.isatty() and not os.environ.get("CI")


class Progress:
    """Done, rate and time left of ``total`` calls. Use as a context manager, or call ``close``.

    ``every``: seconds between two lines, when there is no bar. Tokens per second are those of the
    batches that ``advance`` is told of.
    """

    def __init__(self, label: str, total: int, *, every: float = 5.0) -> None:
        self.label, self.total, self.every = label, total, every
        self.done = self.tokens = 0
        self.started = self.shown = time.monotonic()
        self._bar: tqdm | None = None
        if on_terminal():
            self._bar = tqdm(
                total=total, desc=label, unit="", bar_format=_BAR, file=sys.stderr,
                dynamic_ncols=True, mininterval=0.2, smoothing=0.05,
            )  # fmt: skip

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self) -> None:
        """Start the clock again: the model is loaded."""
        self.started = self.shown = time.monotonic()
        if self._bar is not None:
            self._bar.unpause()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int, tokens: int = 0) -> None:
        """Count a batch: so many calls, so many tokens read and written."""
        self.done += count
        self.tokens += tokens
        now = time.monotonic()
        took = max(now - self.started, 1e-9)
        speed = f", {self.tokens / took:,.0f} tokens/s" if self.tokens else ""
        if self._bar is not None:
            self._bar.set_postfix_str(speed.removeprefix(", "), refresh=False)
            self._bar.update(count)
        elif now - self.shown >= self.every or self.done == self.total:
            self.shown = now
            rate = self.done / took
            left = f"{(self.total - self.done) / rate:.0f} s left"
            tail = left if self.done < self.total else f"{took:.1f} s"
            say(
                f"          {self.label}: {self.done:,}/{self.total:,} calls, {rate:,.0f}/s{speed}, {tail}"
            )
