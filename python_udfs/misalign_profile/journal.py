"""The append-only record of every model call, kept outside the warehouse file.

A folder of Parquet segments. A segment is written under a temporary name, fsynced and renamed, so a
reader sees whole segments only. The key is ``Request.call_id``. A failed write raises: work that
cannot be recorded is not done. Segments are never edited; ``compact`` replaces many small ones by
one and removes the old ones only after the new one is in place, so a crash leaves doubles, never gaps.
Knows nothing about engines, templates or dbt.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from misalign_profile.errors import JournalError
from misalign_profile.machine import machine
from misalign_profile.types import Completion, ModelSpec, Request, Sampling

ABANDONED_AFTER_SECONDS = 24 * 3600

SCHEMA = pa.schema(
    [
        ("call_id", pa.string()),
        ("stage", pa.string()),
        ("verb", pa.string()),
        ("model", pa.string()),
        ("source", pa.string()),
        ("revision", pa.string()),
        ("engine", pa.string()),
        ("dtype", pa.string()),
        ("prompt_style", pa.string()),
        ("template", pa.string()),
        ("template_hash", pa.string()),
        ("item", pa.string()),
        ("prefix", pa.string()),
        ("body", pa.string()),
        ("tail", pa.string()),
        ("options", pa.list_(pa.string())),
        ("temperature", pa.float64()),
        ("top_p", pa.float64()),
        ("max_new_tokens", pa.int64()),
        ("seed", pa.int64()),
        ("sample_index", pa.int64()),
        ("text", pa.string()),
        ("option_logprobs", pa.list_(pa.float64())),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("seconds", pa.float64()),
        ("retries", pa.int64()),
        ("failures", pa.list_(pa.string())),
        ("run_id", pa.string()),
        ("machine", pa.string()),
        ("asked_at", pa.timestamp("us", tz="UTC")),
        ("checksum", pa.string()),
    ]
)
# Columns that segments of earlier versions lack, and how such a segment reads.
LATER: dict[str, Any] = {"failures": [], "machine": ""}
_ANSWER = tuple(field.name for field in fields(Completion))
_ABSENT = {"failures": "cast([] as varchar[]) as failures", "machine": "'' as machine"}


def _checksum(row: dict[str, Any]) -> str:
    answer = (row["call_id"], row["text"], row["option_logprobs"], row["finish_reason"])
    return hashlib.blake2b(json.dumps(answer).encode(), digest_size=8).hexdigest()


def _row(request: Request, completion: Completion, run_id: str, now: datetime) -> dict[str, Any]:
    s = request.sampling
    row: dict[str, Any] = {
        "call_id": completion.call_id,
        "stage": request.stage,
        "verb": request.verb,
        "model": request.model.model,
        "source": request.model.source,
        "revision": request.model.revision,
        "engine": request.model.engine,
        "dtype": request.model.dtype,
        "prompt_style": request.model.prompt_style,
        "template": request.template,
        "template_hash": request.template_hash,
        "item": request.item,
        "prefix": request.prefix,
        "body": request.body,
        "tail": request.tail,
        "options": list(request.options),
        "temperature": s.temperature if s else None,
        "top_p": s.top_p if s else None,
        "max_new_tokens": s.max_new_tokens if s else None,
        "seed": s.seed if s else None,
        "sample_index": request.sample_index,
        "text": completion.text,
        "option_logprobs": list(completion.option_logprobs),
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "cached_tokens": completion.cached_tokens,
        "completion_tokens": completion.completion_tokens,
        "seconds": completion.seconds,
        "retries": completion.retries,
        "failures": list(completion.failures),
        "run_id": run_id,
        "machine": machine(),
        "asked_at": now,
    }
    row["checksum"] = _checksum(row)
    return row


def _request_of(row: dict[str, Any]) -> Request:
    sampling = None
    if row["verb"] == "generate":
        sampling = Sampling(row["temperature"], row["top_p"], row["max_new_tokens"], row["seed"])
    spec = ModelSpec(
        row["model"],
        row["source"],
        row["engine"],
        row["revision"],
        row["dtype"],
        "",
        row["prompt_style"],
    )
    return Request(
        spec, row["stage"], row["template"], row["template_hash"], row["item"], row["prefix"],
        row["body"], row["tail"], tuple(row["options"]), sampling, row["sample_index"],
    )  # fmt: skip


def _completion(row: Sequence[Any]) -> Completion:
    cells = (tuple(cell) if isinstance(cell, list) else cell for cell in row)
    named: dict[str, Any] = dict(zip(_ANSWER, cells, strict=True))
    return Completion(**named)


def _read(path: Path) -> pa.Table:
    """One segment, all columns. Raises ``OSError``, ``ValueError`` or ``ArrowException``."""
    table = pq.ParquetFile(path).read()
    for name in LATER.keys() - set(table.column_names):
        values = pa.array([LATER[name]] * table.num_rows, SCHEMA.field(name).type)
        table = table.append_column(name, values)
    if set(table.column_names) == set(SCHEMA.names):
        table = table.select(SCHEMA.names)
    return table.cast(SCHEMA)


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
            hint="check that the folder is writable and the disk is not full; finished calls are safe",
        )

    def segments(self) -> list[Path]:
        """All whole segments, in name order."""
        return sorted(self.folder.glob("*.parquet"))

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
            if not all(p.exists() for p in segments):  # another process has compacted them
                return self.select(query, **tables)
            raise JournalError(
                f"a journal segment cannot be read: {error}",
                where=str(self.folder),
                hint="run `misalign journal verify` to find it",
            ) from None

    def append(self, pairs: Sequence[tuple[Request, Completion]]) -> None:
        """Record a batch. Returns only when it is on disk. Raises ``JournalError``."""
        now = datetime.now(UTC)
        table = pa.Table.from_pylist([_row(q, a, self.run_id, now) for q, a in pairs], SCHEMA)
        self._write(table, f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}")

    def _write(self, table: pa.Table, name: str) -> Path:
        temporary = self.folder / f"{name}.{os.getpid()}.tmp"
        final = self.folder / f"{name}.parquet"
        try:
            with open(temporary, "wb") as sink:
                pq.write_table(table, sink, compression="zstd")
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

    @contextmanager
    def _exclusive(self) -> Any:
        try:
            lock = open(self.folder / ".lock", "w")  # noqa: SIM115  closed below
        except OSError as error:
            raise self._failed("lock", error) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True

    def _clear_abandoned(self) -> None:
        """Remove temporary files that no writer can still be busy with."""
        for left in self.folder.glob("*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                    left.unlink()

    def compact(self, *, at_least: int = 8) -> int:
        """Merge the segments into one when there are ``at_least`` of them. Returns how many it merged."""
        with self._exclusive() as mine:
            self._clear_abandoned()
            old = self.segments()
            if not mine or len(old) < at_least:
                return 0
            try:
                merged = pa.concat_tables([_read(p) for p in old])
            except (OSError, ValueError, pa.ArrowException) as error:
                raise JournalError(
                    f"a journal segment cannot be read: {error}",
                    where=str(self.folder),
                    hint="run `misalign journal verify` to find it",
                ) from None
            merged = merged.sort_by([("asked_at", "ascending"), ("run_id", "ascending")])
            first: dict[str, int] = {}
            for i, call in enumerate(merged["call_id"].to_pylist()):
                first.setdefault(call, i)
            self._write(
                merged.take(pa.array(list(first.values()))), f"compacted-{uuid.uuid4().hex[:12]}"
            )
            for path in old:
                path.unlink(missing_ok=True)
            return len(old)

    def verify(self) -> tuple[int, list[str]]:
        """Re-hash every call. Returns (number of calls, problems)."""
        problems: list[str] = []
        calls = 0
        for path in self.segments():
            try:
                rows = _read(path).to_pylist()
            except (OSError, ValueError, pa.ArrowException) as error:
                problems.append(f"{path.name}: cannot be read: {' '.join(str(error).split())}")
                continue
            for row in rows:
                calls += 1
                if _request_of(row).call_id != row["call_id"]:
                    problems.append(f"{path.name}: call {row['call_id']}: the question was changed")
                elif _checksum(row) != row["checksum"]:
                    problems.append(f"{path.name}: call {row['call_id']}: the answer was changed")
        return calls, problems
