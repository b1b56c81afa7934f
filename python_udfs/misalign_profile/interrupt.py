"""Ctrl-C: the batch in flight is finished and recorded, then the run ends; at the latest after ``GRACE``.

A signal reaches the main thread only, while models are asked in threads of dbt. So the handler
raises a flag that ``Inference`` looks at between batches, and a watchdog ends the process when a
batch takes longer: every batch that was answered is in the journal by then, and nothing else is
worth waiting for. Knows nothing about models, dbt or SQL.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from misalign_profile.errors import Stopped

GRACE = 3.0  # seconds for the batch in flight
GRACE_FOR_CLEANING = 0.7  # seconds to close engines and end child processes
EXIT_CODE = 130  # 128 + SIGINT, as shells count
LINE = "misalign: stopped; finished calls are in the journal, run again to go on"

_stop = threading.Event()
_leaving = threading.Lock()
_cleaners: list[Callable[[], None]] = []


def check() -> None:
    """Raise ``Stopped`` once the user has asked for it."""
    if _stop.is_set():
        raise Stopped("stopped by the user", hint="finished calls are in the journal, run again")


def asked() -> bool:
    """Whether the user has asked to stop."""
    return _stop.is_set()


@contextmanager
def cleaned_by(clean: Callable[[], None]) -> Iterator[None]:
    """Have ``clean`` called if the process must end in haste while the block runs.

    It is called from another thread, perhaps in the middle of the block; it must not wait.
    """
    _cleaners.append(clean)
    try:
        yield
    finally:
        _cleaners.remove(clean)


@contextmanager
def stops_on_signal() -> Iterator[None]:
    """While the block runs, SIGINT stops it as the module says. Main thread only, else no change."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if not _stop.is_set():
            _stop.set()
            watchdog = threading.Timer(GRACE, leave)
            watchdog.daemon = True
            watchdog.start()  # never cancelled: it also ends a process that hangs while it exits
            raise KeyboardInterrupt
        leave()  # asked twice: at once

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
        if _stop.is_set():  # somebody swallowed the exception
            raise KeyboardInterrupt
    finally:
        if not _stop.is_set():
            signal.signal(signal.SIGINT, before)


def leave() -> None:
    """End the process now: say how to go on, close what can be closed at once, end child processes.

    Only the first call does; the interpreter's own end is left out, which may take seconds.
    """
    if not _leaving.acquire(blocking=False):
        time.sleep(2 * GRACE)
    cleaning = threading.Thread(target=_clean, daemon=True)
    cleaning.start()
    cleaning.join(GRACE_FOR_CLEANING)
    with suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"{LINE}\n".encode())  # print could wait for a lock
    os._exit(EXIT_CODE)


def _clean() -> None:
    for child in multiprocessing.active_children():
        child.kill()
    for clean in reversed(_cleaners):
        with suppress(Exception):
            clean()
    atexit._run_exitfuncs()  # os._exit leaves them out; semaphores would outlive the process
