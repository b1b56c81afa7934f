"""Engines for the tests of processes: importable there, each misbehaves in one way."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from misalign_profile import errors
from misalign_profile.types import Completion, ModelSpec, Request
from stub_engine import answer

SIZE = 4


class Steps:
    """Answers four requests a batch with what ``OPTIONS`` tell it to do before each batch."""

    def __init__(self, spec: ModelSpec, **options: Any) -> None:
        self.spec, self.options = spec, options

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        for start in range(0, len(requests), SIZE):
            self.before(start // SIZE)
            yield [self.reply(request) for request in requests[start : start + SIZE]]

    choose = generate

    def before(self, batch: int) -> None:
        if log := self.options.get("log"):
            with open(log, "a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {batch}\n")

    def reply(self, request: Request) -> Completion:
        return answer(request, f"{request.prefix}{request.body}{request.tail}")

    def close(self) -> None:
        if log := self.options.get("log"):
            Path(log).with_suffix(".closed").touch()


class Slow(Steps):
    """Takes ``seconds`` for every batch after the first; a ``helper`` that has its pipes waits beside."""

    def before(self, batch: int) -> None:
        super().before(batch)
        if not batch and self.options.get("helper") and os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        end = time.monotonic() + (self.options["seconds"] if batch else 0)
        while time.monotonic() < end:  # busy, like a model
            pass


class Slam(Steps):
    """Does not want to close."""

    def close(self) -> None:
        time.sleep(600)


class Dying(Steps):
    """Dies in the second batch of the first process: ``how`` is a signal or an exit code."""

    def before(self, batch: int) -> None:
        mark = Path(self.options["mark"])
        if batch == 1 and not mark.exists():
            mark.touch()
            how = self.options["how"]
            if how == "null pointer":
                ctypes.string_at(0)
            elif how < 0:
                os.kill(os.getpid(), -how)
            else:
                os._exit(how)


class Failing(Steps):
    """Raises the error of ``errors.py`` that ``error`` names, or a ``KeyError``."""

    def before(self, batch: int) -> None:
        if kind := self.options["error"]:
            raise getattr(errors, kind)("what went\nwrong", where="a place", hint="do that")
        raise KeyError("first line\nsecond line")


class Chatty(Steps):
    """Prints wherever a library could print."""

    def before(self, batch: int) -> None:
        print("said with print", flush=True)
        os.write(1, b"said to descriptor 1\n")
        subprocess.run([sys.executable, "-c", "print('said by a child')"], check=True)

    def reply(self, request: Request) -> Completion:
        seen = f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {os.getcwd()} {sys.stdin.read()!r}"
        return replace(super().reply(request), text=seen)


def refused(spec: ModelSpec, **_: Any) -> Steps:
    raise errors.ModelNotFound("no such model folder", where=spec.source)
