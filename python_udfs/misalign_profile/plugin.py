"""dbt-duckdb plugin: registers the project's SQL functions on every connection. Nothing else.

A further function is one more line of ``FUNCTIONS``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb.sqltypes import UBIGINT, UTINYINT, VARCHAR

from misalign_profile.fingerprints import simhash64, simhash64_package
from misalign_profile.neighbours import near_duplicate_pairs

PAIR = "struct(fingerprint_a ubigint, fingerprint_b ubigint, distance utinyint)"


class SqlFunction(NamedTuple):
    """A function from Arrow arrays to an Arrow array, and its name and types in SQL.

    DuckDB calls it with vectors of up to 2,048 rows, from several threads, and not at all for rows
    in which an argument is null: their result is null.
    """

    name: str
    function: Callable[..., Any]
    arguments: list[Any]
    returns: Any


FUNCTIONS = (
    SqlFunction("simhash64", simhash64, [VARCHAR], UBIGINT),
    SqlFunction("simhash64_package", simhash64_package, [VARCHAR], UBIGINT),
    SqlFunction("near_duplicate_pairs", near_duplicate_pairs, ["ubigint[]", UTINYINT], f"{PAIR}[]"),
)


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the SQL functions on a connection; harmless where they are there already."""
    for name, function, arguments, returns in FUNCTIONS:
        with suppress(duckdb.NotImplementedException, duckdb.CatalogException):
            connection.create_function(name, function, arguments, returns, type="arrow")


class Plugin(BasePlugin):
    """Found by dbt-duckdb through ``plugins: - module: misalign_profile.plugin``."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        register(conn)
