"""Runs ``dbt`` or ``misalign`` on a scripted target with small, slow batches, and writes down what happens.

``python benchmarks/watched.py LOG SIZE SECONDS dbt run --target scripted``. Every batch of SIZE calls
is written to LOG before it is answered, and takes SECONDS. A line is JSON: a model that starts or
ends, or a batch with the model and the stage that asked it and its calls. Knows nothing about what is
proved with it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from misalign_profile.engines.scripted import ScriptedEngine
from misalign_profile.types import Request


class Log:
    """Lines at the end of a file, each in one write, so that a kill tears none."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, **line: Any) -> None:
        os.write(self.file, (json.dumps({"at": time.time()} | line) + "\n").encode())

    def dbt_event(self, event: Any) -> None:
        """A callback for dbt's events."""
        kind = {"LogStartLine": "start", "LogModelResult": "end"}.get(event.info.name)
        if kind and event.data.node_info.resource_type == "model":
            self.write(event=kind, model=event.data.node_info.node_name)


def slow_down(log: Log, size: int, seconds: float) -> None:
    """Have every scripted engine of this process answer in small batches, and log each before."""
    from dbt_common.events.contextvars import get_node_info

    def batches(_: ScriptedEngine, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
        for start in range(0, len(requests), size):
            batch = requests[start : start + size]
            model = get_node_info().get("node_name", "")
            calls = [question.call_id for question in batch]
            log.write(event="batch", model=model, stage=batch[0].stage, calls=calls)
            time.sleep(seconds)
            yield batch

    ScriptedEngine._batches = batches  # type: ignore[method-assign]


def main(path: str, size: str, seconds: str, program: str, *arguments: str) -> int:
    log = Log(path)
    slow_down(log, int(size), float(seconds))
    if program == "misalign":
        from misalign_profile.cli import main as misalign

        return misalign(arguments)
    from dbt.cli.main import dbtRunner

    result = dbtRunner(callbacks=[log.dbt_event]).invoke(list(arguments))
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
