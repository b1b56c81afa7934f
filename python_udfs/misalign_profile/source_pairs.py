"""A published dataset of pairs, from a file, a folder or a URL, as one Arrow table.

A row holds a prompt, its labels and one or several pairs of responses. What cannot be used is a row
with a ``skip_reason``. Knows nothing about dbt, DuckDB, seeds or models.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from misalign_profile.errors import ConfigError, InputError
from misalign_profile.pair_labels import Claim, decide
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
        ("cluster", pa.string()),
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
    "cluster": ["cluster_id"],
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
        listed = value if isinstance(value, (list, tuple)) else [value or ""]
        if not all(isinstance(column, str) for column in listed):
            raise ConfigError(
                f"pairs_columns: {name} is {value!r}, no column's name",
                hint="give a name, or a list of names, in quotes where they look like numbers",
            )
        names[name] = [column for column in listed if column]
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

    ``limit``: pairs that can be used, the first ones, 0 = all; reading ends with the row that makes
    them full (its labels may complete an earlier row of its prompt, then there is a pair more).

    ``columns``: see ``columns_of``. ``labels``, ``chosen`` and ``violates``: see ``pair_labels``. A
    cell of ``violates`` that is blank or NaN says nothing; an empty list (or the text ``[]``) says none.
    ``skip_reason``: those of ``sources.read_prompts`` for the prompt, those of ``pair_labels``,
    ``no_response``, ``same_text`` (both responses), ``unknown_semantic_type`` (with ``unknown_labels``
    = ``list``; it is then among ``unmapped_labels``).

    Raises ``InputError`` for an unusable path, file, column, semantic type, label or id, and for an id
    that two responses in use share.
    """
    if not path.strip():
        return SCHEMA.empty_table()
    names = columns_of(columns)
    known = {column for f in (*_NEEDED, *columns) for column in names[f]}
    others = tuple(c for f, cs in names.items() if f != "prompt" for c in cs)
    wanted = _Columns(names["prompt"][0], others, frozenset(known))
    labels = LabelMap()
    labels.learn(domains)
    lists = unknown_labels == "list"
    reader = _Reader(names, wanted, labels, dimension_of, max_characters, lists)
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
        table = list(reader.until(rows, limit))
    finally:
        csv.field_size_limit(field_size)
    if unknown_labels == "fail":
        labels.refuse_unknown(where)
    reader.decide()
    _refuse_shared_ids(table)
    return pa.Table.from_pylist(table, SCHEMA)


@dataclass(frozen=True, slots=True)
class _Reader:
    names: Mapping[str, list[str]]
    wanted: _Columns
    labels: LabelMap
    dimension_of: Mapping[str, str]
    max_characters: int
    lists_unknown: bool
    prompts: dict[str, list[tuple[dict[str, Any], Claim]]] = field(default_factory=dict)

    def until(self, rows: Iterable[dict[str, Any]], limit: int) -> Iterator[dict[str, Any]]:
        """The rows up to the one that makes ``limit`` pairs usable; all for 0."""
        usable: dict[str, int] = {}
        total = 0
        for row in rows:
            yield row
            if limit and row["skip_reason"] is None:
                now = sum(d is None for d in self._decide(row["prompt"]))
                total += now - usable.get(row["prompt"], 0)
                usable[row["prompt"]] = now
                if total >= limit:
                    return

    def decide(self) -> None:
        """Fill in what depends on all rows of a prompt: labels that count, violated ones, reasons."""
        for prompt in self.prompts:
            self._decide(prompt, fill=True)

    def _decide(self, prompt: str, *, fill: bool = False) -> list[str | None]:
        said = self.prompts[prompt]
        decisions = decide([claim for _, claim in said], self.dimension_of)
        for (row, _), decision in zip(said, decisions, strict=True) if fill else ():
            row["skip_reason"] = decision.reason
            row["labels"] = list(decision.labels)
            row["chosen"] = list(decision.chosen)
            row["violates"] = list(decision.violates)
        return [decision.reason for decision in decisions]

    def pairs(
        self, file: str, number: int, prompt_cell: object, cells: Sequence[object]
    ) -> Iterator[dict[str, Any]]:
        """The pairs of one data row; those that may be used wait for the other rows of the prompt."""
        prompt, reason = usable_text(prompt_cell, self.max_characters)
        where = f"{file} row {number}"
        found, lost = self.labels.find(self._cells("labels", cells), where)
        kind, is_known = self._semantic_type(cells, where)
        if not is_known:
            lost, reason = [*lost, str(kind)], reason or "unknown_semantic_type"
        shared: dict[str, Any] = {
            "source_file": file,
            "row_number": number,
            "prompt": prompt,
            "semantic_type": kind if is_known else None,
            "cluster": _name(self._cell("cluster", 0, cells), "cluster", where),
            "labels": found,
            "unmapped_labels": lost,
            "chosen": [],
            "violates": [],
        }
        count = len(self.names["aligned"])
        for n in range(count):
            row = shared | self._pair(n, count, prompt, cells, where)
            row["skip_reason"] = reason or _unusable(row)
            told = self._violates(n, cells, where)
            if row["skip_reason"] is None:
                pair = (row["responder"], row["aligned_response"], row["misaligned_response"])
                said = self.prompts.setdefault(row["prompt"], [])
                said.append((row, Claim(pair, tuple(found), told)))
            yield row

    def _pair(
        self, n: int, count: int, prompt: str | None, cells: Sequence[object], where: str
    ) -> dict[str, Any]:
        texts = {side: _text(self._cell(side, n, cells)) for side in ("aligned", "misaligned")}
        default = IMPORTED if count == 1 else f"{IMPORTED}_{n + 1}"
        responder = _name(self._cell("responder", n, cells), "responder", where) or default
        ids = {
            f"{side}_response_id": _name(self._cell(f"{side}_id", n, cells), f"{side}_id", where)
            or stable_id(IMPORTED, prompt, responder, side, text)
            for side, text in texts.items()
        }
        return ids | {
            "responder": responder,
            "aligned_response": texts["aligned"],
            "misaligned_response": texts["misaligned"],
        }

    def _violates(self, n: int, cells: Sequence[object], where: str) -> tuple[str, ...] | None:
        told = self._cell("violates", n, cells)
        if _is_missing(told):
            return None
        if isinstance(told, str) and told.strip() == "[]":  # how a text file writes an empty list
            return ()
        return tuple(self.labels.find([told], where)[0])

    def _semantic_type(self, cells: Sequence[object], where: str) -> tuple[str | None, bool]:
        """The type and whether it is one; an unknown one stops the import unless it may be listed."""
        cell = _name(self._cell("semantic_type", 0, cells), "semantic_type", where)
        told = (cell or "").strip().casefold()
        if told in NO_LABEL:
            return None, True
        if told not in SEMANTIC_TYPES and not self.lists_unknown:
            raise InputError(
                f"no semantic type {told!r}",
                where=where,
                hint=f"one of {', '.join(SEMANTIC_TYPES)}; or set the var `unknown_labels: list`",
            )
        return told, told in SEMANTIC_TYPES

    def _cell(self, name: str, n: int, cells: Sequence[object]) -> object:
        columns = self.names[name]
        place = self.wanted.found.get(columns[n]) if n < len(columns) else None
        return None if place is None else cells[place]

    def _cells(self, name: str, cells: Sequence[object]) -> list[object]:
        return [self._cell(name, n, cells) for n in range(len(self.names[name]))]


def _unusable(row: Mapping[str, Any]) -> str | None:
    if not row["aligned_response"] or not row["misaligned_response"]:
        return "no_response"
    if row["aligned_response"].strip() == row["misaligned_response"].strip():
        return "same_text"
    return None


def _refuse_shared_ids(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise ``InputError`` for an id that two responses in use have."""
    first: dict[str, str] = {}
    for row in rows:
        for side in ("aligned", "misaligned") if row["skip_reason"] is None else ():
            where = f"{row['source_file']} row {row['row_number']}"
            response_id = row[f"{side}_response_id"]
            if response_id in first:
                raise InputError(
                    f"id {response_id!r} stands for two responses: {first[response_id]} and the {side} one",
                    where=where,
                    hint="give each response an id of its own, or name no column of ids: they are made then",
                )
            first[response_id] = f"the {side} one of {where}"


def _text(cell: object) -> str | None:
    """The cell as text, unchanged but for what no file can hold; None where it holds none."""
    if not isinstance(cell, str) or not cell.strip():
        return None
    return encodable(cell.replace("\0", ""))


def _name(cell: object, what: str, where: str) -> str | None:
    """A name or an id as text; whole numbers are taken as they are written."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # how data frames write whole numbers beside missing ones
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if cell is None or cell != cell or isinstance(cell, str):
        return _text(cell)
    raise InputError(
        f"{what} {cell!r} is neither a text nor a whole number",
        where=where,
        hint="name another column",
    )


def _is_missing(cell: object) -> bool:
    """Whether a cell says nothing: null, NaN, blank, or a list of nothing else. Not the empty list."""
    if isinstance(cell, (list, tuple)):
        return bool(cell) and all(map(_is_missing, cell))
    return (
        cell is None
        or cell != cell
        or (isinstance(cell, str) and cell.strip().casefold() in NO_LABEL)
    )
