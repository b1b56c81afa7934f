"""dbt-duckdb plugin: registers the project's SQL functions on every connection. Nothing else.

SQL functions: ``simhash64(varchar) -> ubigint`` (see ``text.simhash64``).
"""

from __future__ import annotations

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb.sqltypes import UBIGINT, VARCHAR

from misalign_profile.text import simhash64


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the SQL functions on a connection; harmless when they are there already."""
    try:
        connection.create_function("simhash64", simhash64, [VARCHAR], UBIGINT, type="arrow")
    except duckdb.NotImplementedException:
        pass
    except duckdb.CatalogException:
        pass


class Plugin(BasePlugin):
    """Found by dbt-duckdb through ``plugins: - module: misalign_profile.plugin``."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        register(conn)
