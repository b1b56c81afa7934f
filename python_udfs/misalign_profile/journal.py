"""The append-only record of every model call, kept outside the warehouse file.

A folder of Parquet segments. A segment is written under a temporary name, fsynced and renamed, so a
reader sees whole segments only. The key is ``Request.call_id``. A failed write raises: work that
cannot be recorded is not done. Segments are never edited, and a segment's name ends with a hash of
its bytes. ``compact`` replaces many small ones by one and removes the old ones only after the new one
is in place, so a crash leaves doubles, never gaps. It waits for another time while other processes
hold the journal: their SQL may be about to read a segment that it would remove.
Knows nothing about engines, templates or dbt.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from misalign_profile.errors import JournalError
from misalign_profile.machine import machine
from misalign_profile.segments import (
    LATER,
    SCHEMA,
    Unreadable,
    changed_calls,
    digest,
    is_as_written,
    read,
    row_of,
    written,
)
from misalign_profile.types import Completion, Request

ABANDONED_AFTER_SECONDS = 24 * 3600

_ANSWER = tuple(field.name for field in fields(Completion))
_ABSENT = {"failures": "cast([] as varchar[]) as failures", "machine": "'' as machine"}

# The journal that this process holds, and the file of its lock; the kernel lets go when it ends.
_held: tuple[str, IO[str]] | None = None
_holding = threading.Lock()


def _flock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except OSError:
        return False
    return True


def _completion(row: Sequence[Any]) -> Completion:
    cells = (tuple(cell) if isinstance(cell, list) else cell for cell in row)
    named: dict[str, Any] = dict(zip(_ANSWER, cells, strict=True))
    return Completion(**named)


def _calls(segments: Sequence[Path]) -> str:
    """SQL of all calls in the segments, those of earlier versions filled up with ``LATER``."""
    by_columns: dict[tuple[str, ...], list[str]] = {}
    for path in segments:
        lacks = LATER.keys() - set(pq.read_schema(path).names)
        by_columns.setdefault(tuple(sorted(lacks)), []).append(str(path).replace("'", "''"))
    parts = []
    for lacking, paths in by_columns.items():
        columns = ", ".join(_ABSENT[n] if n in lacking else n for n in SCHEMA.names)
        files = ", ".join(f"'{path}'" for path in paths)
        parts.append(f"select {columns} from read_parquet([{files}])")
    return " union all ".join(parts)


class Journal:
    """A journal folder. Several processes may append at once: segment names never collide.

    ``run_id`` marks the calls recorded here, by default with a name of this object's own.
    ``create`` false: only read, a missing folder is an empty journal.
    """

    def __init__(self, folder: str | Path, *, run_id: str = "", create: bool = True) -> None:
        self.folder = Path(folder)
        self.run_id = run_id or uuid.uuid4().hex[:12]
        try:
            if create:
                self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed("open", error) from None

    def _failed(self, verb: str, error: OSError) -> JournalError:
        return JournalError(
            f"cannot {verb} the journal: {error.strerror or error}",
            where=str(self.folder),
            hint="check that the folder is yours to read and write and the disk is not full; "
            "finished calls are safe",
        )

    def _bad(self, path: Path, what: str) -> JournalError:
        return JournalError(
            f"the journal segment {path.name} {what}",
            where=str(self.folder),
            hint="move this file out of the folder and run again: only its calls are asked again; "
            "`misalign journal verify` lists all such files",
        )

    def segments(self) -> list[Path]:
        """All whole segments, in name order. Raises ``JournalError`` for a folder that cannot be read."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed("read", error) from None
        return sorted(self.folder / name for name in names if name.endswith(".parquet"))

    def known(self, call_ids: Iterable[str]) -> dict[str, Completion]:
        """Return the recorded completions among ``call_ids``; of doubles the earliest."""
        wanted = pa.table({"call_id": pa.array(sorted(set(call_ids)), pa.string())})
        rows = self.select(
            f"""
            select {", ".join(_ANSWER)} from calls semi join wanted using (call_id)
            order by asked_at desc, run_id desc
            """,
            wanted=wanted,
        )
        return {row[0]: _completion(row) for row in rows}

    def select(self, query: str, **tables: pa.Table) -> list[tuple[Any, ...]]:
        """Rows of a query over ``calls``, all recorded calls with the columns of ``SCHEMA``.

        ``query`` follows ``with calls as (...)``, so it may go on with a comma and more CTEs.
        ``tables`` are at hand by their names. An empty journal or an empty table among ``tables``
        gives no rows. Raises ``JournalError`` for a segment that cannot be read.
        """
        segments = self.segments()
        if not segments or not all(t.num_rows for t in tables.values()):
            return []
        try:
            with duckdb.connect() as con:
                for name, table in tables.items():
                    con.register(name, table)
                rows: list[tuple[Any, ...]]
                rows = con.execute(f"with calls as ({_calls(segments)}) {query}").fetchall()
                return rows
        except (duckdb.Error, OSError, ValueError, pa.ArrowException) as error:
            if not set(segments) <= set(self.segments()):  # another process has compacted them
                return self.select(query, **tables)
            raise self._unreadable(segments) or JournalError(
                f"the journal cannot be read: {error}",
                where=str(self.folder),
                hint="run `misalign journal verify`",
            ) from None

    def _unreadable(self, segments: Sequence[Path]) -> JournalError | None:
        """What to say of the first segment that cannot be read, None when all can."""
        for path in segments:
            try:
                read(path.read_bytes())
            except Unreadable as error:
                return self._bad(path, str(error))
            except OSError as error:
                return self._bad(path, f"cannot be read: {error.strerror}")
        return None

    def append(self, pairs: Sequence[tuple[Request, Completion]]) -> None:
        """Record a batch. Returns only when it is on disk. Raises ``JournalError``."""
        if not pairs:
            return
        now = datetime.now(UTC)
        rows = [row_of(q, a, run_id=self.run_id, machine=machine(), asked_at=now) for q, a in pairs]
        table = pa.Table.from_pylist(rows, SCHEMA)
        self._write(table, f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}")

    def _write(self, table: pa.Table, name: str) -> Path:
        temporary = self.folder / f"{name}.{os.getpid()}.tmp"
        try:
            content = written(table)
            final = self.folder / f"{name}-{digest(content)}.parquet"
            with open(temporary, "wb") as sink:
                sink.write(content)
                sink.flush()
                os.fsync(sink.fileno())
            os.rename(temporary, final)
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise self._failed("write", error) from None
        return final

    def hold(self) -> None:
        """Keep other processes from removing segments until this one ends or holds another journal.

        Does nothing in a folder that cannot be written to: nobody removes segments there.
        """
        global _held
        with _holding, suppress(OSError):
            place = str(self.folder.resolve())
            if _held is not None and _held[0] == place:
                return
            lock = open(self.folder / ".lock", "a")  # noqa: SIM115  open while it is held
            fcntl.flock(lock, fcntl.LOCK_SH)  # waits while segments are being merged
            if _held is not None:
                _held[1].close()
            _held = place, lock

    @contextmanager
    def _exclusive(self) -> Iterator[bool]:
        """Whether this process is the only one that holds the journal, and so for the block."""
        with _holding:
            if _held is not None and _held[0] == str(self.folder.resolve()):
                try:
                    yield _flock(_held[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                finally:
                    _flock(_held[1], fcntl.LOCK_SH)
                return
            try:
                lock = open(self.folder / ".lock", "a")  # noqa: SIM115  closed below
            except OSError as error:
                raise self._failed("lock", error) from None
            with lock:
                yield _flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _clear_abandoned(self) -> None:
        """Remove temporary files that no writer can still be busy with."""
        for left in self.folder.glob("*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                    left.unlink()

    def compact(self, *, at_least: int = 8) -> int | None:
        """Merge the segments into one when there are ``at_least`` of them.

        Returns how many it merged; None while another process holds the journal. Raises
        ``JournalError`` for a segment that is not as it was written: merged, its damage could no
        longer be found.
        """
        with self._exclusive() as mine:
            old = self.segments()
            try:
                self._clear_abandoned()
                if not mine:
                    return None
                if len(old) < at_least:
                    return 0
                self._write(self._merged(old), f"compacted-{uuid.uuid4().hex[:12]}")
                for path in old:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise self._failed("compact", error) from None
            return len(old)

    def _merged(self, segments: Sequence[Path]) -> pa.Table:
        """The calls of the segments, of doubles the earliest."""
        tables = []
        for path in segments:
            content = path.read_bytes()
            try:
                tables.append(read(content))
            except Unreadable as error:
                raise self._bad(path, str(error)) from None
            if not is_as_written(path, content):
                raise self._bad(path, "was changed after it was written")
        merged = pa.concat_tables(tables)
        merged = merged.sort_by([("asked_at", "ascending"), ("run_id", "ascending")])
        first: dict[str, int] = {}
        for i, call in enumerate(merged["call_id"].to_pylist()):
            first.setdefault(call, i)
        return merged.take(pa.array(list(first.values())))

    def verify(self) -> tuple[int, list[str]]:
        """Hash every segment and every call again. Returns (number of calls, problems)."""
        problems: list[str] = []
        calls = 0
        segments = self.segments()
        for path in segments:
            try:
                content = path.read_bytes()
                table = read(content)
            except (Unreadable, OSError) as error:
                if not set(segments) <= set(self.segments()):  # another process has compacted them
                    return self.verify()
                problems.append(f"{path.name}: {error}")
                continue
            calls += table.num_rows
            found = changed_calls(table)
            if not found and not is_as_written(path, content):
                found.append("changed after it was written, though no question and no answer was")
            problems += [f"{path.name}: {line}" for line in found]
        return calls, problems
