"""The process of a ``WorkerEngine``: opens one engine and answers messages until its parent is gone.

Messages and answers are pickles behind their length, on the pipes that were standard input and
output. What anything else prints goes to standard error. Every message but ``leave`` gets one answer.
Knows nothing about which engine it runs, nor about journals or dbt.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from queue import SimpleQueue
from typing import Any, BinaryIO

from misalign_profile.errors import EngineError, MisalignError
from misalign_profile.types import Completion, Engine, ModelSpec, Request

LENGTH = struct.Struct("!Q")
NAMES = tuple(f.name for f in fields(Request))
Packed = list[tuple[Any, ...]]


def framed(message: object) -> bytes:
    blob = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(blob)) + blob


def packed(requests: Sequence[Request]) -> Packed:
    """Requests as their fields. Equal texts become one object, which a pickle holds once."""
    seen: dict[str, str] = {}
    return [
        tuple(seen.setdefault(v, v) if isinstance(v, str) else v for v in values)
        for values in (tuple(getattr(request, name) for name in NAMES) for request in requests)
    ]


def unpacked(rows: Packed) -> list[Request]:
    """The same requests; their texts stay shared, as ``Request()`` would not leave them."""
    requests = []
    for row in rows:
        request = object.__new__(Request)
        for name, value in zip(NAMES, row, strict=True):
            object.__setattr__(request, name, value)
        requests.append(request)
    return requests


@dataclass(slots=True)
class Server:
    """One engine, and the calls to it that are under way, by the number that the parent gave them."""

    engine: Engine | None = None
    calls: dict[int, Iterator[list[Completion]]] = field(default_factory=dict)

    def open(
        self, spec: ModelSpec, opener: Callable[..., Engine] | None, options: dict[str, Any]
    ) -> None:
        if opener is None:
            from misalign_profile.engines import open_engine

            opener = open_engine
        self.engine = opener(spec, **options)

    def begin(self, call: int, verb: str, rows: Packed) -> None:
        self.calls[call] = getattr(self.engine, verb)(unpacked(rows))

    def next(self, call: int) -> list[Completion] | None:
        """Compute one more batch; None after the last."""
        return next(self.calls[call], None)

    def leave(self, call: int) -> None:
        """Forget a call; its other batches are not computed."""
        batches = self.calls.pop(call, None)
        getattr(batches, "close", lambda: None)()

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()


def _answer(server: Server, message: bytes) -> tuple[str, tuple[bool, Any]]:
    """The message's name; whether it went well, and the result or the error."""
    name = ""
    try:
        name, *arguments = pickle.loads(message)
        return name, (True, getattr(server, name)(*arguments))
    except MisalignError as error:
        return name, (False, error)
    except Exception as error:
        sys.stderr.write(f"misalign: in process {os.getpid()}:\n{traceback.format_exc()}")
        sys.stderr.flush()
        lines = str(error).strip().splitlines()
        what = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
        return name, (False, EngineError(what, hint="its traceback is on standard error"))


def _listen(source: BinaryIO, inbox: SimpleQueue[bytes]) -> None:
    """Put messages into the inbox. At their end the parent is gone, and so is this process.

    A thread of its own, since the other one may be in the middle of a long batch.
    """
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        inbox.put(source.read(LENGTH.unpack(head)[0]))
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)  # with processes that the engine started
    os._exit(1)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    faulthandler.enable()  # a segmentation fault leaves a trace
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(source, inbox), daemon=True).start()
    server = Server()
    while True:
        name, answer = _answer(server, inbox.get())
        if name == "close":
            os._exit(0)  # the interpreter's own end may take seconds and frees nothing more
        if name != "leave":
            sink.write(framed(answer))
            sink.flush()
