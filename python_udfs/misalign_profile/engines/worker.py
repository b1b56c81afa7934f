"""An engine in a process of its own: when it is closed, all its memory is back, the GPU's as well.

The process starts with the first call, or before it with ``start``. It computes a batch when the
caller asks for the next one, so a caller that stops early has asked for nothing in advance. It ends
with ``close``, with its parent, and with a caller that is interrupted in the middle of a batch.
Knows nothing about how an engine answers, nor about journals or dbt.
"""

from __future__ import annotations

import itertools
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from misalign_profile import interrupt
from misalign_profile.engines.worker_child import LENGTH, framed, packed
from misalign_profile.errors import EngineError, MisalignError, Stopped
from misalign_profile.types import Completion, Engine, ModelSpec, Request

GRACE = 3.0  # seconds that an engine has to close
LOOK = 0.5  # seconds between two looks at whether the process lives
START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from misalign_profile.engines.worker_child import main; main()"
)


class WorkerEngine:
    """``choose`` and ``generate`` of the engine that ``opener(spec, **options)`` returns elsewhere.

    ``opener`` is ``open_engine`` if not given, else something that can be pickled. Errors of the
    engine arrive as they are; others, and the end of the process, as ``EngineError``. After that a
    new call starts a new process.
    """

    def __init__(
        self, spec: ModelSpec, *, opener: Callable[..., Engine] | None = None, **options: Any
    ) -> None:
        self.spec = spec
        self._opening = (spec, opener, options)
        self._child: Child | None = None
        self._closed = False
        self._talking = threading.Lock()
        self._numbers = itertools.count()
        self._left: list[int] = []  # calls that nobody wants the rest of

    @property
    def pid(self) -> int | None:
        """The number of the process, while there is one."""
        return self._child.process.pid if self._child else None

    def start(self) -> None:
        """Open the engine now. Raises what opening it raises."""
        with self._talking:
            if self._child is None:
                self._start()

    def choose(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with log-probabilities of the options, a batch at a time."""
        return self._batches("choose", requests)

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Yield completions with drawn text, a batch at a time."""
        return self._batches("generate", requests)

    def close(self) -> None:
        """End the process and wait for it. Closing twice is fine."""
        self._closed = True
        if (child := self._child) is not None:
            child.end()
            if self._talking.acquire(blocking=False):  # else whoever talks will find it dead
                self._drop(child)
                self._talking.release()

    def _batches(self, verb: str, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        call = next(self._numbers)
        child = self._ask("begin", call, verb, packed(requests))[0]
        try:
            while (batch := self._ask("next", call, to=child)[1]) is not None:
                yield batch
        finally:
            self._leave(child, call)

    def _ask(self, *message: Any, to: Child | None = None) -> tuple[Child, Any]:
        """The process that was asked, started where ``to`` names none, and what it answered."""
        with self._talking:
            if self._closed:
                raise EngineError("the engine is closed", where=self.spec.model)
            if to is not None and to is not self._child:
                raise EngineError("the model's process has ended", where=self.spec.model)
            child = self._child or self._start()
            return child, self._answer(child, *message)

    def _start(self) -> Child:
        try:
            child = Child(self.spec.model)
        except OSError as error:
            raise EngineError(
                f"no process for the model: {error.strerror}", where=self.spec.model
            ) from None
        self._child = child
        try:
            self._answer(child, "open", *self._opening)
        except MisalignError:
            child.kill()
            self._drop(child)
            raise
        return child

    def _answer(self, child: Child, *message: Any) -> Any:
        try:
            self._send_left(child)
            child.tell(*message)
            done, value = child.listen()
        except BaseException as error:  # in the middle of an answer: nothing more can be read
            child.kill()
            self._drop(child)
            if isinstance(error, OSError | EOFError):
                raise self._ended(child) from None
            raise
        if not done:
            raise value
        return value

    def _leave(self, child: Child, call: int) -> None:
        """Say so now if nobody talks, else before the next question. It must not wait."""
        self._left.append(call)
        if child is self._child and self._talking.acquire(blocking=False):
            with suppress(OSError, EOFError):
                self._send_left(child)
            self._talking.release()

    def _send_left(self, child: Child) -> None:
        while self._left:
            child.tell("leave", self._left.pop())

    def _drop(self, child: Child) -> None:
        child.hang_up()
        self._left.clear()
        if self._child is child:
            self._child = None

    def _ended(self, child: Child) -> EngineError | Stopped:
        """What to say of a process that ended by itself."""
        if interrupt.asked():
            return Stopped(
                "stopped by the user", hint="finished calls are in the journal, run again"
            )
        if self._closed:
            return EngineError("the engine is closed", where=self.spec.model)
        code = child.process.returncode
        how, hint = f"ended with exit code {code}", "see standard error above"
        if code is not None and code < 0:
            try:
                how = f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                how = f"was killed by signal {-code}"
        if code == -signal.SIGKILL:
            hint = (
                "the system may have run out of memory: lower batch_tokens, or use a smaller model"
            )
        return EngineError(f"the model's process {how}", where=self.spec.model, hint=hint)


class Child:
    """A process and the two pipes to it."""

    def __init__(self, name: str) -> None:
        # A group of its own: Ctrl-C on the terminal does not reach it, and what the engine starts
        # ends with it. Not multiprocessing: that would import the parent's main script again.
        paths = [path for path in sys.path if isinstance(path, str)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, f"misalign: {name}", *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
        assert self.process.stdin
        assert self.process.stdout
        self._pipes = (self.process.stdin, self.process.stdout)
        self._to, self._from = (pipe.fileno() for pipe in self._pipes)
        os.set_blocking(self._to, False)
        self._waits = self._killed = False

    def tell(self, *message: Any) -> None:
        """Send a message. Raises ``OSError`` or ``EOFError`` when nobody is there."""
        left = memoryview(framed(message))
        while left:
            if _ready(self._to, select.POLLOUT):
                left = left[os.write(self._to, left) :]
            else:
                self._check()

    def listen(self) -> tuple[bool, Any]:
        """Wait for the next answer. Raises ``EOFError`` when none will come."""
        self._waits = True
        (size,) = LENGTH.unpack(self._read(LENGTH.size))
        done, value = pickle.loads(self._read(size))
        self._waits = False
        return done, value

    def end(self) -> None:
        """Let the engine close and the process end; kill it if it is busy or takes too long."""
        if not self._waits and not interrupt.asked():
            with suppress(OSError, subprocess.TimeoutExpired):
                self.tell("close")
                self.process.wait(GRACE)
        self.kill()

    def kill(self) -> None:
        if self._killed:
            return
        self._killed = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)

    def hang_up(self) -> None:
        for pipe in self._pipes:
            pipe.close()

    def _read(self, size: int) -> bytearray:
        parts = bytearray()
        while len(parts) < size:
            if _ready(self._from, select.POLLIN):
                part = os.read(self._from, min(size - len(parts), 1 << 20))
                if not part:
                    raise EOFError
                parts += part
            else:
                self._check()
        return parts

    def _check(self) -> None:
        """Notice an end that the pipe does not show: a process of its own may hold the pipe open."""
        if self.process.poll() is not None:
            raise EOFError


def _ready(pipe: int, event: int) -> bool:
    """Wait a little for a pipe that can be read or written, or that is closed at its other end."""
    poll = select.poll()
    poll.register(pipe, event)
    return bool(poll.poll(LOOK * 1000))
