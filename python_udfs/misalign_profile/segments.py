"""One file of the journal: calls as Parquet bytes, and what tells that they were changed.

Knows nothing about folders, doubles, or when a file is written.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from misalign_profile.types import Completion, ModelSpec, Request, Sampling

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
# Segments of earlier versions have no digest in their name.
_DIGEST = re.compile(r"-([0-9a-f]{16})\.parquet$")


def _checksum(row: dict[str, Any]) -> str:
    answer = (row["call_id"], row["text"], row["option_logprobs"], row["finish_reason"])
    return hashlib.blake2b(json.dumps(answer).encode(), digest_size=8).hexdigest()


def row_of(
    request: Request, completion: Completion, *, run_id: str, machine: str, asked_at: datetime
) -> dict[str, Any]:
    """One call as a row of ``SCHEMA``."""
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
        "machine": machine,
        "asked_at": asked_at,
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


class Unreadable(Exception):
    """A segment's bytes are no calls; damaged bytes may fail in any way."""


def _line(error: Exception) -> str:
    """What an error says, fit for a terminal: one short line without control characters."""
    line = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "?" for c in line)[:200]


def read(content: bytes) -> pa.Table:
    """The calls of one segment, all columns. Raises ``Unreadable``."""
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
        for name in LATER.keys() - set(table.column_names):
            values = pa.array([LATER[name]] * table.num_rows, SCHEMA.field(name).type)
            table = table.append_column(name, values)
        if set(table.column_names) == set(SCHEMA.names):
            table = table.select(SCHEMA.names)
        table = table.cast(SCHEMA)
        table.validate(full=True)
    except Exception as error:
        raise Unreadable(f"cannot be read: {_line(error)}") from None
    return table


def written(table: pa.Table) -> bytes:
    """The bytes of a segment."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def digest(content: bytes) -> str:
    """16 hex digits that any changed byte changes (BLAKE2b-64)."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def is_as_written(path: Path, content: bytes) -> bool:
    """Whether the bytes are those that the name was made of; True where the name has no digest."""
    named = _DIGEST.search(path.name)
    return named is None or named[1] == digest(content)


def changed_calls(table: pa.Table) -> list[str]:
    """A line for every call whose question or answer is not what was recorded."""
    lines = []
    try:
        for row in table.to_pylist():
            if _request_of(row).call_id != row["call_id"]:
                lines.append(f"call {row['call_id']}: the question was changed")
            elif _checksum(row) != row["checksum"]:
                lines.append(f"call {row['call_id']}: the answer was changed")
    except Exception as error:  # a cell that no call has: a null, a date beyond the calendar
        lines.append(f"cannot be read: {_line(error)}")
    return lines
