"""Files of an export: data, taxonomy, manifest, sums, and the swap that makes them appear at once.

Everything is written into a folder beside the target, which is renamed at the end. Knows nothing
about DuckDB or about what the rows mean.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from misalign_profile.errors import CheckError

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
PROJECT = "misalign-profile"


def check_target(out: Path, *, force: bool) -> None:
    """Refuse a folder that holds anything, unless ``force`` and all of it is an earlier export's."""
    try:
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            raise CheckError("not a folder", where=str(out), hint="name a folder that may be made")
        # running a task of the export leaves compiled modules in it
        held = sorted(
            path.relative_to(out).as_posix()
            for path in out.rglob("*")
            if not path.is_dir() and path.parent.name != "__pycache__"
        )
    except OSError as error:
        raise CheckError(f"cannot be read: {error.strerror}", where=str(out)) from None
    if held and not force:
        raise CheckError(
            "the folder is not empty",
            where=str(out),
            hint="name another one, or give --force to replace an earlier export",
        )
    others = sorted(set(held) - _earlier(out))
    if held and others:
        raise CheckError(
            f"the folder holds files that no export wrote, such as {others[0]}",
            where=str(out),
            hint="move them away or name another folder; --force replaces an earlier export alone",
        )


def _earlier(out: Path) -> set[str]:
    """The files of the export in ``out``, by its own list; none where there is no such list."""
    try:
        manifest = json.loads((out / MANIFEST).read_text("utf-8"))
        lines = (out / SUMS).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return set()
    if not isinstance(manifest, dict) or manifest.get("project") != PROJECT:
        return set()
    return {line.partition("  ")[2] for line in lines} | {SUMS}


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder to write into. When the block ends well it takes the place of ``out``, else it goes."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    try:
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            out.rename(old)
        try:
            partial.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    except OSError as error:
        raise CheckError(
            f"the export cannot be written: {error.strerror or error}",
            where=str(error.filename or out),
            hint="look at free space and permissions; nothing was changed",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_data(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    """``data/<split>.parquet`` and ``.jsonl``, in the order of the rows; an empty split has its files too."""
    (folder / "data").mkdir()
    for split, table in tables.items():
        pq.write_table(table, folder / "data" / f"{split}.parquet")
        with open(folder / "data" / f"{split}.jsonl", "w", encoding="utf-8", newline="\n") as file:
            for row in table.to_pylist():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_taxonomy(folder: Path, table: pa.Table) -> None:
    """``taxonomy.parquet`` and ``.csv``."""
    pq.write_table(table, folder / "taxonomy.parquet")
    with open(folder / "taxonomy.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, table.column_names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.to_pylist())


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Texts by their path in the folder."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """``manifest.json``."""
    text = json.dumps({"project": PROJECT, **manifest}, ensure_ascii=False, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")


def write_sums(folder: Path) -> None:
    """``SHA256SUMS`` over every other file, in the form that ``sha256sum -c`` reads."""
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
