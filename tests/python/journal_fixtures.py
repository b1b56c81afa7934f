"""What the tests of the journal share: a small journal, its keys, a process beside the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from misalign_profile.errors import JournalError
from misalign_profile.journal import Journal
from stub_engine import answer, request

HERE = Path(__file__).parent


def filled(folder: Path, calls: int = 3) -> Journal:
    """A journal with so many calls, a segment each."""
    journal = Journal(folder)
    for number in range(calls):
        question = request(number)
        journal.append([(question, answer(question, f"text {number}"))])
    return journal


def ids(calls: int) -> list[str]:
    return [request(number).call_id for number in range(calls)]


def one_line(error: pytest.ExceptionInfo[JournalError], folder: Path) -> str:
    line = str(error.value)
    assert "\n" not in line
    assert str(folder) in line
    return line


def paths(*folders: Path) -> str:
    """A ``PYTHONPATH`` of these folders and of what it held."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


def script(code: str, *arguments: str) -> subprocess.Popen[str]:
    head = "import sys; from pathlib import Path; from stub_engine import *; "
    head += "from misalign_profile.journal import Journal\n"
    environment = os.environ | {"PYTHONPATH": paths(HERE)}
    command = [sys.executable, "-c", head + code, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def altered(path: Path, column: str, value: Any) -> None:
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    values = pa.array([value], table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), values), path)
