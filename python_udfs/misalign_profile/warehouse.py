"""Read-only access to the warehouse file; what is missing becomes one plain line.

Knows DuckDB; knows nothing about what the tables mean.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from misalign_profile.errors import CheckError, WarehouseBusy

Row = dict[str, Any]


class Warehouse:
    """A DuckDB file, opened read-only and held until the block ends; answers with lists of dicts.

    ``reader`` is a word for whoever reads, such as ``report``: error lines name it.
    """

    def __init__(self, path: Path, reader: str) -> None:
        self.path = path
        self.reader = reader
        if not path.is_file():
            raise CheckError(
                f"there is no warehouse for the {reader}",
                where=str(path),
                hint=f"build it first: misalign run --target {path.stem}",
            )
        try:
            self._connection = duckdb.connect(str(path), read_only=True)
        except duckdb.Error as error:
            first = _first_line(error)
            if "lock" in first.lower():
                raise WarehouseBusy(
                    "another process holds the warehouse",
                    where=str(path),
                    hint=f"wait for it to end, then ask for the {reader} again",
                ) from None
            raise CheckError(
                f"the warehouse cannot be opened: {first}",
                where=str(path),
                hint="was it written by another version of DuckDB? build it again",
            ) from None

    def rows(self, table: str, query: str) -> list[Row]:
        """The rows of ``query``; ``table`` names its main table in the error line."""
        try:
            cursor = self._connection.execute(query)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]
        except duckdb.Error as error:
            raise CheckError(
                f"the {self.reader} cannot read {table}: {_first_line(error)}",
                where=str(self.path),
                hint=f"build every model again: dbt build --target {self.path.stem}",
            ) from None

    def one(self, table: str, query: str) -> Row:
        """The only row of ``query``."""
        return self.rows(table, query)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral() else float(value)
    return value


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
