"""What the page says about how its figures were made: the level of every interval.

Knows one row of ``dim_settings``; knows nothing about HTML.
"""

from __future__ import annotations

from misalign_profile.errors import CheckError
from misalign_profile.warehouse import Warehouse


def confidence(warehouse: Warehouse) -> str:
    """The var ``confidence_level`` that the warehouse was built with, as '95%'.

    Raises:
        CheckError: the warehouse does not tell.
    """
    table = "benchmark.dim_settings"
    told = warehouse.rows(
        table, f"select value::double as level from {table} where setting = 'confidence_level'"
    )
    if not told:
        raise CheckError(
            f"the {warehouse.reader} does not find confidence_level in {table}",
            where=str(warehouse.path),
            hint=f"build every model again: dbt build --target {warehouse.path.stem}",
        )
    return f"{100 * told[0]['level']:.6g}%"
