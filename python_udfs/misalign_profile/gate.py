"""The data quality gate: suites from plain files, run with Great Expectations over data frames.

A suite file (``expectations/*.yml`` or ``.json``) holds ``why`` and ``checks``; ``Check`` has the
keys. Exit codes: 0 passed, 1 the data failed, 2 something could not be checked (2 outranks 1). What
cannot be looked at is never a pass: a missing table, column or row counts as "could not check", and a
column named by an expectation must hold a value in every row unless the suite says otherwise, as Great
Expectations skips NULLs. Knows nothing about what the data means, about dbt, or about models.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from misalign_profile.errors import CheckError
from misalign_profile.gate_checks import FRAMES, imported
from misalign_profile.plugin import register

EXAMPLES = 3
RESULT = "result"  # in may_be_empty: the query or frame itself may give no rows
_VARIABLE = re.compile(r"\$([a-z_]+)")
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list", "column_set")
_NO_VALUE_NEEDED = {"expect_column_values_to_be_null", "expect_column_values_to_not_be_null"}


class Check(BaseModel):
    """One frame and what is expected of it.

    ``table`` is what is judged; it alone is read unless ``query`` (SQL; ``$name`` is a dbt var) or
    ``frame`` (of gate_checks.py) computes something from it. What is read or comes out must hold rows,
    but for ``may_be_empty`` and, with imported pairs, ``empty_when_imported``. ``key``: for messages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    why: str = Field(min_length=1)
    table: str = Field(pattern=r"^\w+\.\w+$")
    query: str = ""
    frame: str = ""
    key: list[str] = []
    may_be_null: list[str] = []
    may_be_empty: list[str] = []
    empty_when_imported: list[str] = []
    expectations: list[dict[str, dict[str, Any]]] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_source_one_name(self) -> Check:
        if self.query and self.frame:
            raise ValueError("give query or frame, not both")
        if any(len(expectation) != 1 for expectation in self.expectations):
            raise ValueError("an expectation is one name with its arguments")
        return self

    def wanted(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(type, arguments) of every expectation, with the implied not-null ones in front."""
        stated = [next(iter(e.items())) for e in self.expectations]
        filled = dict.fromkeys(
            column
            for kind, arguments in stated
            if kind not in _NO_VALUE_NEEDED
            for column in columns_of(arguments)
        )
        for column in filled:
            if column not in self.may_be_null:
                yield "expect_column_values_to_not_be_null", {"column": column}
        yield from stated

    def columns(self) -> list[str]:
        """All columns that the check names, each once."""
        named = [c for _, arguments in self.wanted() for c in columns_of(arguments)]
        return list(dict.fromkeys([*self.key, *named]))


class Suite(BaseModel):
    """A suite file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: str = Field(min_length=1)
    checks: list[Check] = Field(min_length=1)


@dataclass(slots=True)
class Outcome:
    """What became of one suite. ``failed`` and ``unchecked`` hold one line each."""

    name: str
    expectations: int = 0
    failed: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    passed: int = 0
    seconds: float = 0.0


def columns_of(arguments: Mapping[str, Any]) -> list[str]:
    """Columns that an expectation's arguments name."""
    columns: list[str] = []
    for argument in _COLUMN_ARGUMENTS:
        value = arguments.get(argument, [])
        columns += [value] if isinstance(value, str) else list(value)
    return columns


@cache
def _expectations() -> tuple[Any, Any]:
    """One batch definition for all frames (each more costs 30 ms), and the module, imported late (2-10 s)."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import
    logging.getLogger("great_expectations").propagate = False  # one of its loggers talks at INFO
    try:
        import great_expectations as gx
    except ImportError as error:
        raise CheckError(
            f"Great Expectations cannot be imported: {error}",
            hint="pip install 'great-expectations>=1.24,<2'",
        ) from None
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("warehouse").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("all"), gx


def load_suites(folder: Path) -> Iterator[tuple[str, Suite | CheckError]]:
    """Every suite of the folder by name; an unusable file comes as the error that says why."""
    paths = sorted(p for p in folder.glob("*") if p.suffix in (".yml", ".yaml", ".json"))
    if not paths:
        yield (
            "suites",
            CheckError(
                "there are no suites",
                where=str(folder),
                hint="restore the expectations folder from git",
            ),
        )
    for path in paths:
        try:
            yield path.stem, Suite.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (ValueError, OSError, yaml.YAMLError) as error:
            why = str(error)
            if isinstance(error, ValidationError):
                places = (
                    (".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()[:EXAMPLES]
                )
                why = "; ".join(f"{place}: {message}" for place, message in places)
            problem = f"the suite is not usable: {why}"
            yield path.stem, CheckError(problem, where=str(path), hint="correct it")


class Warehouse:
    """A read-only look at the DuckDB file. Raises ``CheckError`` for whatever is not there."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, variables: Mapping[str, Any]) -> None:
        self._connection = connection
        self._variables = variables
        rows = connection.execute(
            "select table_schema || '.' || table_name, list(column_name)"
            " from information_schema.columns group by all"
        ).fetchall()
        self._columns: dict[str, list[str]] = dict(rows)
        self._filled: dict[str, bool] = {}

    def _require(self, table: str, may_be_empty: list[str]) -> None:
        if table not in self._columns:
            raise CheckError(
                "the table is missing", where=table, hint="run dbt build, then the gate"
            )
        if table not in self._filled:
            found = self._connection.execute(f"select 1 from {table} limit 1").fetchall()
            self._filled[table] = bool(found)
        if not self._filled[table] and table not in may_be_empty:
            raise CheckError(
                "the table is empty",
                where=table,
                hint="see why in the run's log, then build it again",
            )

    def _tables_of(self, query: str) -> list[str]:
        statement = self._connection.execute("select json_serialize_sql(?::varchar)", [query])
        tree = json.loads(statement.fetchall()[0][0])
        if tree["error"]:
            raise CheckError(
                f"the query cannot be read: {tree['error_message']}", hint="correct it"
            )
        tables: list[str] = []
        nodes: list[Any] = [tree]
        while nodes:
            node = nodes.pop()
            if isinstance(node, dict):
                if node.get("type") == "BASE_TABLE" and node["schema_name"]:
                    tables.append(f"{node['schema_name']}.{node['table_name']}")
                nodes += node.values()
            elif isinstance(node, list):
                nodes += node
        return sorted(set(tables))

    def _variable(self, match: re.Match[str]) -> str:
        value = self._variables.get(match[1])
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckError(
                f"the query needs the number ${match[1]}",
                hint="set it under vars in dbt_project.yml",
            )
        return str(value)

    def frame(self, check: Check) -> pd.DataFrame:
        """The rows that a check is about. Raises ``CheckError``, ``duckdb.Error``, ``KeyError``."""
        empty = check.may_be_empty + check.empty_when_imported * imported(self._connection)
        self._require(check.table, empty)
        if check.frame:
            if check.frame not in FRAMES:
                raise CheckError(f"no frame {check.frame!r}", hint=f"one of {', '.join(FRAMES)}")
            for table in FRAMES[check.frame].reads:
                self._require(table, empty)
            frame = FRAMES[check.frame].build(self._connection, self._variables)
        elif check.query:
            query = _VARIABLE.sub(self._variable, check.query)
            for table in self._tables_of(query):
                self._require(table, empty)
            frame = self._connection.sql(query).df()
        else:
            self._refuse_missing(check.columns(), self._columns[check.table])
            columns = ", ".join(f'"{c}"' for c in check.columns()) or "*"
            frame = self._connection.sql(f"select {columns} from {check.table}").df()
        if frame.empty and not {RESULT, check.table} & set(empty):
            raise CheckError("there are no rows to check", hint="see why in the run's log")
        self._refuse_missing(check.columns(), list(frame.columns))
        return frame

    @staticmethod
    def _refuse_missing(named: list[str], present: list[str]) -> None:
        missing = [c for c in named if c not in present]
        if missing:
            raise CheckError(
                f"no column {', '.join(missing)}", hint="build the table again or correct the suite"
            )


def _sentence(kind: str, arguments: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{k}={v}" for k, v in arguments.items() if k not in _COLUMN_ARGUMENTS)
    text = kind.removeprefix("expect_").replace("_", " ")
    return f"{text} ({rest})" if rest else text


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "NULL" if value != value else f"{value:.6g}"
    return "NULL" if value is None or value is pd.NA else str(value)


def _seen(
    check: Check, arguments: Mapping[str, Any], found: Mapping[str, Any], rows: pd.DataFrame
) -> str:
    """What a failed expectation met: a count with examples, or the value that it observed."""
    if "unexpected_count" not in found:
        return f"seen {found.get('observed_value', found)}"
    columns = columns_of(arguments)
    values = found.get("partial_unexpected_list") or []
    if len(columns) == 1:
        column = rows[columns[0]]
        bad = column.isin(values)
        if not bad.any():  # the unexpected values are NULLs
            bad = column.isna()
        shown = rows.loc[bad, list(dict.fromkeys([*check.key, *columns]))].head(EXAMPLES)
        values = shown.to_dict("records")
    examples = "; ".join(
        " ".join(f"{k}={_shown(v)}" for k, v in value.items())
        for value in (v if isinstance(v, dict) else {"value": v} for v in values[:EXAMPLES])
    )
    return f"{found['unexpected_count']} of {found['element_count']} rows are not, e.g. {examples}"


def _raised(information: Mapping[str, Any]) -> str:
    """The message in Great Expectations' exception_info, which is flat or one entry a metric."""
    entries = [information, *(v for v in information.values() if isinstance(v, Mapping))]
    return next((str(e["exception_message"]) for e in entries if e.get("raised_exception")), "")


def _judge(suite: str, check: Check, frame: pd.DataFrame, outcome: Outcome) -> None:
    definition, gx = _expectations()
    from great_expectations.expectations.registry import get_expectation_impl

    wanted = list(check.wanted())
    built = [
        get_expectation_impl(kind)(**arguments, meta={"place": place})
        for place, (kind, arguments) in enumerate(wanted)
    ]
    batch = definition.get_batch({"dataframe": frame})
    # BASIC: the index of every unexpected row would take seconds on 20,000 rows.
    report = batch.validate(
        gx.ExpectationSuite(name=f"{suite}/{check.name}", expectations=built),
        result_format={"result_format": "BASIC", "partial_unexpected_count": EXAMPLES},
    )
    # Results come back in an order of their own; one that does not come back is not a pass.
    results = {r.expectation_config.meta["place"]: r for r in report.results}
    for number, (kind, arguments) in enumerate(wanted):
        result = results[number]
        place = f"{suite}/{check.name} {'.'.join([check.table, *columns_of(arguments)[:1]])}"
        raised = _raised(result.exception_info or {})
        if raised:
            outcome.unchecked.append(f"{place}: {_sentence(kind, arguments)} raised {raised}")
        elif result.success:
            outcome.passed += 1
        else:
            seen = _seen(check, arguments, result.result, frame)
            outcome.failed.append(f"{place}: expected {_sentence(kind, arguments)}; {seen}")


def _run_suite(name: str, suite: Suite | CheckError, warehouse: Warehouse) -> Outcome:
    outcome, started = Outcome(name), time.monotonic()
    if isinstance(suite, CheckError):
        outcome.unchecked.append(f"{name}: {suite}")
        return outcome
    for check in suite.checks:
        outcome.expectations += len(list(check.wanted()))
        try:
            _judge(name, check, warehouse.frame(check), outcome)
        except CheckError as error:
            outcome.unchecked.append(f"{name}/{check.name} {check.table}: {error}")
        except Exception as error:  # whatever stops a check must not pass for a success
            message = " ".join(str(error).split())[:300]
            outcome.unchecked.append(
                f"{name}/{check.name} {check.table}: {type(error).__name__}: {message}"
                " -> build the tables again or correct the suite"
            )
    outcome.seconds = time.monotonic() - started
    return outcome


def _print(outcomes: list[Outcome]) -> None:
    width = max(len(o.name) for o in outcomes)
    print(f"{'suite':<{width}}  expectations  passed  failed  unchecked  seconds")
    for o in outcomes:
        unchecked = o.expectations - o.passed - len(o.failed) or len(o.unchecked)
        print(
            f"{o.name:<{width}}  {o.expectations:>12}  {o.passed:>6}  {len(o.failed):>6}"
            f"  {unchecked:>9}  {o.seconds:>7.1f}"
        )
    for o in outcomes:
        for line in o.failed:
            print(f"FAILED  {line}")
    for o in outcomes:
        for line in o.unchecked:
            print(f"COULD NOT CHECK  {line}")


def project_variables(suites: Path) -> dict[str, Any]:
    """The vars of the dbt_project.yml beside the suites: a release is judged by what git holds."""
    path = suites.resolve().parent / "dbt_project.yml"
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["vars"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        raise CheckError(
            "the project's vars cannot be read", where=str(path), hint="restore the file from git"
        ) from None


def run_gate(warehouse: Path, suites: Path, variables: Mapping[str, Any] | None = None) -> int:
    """Check the warehouse file against all suites of a folder, print the result, return 0, 1 or 2.

    ``variables`` override the project's vars, as ``--vars`` did in the run that is judged.
    """
    try:
        if not warehouse.is_file():
            raise CheckError("there is no warehouse", where=str(warehouse), hint="run dbt build")
        known = project_variables(suites) | dict(variables or {})
        _expectations()
        with closing(duckdb.connect(str(warehouse), read_only=True)) as connection:
            register(connection)
            look = Warehouse(connection, known)
            outcomes = [_run_suite(name, suite, look) for name, suite in load_suites(suites)]
    except duckdb.Error as error:
        hint = f"[{warehouse}] -> wait until no other process holds it, or build it again"
        print("COULD NOT CHECK  the warehouse cannot be opened:", str(error).splitlines()[0], hint)
        return 2
    except CheckError as error:
        print(f"COULD NOT CHECK  {error}")
        return 2
    _print(outcomes)
    failed = sum(len(o.failed) for o in outcomes)
    unchecked = sum(len(o.unchecked) for o in outcomes)
    if unchecked:
        print(f"gate: could not check everything ({unchecked} open, {failed} failed)")
        return 2
    total = sum(o.expectations for o in outcomes)
    print(f"gate: {f'{failed} of {total} failed' if failed else f'passed, {total} expectations'}")
    return 1 if failed else 0
