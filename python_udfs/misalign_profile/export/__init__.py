"""A dataset to hand on: the pairs of a finished warehouse as files, with card, datasheet and tasks.

The same warehouse gives the same bytes. Knows the order of the parts and that a gate decides;
knows nothing about dbt or models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pyarrow as pa

from misalign_profile.errors import CheckError
from misalign_profile.export import documents, writing
from misalign_profile.export.layouts import (
    LAYOUTS,
    SPLITS,
    Row,
    as_four,
    as_pairs,
    first_two,
    schema,
)
from misalign_profile.export.reading import DatasetReader
from misalign_profile.prompts import STYLES

__all__ = ["LAYOUTS", "export_dataset"]

Gate = Callable[[Mapping[str, Any]], int]  # settings of the warehouse -> exit code of the gate
_VERSIONS = ("misalign-profile", "duckdb", "pyarrow")
_SUFFIXES = (".py", ".yaml", ".md")


def export_dataset(
    warehouse: Path,
    out: Path,
    *,
    target: str,
    gate: Gate,
    layout: str = "pairs",
    force: bool = False,
) -> dict[str, Any]:
    """Write the dataset of ``warehouse`` to the folder ``out`` and return the manifest.

    ``gate`` is asked first; a code other than 0 means that nothing is written.

    Raises:
        CheckError: no warehouse, no pairs, a cluster in two splits, a gate that did not pass (its
            exit code is then the error's), or a folder that may not be replaced or written.
        WarehouseBusy: another process, such as dbt, holds the warehouse.
    """
    out = out.expanduser().absolute()
    writing.check_target(out, force=force)
    with DatasetReader(warehouse) as reader:
        pairs, taxonomy, facts = reader.pairs(), reader.taxonomy(), reader.facts()
        settings = {row["setting"]: json.loads(row["value"]) for row in facts["settings"]}
        _pass(gate(settings), warehouse)
    positions = {p["model"]: p["position"] for p in facts["positions"] if p["target"] == target}
    if layout == "pairs":
        rows = list(as_pairs(pairs))
    else:
        rows = list(as_four(pairs, first_two(pairs, positions, str(warehouse))))
    if not rows:
        raise CheckError(
            "no prompt has pairs of both responders",
            where=str(warehouse),
            hint="export --layout pairs",
        )
    tables = {layout: _by_split(rows, schema(layout)), "taxonomy": {"train": _table(taxonomy)}}
    counts = documents.describe_rows(rows, layout, taxonomy)
    manifest = {
        "layout": layout,
        "target": target,
        "versions": {name: metadata.version(name) for name in _VERSIONS},
        "settings": settings,
        "gate": "passed",
        "calls": facts["calls"][0],
        "counts": counts,
        "pairs_in_warehouse": len(pairs),
        "models": facts["models"],
        "schema": {field.name: str(field.type) for field in schema(layout)},
    }
    with writing.appearing(out) as folder:
        writing.write_data(folder, tables[layout])
        writing.write_taxonomy(folder, tables["taxonomy"]["train"])
        texts = documents.render(
            layout, tables, counts | {"whole": len(pairs)}, facts, taxonomy, target
        )
        writing.write_texts(folder, texts)
        writing.write_texts(folder, _harness())
        writing.write_manifest(folder, manifest)
        writing.write_sums(folder)
    return manifest


def _by_split(rows: Sequence[Row], columns: pa.Schema) -> dict[str, pa.Table]:
    """A table a split, also for a split without rows."""
    return {
        split: pa.Table.from_pylist([row for row in rows if row["split"] == split], columns)
        for split in SPLITS
    }


def _table(taxonomy: Sequence[Row]) -> pa.Table:
    kinds = {name: pa.bool_() if name == "in_release" else pa.string() for name in taxonomy[0]}
    return pa.Table.from_pylist(list(taxonomy), pa.schema(list(kinds.items())))


def _pass(code: int, warehouse: Path) -> None:
    if code == 0:
        return
    what = "did not pass" if code == 1 else "could not check everything"
    error = CheckError(
        f"the quality gate {what}: nothing was written",
        where=str(warehouse),
        hint="see its lines above; what does not pass is not handed on",
    )
    error.exit_code = code
    raise error


def _harness() -> dict[str, str]:
    """The tasks for other harnesses, with the verdict templates word for word."""
    root = resources.files("misalign_profile")
    texts = {}
    for folder in ("harness", "harness/lm_eval"):
        for entry in (root / "export").joinpath(*folder.split("/")).iterdir():
            if entry.name.endswith(_SUFFIXES):
                texts[f"{folder}/{entry.name}"] = entry.read_text(encoding="utf-8")
    for style in STYLES:
        template = root / "templates" / style / "verdict.jinja"
        texts[f"harness/templates/{style}.jinja"] = template.read_text(encoding="utf-8")
    return texts
