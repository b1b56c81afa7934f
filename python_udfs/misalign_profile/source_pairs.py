"""A published dataset of pairs, from a file, a folder or a URL, as one Arrow table.

A row holds a prompt, its labels and one or several pairs of responses. What cannot be used is a row
with a ``skip_reason``. Knows nothing about dbt, DuckDB, seeds or models.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from misalign_profile.errors import ConfigError, InputError
from misalign_profile.sources import (
    NO_LABEL,
    LabelMap,
    Wanted,
    files_at,
    rows_in,
    shown,
    usable_text,
)
from misalign_profile.types import SEMANTIC_TYPES, encodable, stable_id

IMPORTED = "imported"
_STRINGS = pa.list_(pa.string())
SCHEMA = pa.schema(
    [
        ("source_file", pa.string()),
        ("row_number", pa.int64()),
        ("skip_reason", pa.string()),
        ("prompt", pa.string()),
        ("semantic_type", pa.string()),
        ("labels", _STRINGS),
        ("unmapped_labels", _STRINGS),
        ("chosen", _STRINGS),
        ("responder", pa.string()),
        ("aligned_response_id", pa.string()),
        ("misaligned_response_id", pa.string()),
        ("aligned_response", pa.string()),
        ("misaligned_response", pa.string()),
        ("violates", _STRINGS),
    ]
)
# Field -> column, in the form that `misalign export` writes. Those of _NEEDED must be there.
COLUMNS: dict[str, list[str]] = {
    "prompt": ["prompt"],
    "labels": ["domains"],
    "semantic_type": ["semantic_type"],
    "aligned": ["aligned_response"],
    "misaligned": ["misaligned_response"],
    "responder": ["responder"],
    "aligned_id": ["aligned_response_id"],
    "misaligned_id": ["misaligned_response_id"],
    "violates": ["misaligned_violates"],
}
_NEEDED = ("prompt", "labels", "aligned", "misaligned")
_A_PAIR = ("aligned", "misaligned", "responder", "aligned_id", "misaligned_id", "violates")


@dataclass(frozen=True, slots=True)
class _Columns(Wanted):
    """The columns to take where a file has them; ``found`` is filled by each file's header."""

    needed: frozenset[str] = frozenset()
    found: dict[str, int] = field(default_factory=dict)  # column -> place among the cells

    def among(self, columns: Sequence[str], where: str) -> list[str]:
        held = {column.strip().casefold() for column in columns}
        names = [
            name
            for name in dict.fromkeys(self.labels)
            if name in self.needed or name.strip().casefold() in held
        ]
        self.found.clear()
        self.found.update({name: place for place, name in enumerate(names)})
        return Wanted(self.text, tuple(names)).among(columns, where)


def columns_of(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Field -> columns: the default form, with what is given in its place."""
    unknown = sorted(set(given) - set(COLUMNS))
    if unknown:
        raise ConfigError(
            f"pairs_columns has no field {unknown[0]!r}", hint=f"one of {', '.join(COLUMNS)}"
        )
    names = dict(COLUMNS)
    for name, value in given.items():
        listed = [value] if isinstance(value, str) else list(value or [])
        names[name] = [str(column) for column in listed if column]
    missing = [name for name in _NEEDED if not names[name]]
    pairs = len(names["aligned"])
    if missing or len(names["prompt"]) != 1:
        raise ConfigError(f"pairs_columns must name a column for {(missing or ['prompt'])[0]}")
    for name in _A_PAIR:
        if name in given and names[name] and len(names[name]) != pairs:
            raise ConfigError(
                f"pairs_columns names {pairs} columns for aligned and {len(names[name])} for {name}",
                hint="a list has one column for each pair of a row",
            )
        if len(names[name]) != pairs:
            names[name] = []
    if len(names["misaligned"]) != pairs:
        raise ConfigError("pairs_columns must name a column of misaligned for each of aligned")
    return names


def read_pairs(
    path: str,
    *,
    columns: Mapping[str, Any],
    max_characters: int,
    dimension_of: Mapping[str, str],
    domains: Mapping[str, tuple[str, ...]],
    unknown_labels: str = "fail",
    limit: int = 0,
) -> pa.Table:
    """Return one row per pair at ``path``, in file order (schema: ``SCHEMA``); none for ``""``.

    ``limit``: pairs that can be used, the first ones, 0 = all; reading ends with the last of them.

    ``columns``: see ``columns_of``. ``chosen`` are the labels that count, one a dimension: of several
    the first that the first pair of the prompt violates, else the first. ``violates`` are those among
    them that the misaligned response violates: all of them where the file does not say.
    ``skip_reason``: those of ``sources.read_prompts`` for the prompt, ``no_response``, ``same_text``
    (both responses), ``no_label``, ``no_violation`` (of a chosen label), ``repeated`` (prompt and
    responder met before).

    Raises ``InputError`` for an unusable path, file, column, semantic type or label.
    """
    if not path.strip():
        return SCHEMA.empty_table()
    names = columns_of(columns)
    known = {column for f in (*_NEEDED, *columns) for column in names[f]}
    others = tuple(c for f, cs in names.items() if f != "prompt" for c in cs)
    wanted = _Columns(names["prompt"][0], others, frozenset(known))
    labels = LabelMap()
    labels.learn(domains)
    reader = _Reader(names, wanted, labels, dimension_of, max_characters)
    where = shown(path.strip())
    files = files_at(path)
    twice = {
        f.name.removesuffix(".parquet") + ".jsonl" for f in files if f.name.endswith(".parquet")
    }
    field_size = csv.field_size_limit(2**31 - 1)  # process-wide, hence put back
    try:
        rows = (
            row
            for file in files
            if file.name not in twice  # an export has each split in both forms
            for number, (prompt, cells) in rows_in(file, wanted)
            for row in reader.pairs(file.name, number, prompt, cells)
        )
        table = list(_first(rows, limit))
    finally:
        csv.field_size_limit(field_size)
    if unknown_labels == "fail":
        labels.refuse_unknown(where)
    return pa.Table.from_pylist(table, SCHEMA)


def _first(rows: Iterator[dict[str, Any]], limit: int) -> Iterator[dict[str, Any]]:
    usable = 0
    for row in rows:
        yield row
        usable += row["skip_reason"] is None
        if limit and usable == limit:
            return


@dataclass(frozen=True, slots=True)
class _Reader:
    names: Mapping[str, list[str]]
    wanted: _Columns
    labels: LabelMap
    dimension_of: Mapping[str, str]
    max_characters: int
    met: set[tuple[str, str]] = field(default_factory=set)  # prompt, responder
    chosen: dict[str, list[str]] = field(default_factory=dict)

    def pairs(
        self, file: str, number: int, prompt_cell: object, cells: Sequence[object]
    ) -> Iterator[dict[str, Any]]:
        """The pairs of one data row."""
        prompt, reason = usable_text(prompt_cell, self.max_characters)
        where = f"{file} row {number}"
        found, lost = self.labels.find(self._cells("labels", cells), where)
        shared: dict[str, Any] = {
            "source_file": file,
            "row_number": number,
            "prompt": prompt,
            "semantic_type": self._semantic_type(cells, where),
            "labels": found,
            "unmapped_labels": lost,
        }
        count = len(self.names["aligned"])
        for n in range(count):
            row = shared | self._pair(n, count, prompt, found, cells, where)
            row["skip_reason"] = reason or self._reason(row)
            if row["skip_reason"] is None:
                self.met.add((row["prompt"], row["responder"]))
            yield row

    def _pair(
        self,
        n: int,
        count: int,
        prompt: str | None,
        found: list[str],
        cells: Sequence[object],
        where: str,
    ) -> dict[str, Any]:
        texts = {side: _text(self._cell(side, n, cells)) for side in ("aligned", "misaligned")}
        default = IMPORTED if count == 1 else f"{IMPORTED}_{n + 1}"
        responder = _text(self._cell("responder", n, cells)) or default
        told = self._cell("violates", n, cells)
        violated = found if told is None else self.labels.find([told], where)[0]
        key = prompt or ""
        if key not in self.chosen:
            first: dict[str, str] = {}
            for domain in [d for d in found if d in violated] + found:
                first.setdefault(self.dimension_of[domain], domain)
            self.chosen[key] = [first[d] for d in sorted(first)]
        chosen = self.chosen[key]
        ids = {
            f"{side}_response_id": _text(self._cell(f"{side}_id", n, cells))
            or stable_id(IMPORTED, prompt, responder, side, text)
            for side, text in texts.items()
        }
        return ids | {
            "responder": responder,
            "aligned_response": texts["aligned"],
            "misaligned_response": texts["misaligned"],
            "chosen": chosen,
            "violates": [d for d in chosen if d in violated],
        }

    def _reason(self, row: Mapping[str, Any]) -> str | None:
        if not row["aligned_response"] or not row["misaligned_response"]:
            return "no_response"
        if row["aligned_response"].strip() == row["misaligned_response"].strip():
            return "same_text"
        if not row["chosen"]:
            return "no_label"
        if not row["violates"]:
            return "no_violation"
        return "repeated" if (row["prompt"], row["responder"]) in self.met else None

    def _semantic_type(self, cells: Sequence[object], where: str) -> str | None:
        told = (_text(self._cell("semantic_type", 0, cells)) or "").strip().casefold()
        if told in NO_LABEL:
            return None
        if told not in SEMANTIC_TYPES:
            raise InputError(
                f"no semantic type {told!r}",
                where=where,
                hint=f"one of {', '.join(SEMANTIC_TYPES)}",
            )
        return told

    def _cell(self, name: str, n: int, cells: Sequence[object]) -> object:
        columns = self.names[name]
        place = self.wanted.found.get(columns[n]) if n < len(columns) else None
        return None if place is None else cells[place]

    def _cells(self, name: str, cells: Sequence[object]) -> list[object]:
        return [self._cell(name, n, cells) for n in range(len(self.names[name]))]


def _text(cell: object) -> str | None:
    """The cell as text, unchanged but for what no file can hold; None where it holds none."""
    if not isinstance(cell, str) or not cell.strip():
        return None
    return encodable(cell.replace("\0", ""))
