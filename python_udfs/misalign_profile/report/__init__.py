"""The report: one self-contained HTML page about a finished warehouse.

No scripts, no network requests, nothing to install for the reader. Model text is escaped.
Knows the tables of the warehouse; knows nothing about dbt, engines or how the tables came about.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from misalign_profile.errors import CheckError
from misalign_profile.report.facts import gather
from misalign_profile.report.formats import FILTERS
from misalign_profile.warehouse import Warehouse

_FOLDER = Path(__file__).parent


def write_report(warehouse: Path, out: Path) -> None:
    """Read ``warehouse`` (read-only) and write the page to ``out``.

    Raises:
        CheckError: the warehouse, a table or a column is missing, or ``out`` cannot be written.
        WarehouseBusy: another process, such as dbt, holds the warehouse.
    """
    with Warehouse(warehouse, "report") as tables:
        facts = gather(tables)
    page = _render(facts, target=warehouse.stem)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CheckError(
            f"the report cannot be written: {error.strerror}",
            where=str(out),
            hint="name another file with --out",
        ) from None


def _render(facts: dict[str, Any], target: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from misalign_profile.report.charts import alignment_charts

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template("page.jinja").render(
        **facts,
        charts=alignment_charts(
            facts["metrics"], facts["types"], facts["dimension_names"], facts["level"]
        ),
        target=target,
        written=datetime.now(UTC),
    )
