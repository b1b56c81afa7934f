"""Journals of earlier versions stay readable: a column that came later reads as empty."""

from __future__ import annotations

from pathlib import Path

import duckdb
import jinja2
import pyarrow.parquet as pq
import pytest
import yaml

from misalign_profile.errors import JournalError
from misalign_profile.journal import LATER, SCHEMA, Journal
from misalign_profile.machine import machine
from misalign_profile.types import Completion
from stub_engine import answer, request

ROOT = Path(__file__).resolve().parents[2]


def told(number: int, *failures: str) -> Completion:
    call_id = request(number).call_id
    return Completion(call_id, f"text {number}", retries=len(failures), failures=failures)


def lacking(folder: Path, *columns: str, number: int = 0) -> Path:
    """Append a call and rewrite its segment as a version without the columns wrote it."""
    journal = Journal(folder)
    before = set(journal.segments())
    journal.append([(request(number), told(number, "429"))])
    (path,) = set(journal.segments()) - before
    old = path.with_name(f"{path.stem.rpartition('-')[0]}.parquet")  # no digest in the name
    pq.write_table(pq.read_table(path).drop_columns(list(columns)), old)
    path.unlink()
    return old


def source_rows(folder: Path, columns: str) -> list[tuple[object, ...]]:
    """What the dbt source reads, by the very SQL of its yml."""
    text = (ROOT / "models/benchmark/_sources.yml").read_text("utf-8")
    (table,) = yaml.safe_load(text)["sources"][0]["tables"]
    place = {"var": {"journal_root": str(folder.parent)}.get, "target": {"name": "old"}}
    sql = jinja2.Template(table["config"]["external_location"]).render(place)
    with duckdb.connect() as con:
        return con.execute(f"select {columns} from {sql} order by call_id").fetchall()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "old_journal"


def test_failures_and_the_machine_are_kept(folder: Path) -> None:
    journal = Journal(folder)
    journal.append([(request(0), told(0, "429", "truncated"))])
    assert journal.known([request(0).call_id]) == {request(0).call_id: told(0, "429", "truncated")}
    assert journal.select("select machine from calls") == [(machine(),)]
    assert journal.verify() == (1, [])


def test_failures_are_no_part_of_the_key_or_of_the_checksum(folder: Path) -> None:
    for failures in ((), ("429",)):
        Journal(folder).append([(request(0), told(0, *failures))])
    rows = Journal(folder).select(
        "select count(distinct call_id), count(distinct checksum) from calls"
    )
    assert rows == [(1, 1)]


@pytest.mark.parametrize("columns", [["failures"], ["machine"], sorted(LATER)])
@pytest.mark.parametrize("beside_a_new_one", [False, True])
def test_a_segment_without_later_columns(
    folder: Path, columns: list[str], beside_a_new_one: bool
) -> None:
    lacking(folder, *columns)
    kept = () if "failures" in columns else ("429",)
    expected = {
        request(0).call_id: Completion(request(0).call_id, "text 0", retries=1, failures=kept)
    }
    if beside_a_new_one:
        Journal(folder).append([(request(1), told(1, "truncated"))])
        expected[request(1).call_id] = told(1, "truncated")
    journal = Journal(folder)
    assert journal.known(expected) == expected
    assert journal.verify() == (len(expected), [])
    rows = source_rows(folder, "call_id, coalesce(failures, []), coalesce(machine, '')")
    assert [(r[0], tuple(r[1])) for r in rows] == sorted(
        (c.call_id, c.failures) for c in expected.values()
    )
    assert {r[2] for r in rows} <= {machine(), ""}
    assert journal.compact(at_least=1) == len(expected)
    assert journal.known(expected) == expected
    assert journal.verify() == (len(expected), [])
    (merged,) = journal.segments()
    assert pq.read_schema(merged).names == SCHEMA.names


@pytest.mark.parametrize("column", ["retries", "checksum"])
def test_a_segment_without_a_column_of_the_first_version_is_refused(
    folder: Path, column: str
) -> None:
    path = lacking(folder, column)
    with pytest.raises(JournalError, match="journal verify"):
        Journal(folder).known([request(0).call_id])
    with pytest.raises(JournalError, match="journal verify"):
        Journal(folder).compact(at_least=1)
    assert Journal(folder).verify()[1][0].startswith(path.name)


def test_reading_alone_makes_no_folder(folder: Path) -> None:
    journal = Journal(folder, create=False)
    assert journal.known([request(0).call_id]) == {}
    assert journal.select("select call_id from calls") == []
    assert journal.verify() == (0, [])
    assert not folder.exists()


def test_two_journals_of_one_run_share_its_id(folder: Path) -> None:
    for number in range(2):
        question = request(number)
        Journal(folder, run_id="mine").append([(question, answer(question))])
    assert Journal(folder).select("select distinct run_id from calls") == [("mine",)]
