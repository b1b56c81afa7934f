"""A user's prompts and their labels, from a file, a folder or a URL, as one Arrow table.

Trouble with the file is an ``InputError``; trouble with a row is a row with a ``skip_reason``.
Knows nothing about dbt, DuckDB, seeds or models.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from misalign_profile.errors import ConfigError, InputError

_LABELS = pa.list_(pa.string())
SCHEMA = pa.schema(
    {"source_file": pa.string(), "row_number": pa.int64(), "prompt": pa.string()}
    | {"skip_reason": pa.string(), "labels": _LABELS, "unmapped_labels": _LABELS}
)
KINDS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".txt")
NO_LABEL = frozenset({"", "none", "unknown", "nan"})
_KNOWN = f"known: {' '.join(KINDS)}, the text ones also with .gz"
_PACKAGES = {"hf": "huggingface_hub", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
_PACKAGES |= {"abfs": "adlfs", "http": "aiohttp requests", "https": "aiohttp requests"}
_MAGIC = {b"\x1f\x8b": "gzip", b"PAR1": "Parquet", b"PK\x03\x04": "zip or spreadsheet"}
_WORD = re.compile(r"[^\W_]")
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ONLINE = "check the path, the network and the credentials in the environment"

_Rows = Iterator[tuple[object, tuple[object, ...]]]  # text cell, label cells
_Read = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class _File:
    """One file to read: its name in the table, its name in errors, and its bytes on demand."""

    name: str
    where: str
    read: _Read


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns to take."""

    text: str
    labels: tuple[str, ...]

    def among(self, columns: Sequence[str], where: str) -> list[str]:
        """Return the names that the file has for them, the text first; case decides last."""
        picked = []
        for name in (self.text, *self.labels):
            found = [column for column in columns if column == name]
            found = found or [c for c in columns if c.strip().casefold() == name.strip().casefold()]
            if len(found) != 1:
                what = f"{'more than one' if found else 'no'} column named {name!r}"
                hint = f"the columns are: {', '.join(map(_cut, columns)) or 'none'}"
                raise InputError(what, where=where, hint=hint)
            picked += found
        return picked


def read_prompts(
    path: str,
    *,
    text_column: str = "prompt",
    label_columns: Sequence[str] = (),
    limit: int = 0,
    max_characters: int = 20_000,
    domains: Mapping[str, tuple[str, ...]],
    unknown_labels: str = "fail",
) -> pa.Table:
    """Return one row per data row at ``path``, in file order (schema: ``SCHEMA``).

    ``path``: a file, a folder (its first level, hidden files left out), a URL that fsspec opens, or
    ``""`` for an empty table. Blank lines between CSV or JSON records are no rows; in a .txt file
    they are rows without text. ``source_file`` is the path as given (an https or ftp URL without
    user info and query, which may hold secrets) or the name of the folder's member.
    ``limit``: stop after so many usable prompts over all files, 0 for all; the rest is not read.
    ``max_characters``: longest usable prompt, in code points after stripping.
    ``skip_reason``: ``no_text`` (no letter or digit), ``too_long`` or ``not_text`` (no string, or
    half a surrogate pair); the prompt is then NULL. ``domains``: slug -> every other name it has.

    Raises ``InputError`` for an unusable path, file, column, vocabulary or (``unknown_labels`` =
    ``"fail"``) label, ``ConfigError`` for an argument out of range.
    """
    if unknown_labels not in ("fail", "list") or limit < 0 or max_characters < 1:
        hint = "unknown_labels is fail or list, limit 0 (all) or more, max_characters 1 or more"
        raise ConfigError(f"{unknown_labels=}, {limit=}, {max_characters=}", hint=hint)
    names = (label_columns,) if isinstance(label_columns, str) else tuple(label_columns)
    wanted = Wanted(text_column, names)
    where, labels = shown(path.strip()), LabelMap()
    labels.learn(domains)
    table: list[tuple[object, ...]] = []
    field_size = csv.field_size_limit(2**31 - 1)  # process-wide, hence put back
    try:
        rows = ((f.name, n, *row) for f in files_at(path) for n, row in rows_in(f, wanted))
        taken = 0
        for name, number, cell, label_cells in rows:
            prompt, reason = usable_text(cell, max_characters)
            row = f"row {number}" if name == where else f"{name} row {number}"
            table.append((name, number, prompt, reason, *labels.find(label_cells, row)))
            taken += reason is None
            if limit and taken == limit:
                break
    finally:
        csv.field_size_limit(field_size)
    if unknown_labels == "fail":
        labels.refuse_unknown(where)
    columns = zip(*table, strict=True) if table else ((),) * len(SCHEMA)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA)


def usable_text(cell: object, max_characters: int) -> tuple[str | None, str | None]:
    """Return the prompt, or None and the reason why the cell holds no usable one."""
    if cell is None or cell != cell:  # NaN is how data frames write a missing text
        return None, "no_text"
    if not isinstance(cell, str) or (not cell.isascii() and _LONE_SURROGATE.search(cell)):
        return None, "not_text"
    text = cell.replace("\0", "").strip()
    if not _WORD.search(text):
        return None, "no_text"
    return (text, None) if len(text) <= max_characters else (None, "too_long")


# Labels


def _key(label: str) -> str:
    """What two spellings of one label share: letters and digits, case folded."""
    return "".join(c for c in unicodedata.normalize("NFKC", label).casefold() if c.isalnum())


@dataclass(slots=True)
class LabelMap:
    """Label spellings to slugs, and what was met that has no slug."""

    slugs: dict[str, str] = field(default_factory=dict)
    cells: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    unknown: dict[str, tuple[int, str]] = field(default_factory=dict)  # label -> count, first row

    def learn(self, domains: Mapping[str, tuple[str, ...]]) -> None:
        """Take the domains in; a spelling shared by two of them is an ``InputError``."""
        for slug, others in domains.items():
            for name in (slug, *filter(None, others)):
                other = self.slugs.setdefault(_key(name), slug)
                if other != slug:
                    what = f"label {name!r} stands for both {other} and {slug}"
                    raise InputError(what, where="domains", hint="keep it for one of them")

    def find(self, cells: Sequence[object], row: str) -> tuple[list[str], list[str]]:
        """Return the slugs and the unmapped labels of a row, each once, in the order met."""
        mapped: dict[str, None] = {}
        unmapped: dict[str, None] = {}
        for cell in flat(cells):
            if cell not in self.cells:
                self.cells[cell] = self._split(cell)
            found, lost = self.cells[cell]
            mapped.update(dict.fromkeys(found))
            unmapped.update(dict.fromkeys(lost))
        for label in unmapped:
            count, first = self.unknown.get(label, (0, row))
            self.unknown[label] = (count + 1, first)
        return list(mapped), list(unmapped)

    def _split(self, cell: str) -> tuple[list[str], list[str]]:
        cell = _LONE_SURROGATE.sub("\ufffd", cell.replace("\0", ""))
        parts = [part.strip() for part in re.split(r"[;|]", cell)]
        parts = [part for part in parts if part.casefold() not in NO_LABEL]
        slugs = [self.slugs.get(_key(part)) for part in parts]
        lost = [part for part, slug in zip(parts, slugs, strict=True) if slug is None]
        return [slug for slug in slugs if slug], lost

    def refuse_unknown(self, where: str) -> None:
        """Raise ``InputError`` naming the commonest unknown labels, if any were met."""
        worst = sorted(self.unknown.items(), key=lambda item: -item[1][0])[:8]
        listed = [f"{_cut(label)} x{n}, first in {first}" for label, (n, first) in worst]
        if len(self.unknown) > len(worst):
            listed.append(f"and {len(self.unknown) - len(worst)} more")
        if worst:
            what = f"{len(self.unknown)} labels name no domain: {'; '.join(listed)}"
            hint = "rename them, add aliases, or set the var `unknown_labels: list`"
            raise InputError(what, where=where, hint=hint)


def flat(cells: Iterable[object]) -> Iterator[str]:
    for cell in cells:
        if isinstance(cell, (list, tuple)):
            yield from flat(cell)
        elif cell is not None:
            yield cell if isinstance(cell, str) else str(cell)


# Rows of one file


def rows_in(file: _File, wanted: Wanted) -> Iterator[tuple[int, Any]]:
    """Yield (data row from 1, its cells); a file without any is an ``InputError``."""
    where, (kind, packed) = file.where, _kind(file.name)
    with _reaching(where, _ONLINE):
        data = file.read()
    with _reaching(where, "pack or download it again"):
        data = gzip.decompress(data) if packed else data
    readers: dict[str, Callable[[str, str, Wanted], _Rows]]
    readers = {".csv": _csv_rows, ".tsv": partial(_csv_rows, delimiter="\t"), ".txt": _txt_rows}
    rows: _Rows = iter(())
    if kind == ".parquet" and data:
        rows = _parquet_rows(data, where, wanted)
    elif data.strip():
        rows = readers.get(kind, _json_rows)(_text(data, where), where, wanted)
    number = 0
    for number, row in enumerate(rows, 1):
        yield number, row
    if number == 0:
        what = "the file has no data rows" if data else "the file is empty (0 bytes)"
        raise InputError(what, where=where, hint="give it prompts")


def _text(data: bytes, where: str) -> str:
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            raise InputError(f"a {kind} file under another name", where=where, hint=_KNOWN)
    try:
        text = data.decode("utf-8")
        if text[:4096].count("\0") * 4 > len(text[:4096]):  # a NUL beside each letter
            raise UnicodeDecodeError("utf-8", data, data.index(0), len(data), "NULs as in UTF-16")
        return text.removeprefix("\ufeff").replace("\0", "")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        encoding = "UTF-16" if data[:64].count(0) > 8 else "WINDOWS-1252"
        what = f"not UTF-8 at byte offset {error.start}, line {line}: {error.reason}"
        hint = f"convert it, such as by iconv -f {encoding} -t UTF-8"
        raise InputError(what, where=where, hint=hint) from error


def _csv_rows(text: str, where: str, wanted: Wanted, delimiter: str = ",") -> _Rows:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    places: list[int] = []
    number, line = 0, 1  # the row ahead (0 is the header) and the line where it starts
    try:
        for cells in reader:
            if cells and number == 0:
                header, number = cells, 1
                places = [header.index(name) for name in wanted.among(header, where)]
            elif cells:
                if len(cells) > len(header) and any(cells[len(header) :]):
                    raise csv.Error(f"{len(cells)} cells under {len(header)} columns")
                first, *rest = [cells[place] if place < len(cells) else None for place in places]
                yield first, tuple(rest)
                number += 1
            line = reader.line_num + 1
    except csv.Error as error:
        row = f", row {number}" if number else ", header"
        hint = f'see line {line}: quote a cell that holds a separator, write a quote in it as ""'
        raise InputError(f"broken CSV: {error}", where=where + row, hint=hint) from error


def _txt_rows(text: str, where: str, wanted: Wanted) -> _Rows:
    if wanted.labels:
        wanted.among([wanted.text], where)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    yield from ((line, ()) for line in lines)


def _json_rows(text: str, where: str, wanted: Wanted) -> _Rows:
    values = _json_values(text, where)
    keys = list(dict.fromkeys(key for value in values if isinstance(value, dict) for key in value))
    # An array of strings has no columns.
    first, *rest = wanted.among(keys, where) if keys or wanted.labels else [""]
    for value in values:
        cells = value if isinstance(value, dict) else {first: value}
        yield cells.get(first), tuple(map(cells.get, rest))


def _json_values(text: str, where: str) -> list[object]:
    """Return the elements of a JSON array, or of JSON lines, whatever the file's suffix says."""
    values: list[object] = []
    line = 0
    try:
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        for line, record in enumerate(text.split("\n"), 1):  # noqa: B007  named in the error
            if record.strip():
                values.append(json.loads(record))
        return values
    except (ValueError, RecursionError) as error:  # also a number of too many digits
        row = f", row {len(values) + 1}" if line else ""
        what = f"at line {line or getattr(error, 'lineno', 1)}: {getattr(error, 'msg', error)}"
        hint = "use one JSON array of objects, or one object a line"
        raise InputError(f"broken JSON {what}", where=where + row, hint=hint) from error


def _parquet_rows(data: bytes, where: str, wanted: Wanted) -> _Rows:
    with _reaching(where, "write or download it again, with text as UTF-8 strings"):
        file = pq.ParquetFile(pa.BufferReader(data))
        names = wanted.among(file.schema_arrow.names, where)
        for batch in file.iter_batches(columns=list(dict.fromkeys(names))):
            for first, *rest in zip(*(batch.column(n).to_pylist() for n in names), strict=True):
                yield first, tuple(rest)


# Files behind a path


def _kind(name: str) -> tuple[str, bool]:
    """Return the kind (one of ``KINDS`` or "") by the name's end, and whether it is gzipped."""
    name = name.lower()
    packed = name.endswith(".gz")
    kind = os.path.splitext(name.removesuffix(".gz"))[1]
    return (kind if kind in KINDS and not (packed and kind == ".parquet") else ""), packed


def files_at(path: str) -> list[_File]:
    path = path.strip()
    if not path:
        return []
    where = shown(path)
    members, read = _remote(path) if "://" in path else _local(path)
    if read:
        if not _kind(where)[0]:
            raise InputError("the file is not of a known kind", where=where, hint=_KNOWN)
        return [_File(where, where, read)]
    names = [name for name in sorted(members) if _kind(name)[0] and not name.startswith(".")]
    if not names:
        hint = f"{_KNOWN}; subfolders are not searched"
        raise InputError("the folder has no file of a known kind", where=where, hint=hint)
    return [_File(name, f"{where.rstrip('/')}/{name}", members[name]) for name in names]


def _local(path: str) -> tuple[dict[str, _Read], _Read | None]:
    full = os.path.expanduser(path)
    with _reaching(path, f"check the path (relative ones start at {os.getcwd()})"):
        if os.path.isdir(full):
            inside = [entry.path for entry in os.scandir(full) if entry.is_file()]
            return {os.path.basename(name): Path(name).read_bytes for name in inside}, None
        if not os.path.isfile(full) and os.stat(full):
            raise OSError("not a regular file")  # a pipe would wait for ever
    return {}, Path(full).read_bytes


def _remote(path: str) -> tuple[dict[str, _Read], _Read | None]:
    scheme = path.split("://", 1)[0]
    with _reaching(path, f"pip install {_PACKAGES.get(scheme, 'the fsspec package for it')}"):
        from fsspec.core import url_to_fs

        system, inner = url_to_fs(path)
    with _reaching(path, _ONLINE):
        # An https "folder" is a page of links: a prompt with a link in it would look like one.
        if scheme not in ("http", "https") and system.info(inner)["type"] == "directory":
            inside = [e["name"] for e in system.ls(inner, detail=True) if e["type"] == "file"]
            return {n.rsplit("/", 1)[-1]: partial(system.cat_file, n) for n in inside}, None
    return {}, partial(system.cat_file, inner)


@contextmanager
def _reaching(path: str, hint: str) -> Iterator[None]:
    """Turn whatever opening, listing or downloading raises into an ``InputError``."""
    where = shown(path)
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError("no such file or folder", where=where, hint=hint) from error
    except PermissionError as error:
        hint = "chmod +r it, or check the credentials"
        raise InputError("no permission to read it", where=where, hint=hint) from error
    except Exception as error:  # each filesystem package has errors of its own
        said = (str(error).replace(path, where).strip().splitlines() or [""])[0][:300]
        what = f"cannot be read: {type(error).__name__}: {said}"
        raise InputError(what, where=where, hint=hint) from error


def shown(path: str) -> str:
    """Return the path without what may be secret in a URL: user info and query."""
    if not re.match(r"https?://|s?ftp://", path):
        return path
    parts = urlsplit(path)
    return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"


def _cut(text: str, longest: int = 60) -> str:
    return repr(text if len(text) <= longest else text[: longest - 3] + "...")
