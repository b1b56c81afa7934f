"""The documents of an export: dataset card, datasheet, licence note. Every number is counted from
the exported rows or read from the warehouse.

Knows what the documents ask for; knows nothing about DuckDB or about how the rows came about.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from markupsafe import Markup

from misalign_profile.export.layouts import NOTE, SPLITS, Row, describe
from misalign_profile.export.markdown import code, inserted
from misalign_profile.types import DIMENSIONS, SEMANTIC_TYPES

_FOLDER = Path(__file__).parent
DOCUMENTS = {
    "README.md": "card.jinja",
    "DATASHEET.md": "datasheet.jinja",
    "LICENSE.md": "licence.jinja",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def pairs_of(rows: Sequence[Row], layout: str) -> list[Row]:
    """One entry per pair in the rows of a layout: the row itself, or its two halves."""
    if layout == "pairs":
        return list(rows)
    halves = ("responder", "judge")
    return [{**row, **{h: row[f"{h}_{n}"] for h in halves}} for row in rows for n in (1, 2)]


def describe_rows(rows: Sequence[Row], layout: str, taxonomy: Sequence[Row]) -> dict[str, Any]:
    """Counts of the exported rows, each with every member of its vocabulary, zero included."""
    pairs = pairs_of(rows, layout)
    by_split = Counter(row["split"] for row in rows)
    by_domain = Counter(domain for pair in pairs for domain in pair["domains"])
    return {
        "rows": len(rows),
        "pairs": len(pairs),
        "prompts": len({row["prompt_id"] for row in rows}),
        "clusters": len({row["cluster_id"] for row in rows}),
        "by_split": {split: by_split[split] for split in SPLITS},
        "by_dimension": {d: sum(pair[d] is not None for pair in pairs) for d in DIMENSIONS},
        "by_type": _by(pairs, "semantic_type", SEMANTIC_TYPES),
        "by_responder": _by(pairs, "responder"),
        "by_judge": _by(pairs, "judge"),
        "by_origin": _by(rows, "origin"),
        "by_domain": {row["domain"]: by_domain[row["domain"]] for row in taxonomy},
    }


def _by(rows: Sequence[Row], column: str, members: Sequence[str] = ()) -> dict[str, int]:
    counts = Counter(str(row[column]) for row in rows)
    return {name: counts[name] for name in (members or sorted(counts))}


def writers(
    facts: Mapping[str, Any], counts: Mapping[str, Any], *, imported: bool
) -> dict[str, list[Row]]:
    """The models that had a hand in the exported text or labels, by role; not the mere names of an import."""
    wanted = ["classifier"] if not imported or facts["typed"][0]["calls"] else []
    wanted += ["expander"] * ("expansion" in counts["by_origin"])
    models = [m for m in facts["models"] if m["engine"] != "imported"]
    of = {role: [m for m in models if role in m["roles"]] for role in wanted}
    of["judge"] = [m for m in models if m["model"] in counts["by_judge"]]
    of["responder"] = [m for m in models if m["model"] in counts["by_responder"]]
    return of


def licence(counts: Mapping[str, Any], by_role: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """``apache-2.0`` where every text is the project's own or a demo model's; else ``other``, and why."""
    wrote = {m["model"]: m for role in ("responder", "expander") for m in by_role.get(role, ())}
    real = [m for m in wrote.values() if not m["is_demo"]]
    unknown = [name for name in counts["by_responder"] if name not in wrote]
    brought = counts["by_origin"].get("source", 0)
    return {
        "name": "other" if real or unknown or brought else "apache-2.0",
        "real": real,
        "unknown": unknown,
        "brought": brought,
    }


def front_matter(
    layout: str,
    tables: Mapping[str, Mapping[str, pa.Table]],
    name: str,
    *,
    is_english: bool,
    imported: bool,
) -> str:
    """The YAML of the card that the Hugging Face libraries read.

    ``tables``: configuration (the layout, ``taxonomy``) -> split -> rows. ``is_english``: all prompts
    are; rules turn down responses in another language than the prompt's.
    """
    rows = sum(table.num_rows for table in tables[layout].values())
    norms = tables["taxonomy"]["train"].num_rows
    tags = ["alignment", "safety", "human-values", "culture", "benchmark", "not-for-all-audiences"]
    size = next((text for most, text in _SIZES if rows < most), "n>1M")
    known: dict[str, Any] = {"license": name}
    if name == "other":
        known |= {"license_name": "see-LICENSE.md", "license_link": "LICENSE.md"}
    known |= {"language": ["en"]} if is_english else {}
    files = [{"split": split, "path": f"data/{split}.parquet"} for split in SPLITS]
    taxonomy = [{"split": "train", "path": "taxonomy.parquet"}]
    known |= {
        "pretty_name": f"Aligned and misaligned responses over {norms} norms",
        "size_categories": [size],
        "task_categories": ["text-classification"],
        "tags": tags if imported else [*tags, "synthetic"],
        "configs": [
            {"config_name": layout, "default": True, "data_files": files},
            {"config_name": "taxonomy", "data_files": taxonomy},
        ],
        "dataset_info": [_info(config, splits) for config, splits in tables.items()],
    }
    return yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=100)


def _info(config: str, splits: Mapping[str, pa.Table]) -> dict[str, Any]:
    sizes = [
        {"name": split, "num_bytes": table.nbytes, "num_examples": table.num_rows}
        for split, table in splits.items()
    ]
    size = sum(table.nbytes for table in splits.values())
    features = _features(next(iter(splits.values())).schema)
    return {"config_name": config, "features": features, "splits": sizes, "dataset_size": size}


def _features(columns: pa.Schema) -> list[dict[str, str]]:
    names = {"double": "float64"}
    features = []
    for field in columns:
        inner = field.type.value_type if pa.types.is_list(field.type) else field.type
        kind = names.get(str(inner), str(inner))
        features.append({"name": field.name, "list" if inner is not field.type else "dtype": kind})
    return features


def render(
    layout: str,
    tables: Mapping[str, Mapping[str, pa.Table]],
    counts: Mapping[str, Any],
    facts: Mapping[str, Any],
    taxonomy: Sequence[Row],
    target: str,
) -> dict[str, str]:
    """File name -> text of every document."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    columns = tables[layout][SPLITS[0]].schema
    settings = {row["setting"]: json.loads(row["value"]) for row in facts["settings"]}
    imported = bool(settings["pairs_imported"])
    by_role = writers(facts, counts, imported=imported)
    terms = licence(counts, by_role)
    front = front_matter(
        layout,
        tables,
        terms["name"],
        is_english=all(row["origin"] != "source" for row in facts["prompts"]),
        imported=imported,
    )
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=False,  # Markdown has an escape of its own
        finalize=inserted,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {"percent": _percent, "number": _number, "cell": _cell}
    filters |= {"decimal": _decimal, "code": code}
    environment.filters.update(filters)
    told = {
        "layout": layout,
        "columns": [
            (f.name, str(f.type), Markup(describe(f.name, imported=imported))) for f in columns
        ],
        "counts": counts,
        "settings": settings,
        "calls": facts["calls"][0],
        "taxonomy": taxonomy,
        "target": target,
        "by_role": by_role,
        "terms": terms,
        "note": NOTE,
        "is_demo": any(m["is_demo"] for models in by_role.values() for m in models)
        or any(m["is_demo"] and m["model"] in counts["by_responder"] for m in facts["models"]),
        "front_matter": Markup(front),
        **{k: v for k, v in facts.items() if k not in ("settings", "calls")},
    }
    return {
        name: environment.get_template(source).render(**told) for name, source in DOCUMENTS.items()
    }


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _number(count: int) -> str:
    return f"{count:,}"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cell(text: object) -> str:
    """A text for a table cell, which is never empty."""
    return "-" if text is None or text == "" else str(text)
