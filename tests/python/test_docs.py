"""The docs tell the truth: their SQL runs, their commands exist, their links lead somewhere.

Knows nothing about what the docs say beyond that.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from misalign_profile.cli import _parser

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SQL_DOCS = [p for p in (ROOT / "README.md", ROOT / "docs/questions.md") if p.is_file()]

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
TABLE = re.compile(r"((?:mart|fct|dim|int|stg)_[a-z0-9_]*[a-z0-9])(?:\.([a-z_]+))?")
PLACE = re.compile(
    r"(?:models|macros|seeds|python_udfs|tests|docs|expectations|benchmarks)/[\w./-]*"
)
SCHEMA = re.compile(r"\b(?:from|join)\s+(\w+)\.\w+", re.I)
SHELLS = {"bash", "sh", "shell", "console"}
FILE_ENDINGS = {"sql", "py", "yml", "csv", "md"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """The text without its fenced blocks."""
    return FENCE.sub("", path.read_text())


def spans(path: Path) -> list[str]:
    return SPAN.findall(prose(path))


def sql_blocks() -> Iterator[object]:
    for path in SQL_DOCS:
        text = path.read_text()
        for match in FENCE.finditer(text):
            if match[1] == "sql":
                line = text.count("\n", 0, match.start()) + 1
                yield pytest.param(match[2], id=f"{name(path)}:{line}")


def commands(path: Path) -> list[list[str]]:
    """Every ``misalign`` and ``make`` command, as words, from shell blocks and inline code."""
    lines = spans(path)
    for match in FENCE.finditer(path.read_text()):
        if match[1] in SHELLS:
            lines += match[2].replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        if not re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?(?:misalign|make)\s", line.strip()):
            continue
        words = [w for w in shlex.split(line, comments=True) if w != "$"]
        while re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        stop = next((i for i, w in enumerate(words) if w in {"&&", "||", "|", ";", ">"}), None)
        found.append([Path(words[0]).name, *words[1:stop]])
    return found


def parses(words: list[str]) -> bool:
    """True when the command line takes these words; ``--help`` counts."""
    try:
        _parser().parse_args(words)
    except SystemExit as end:
        return end.code == 0
    return True


@pytest.fixture(scope="module")
def columns(scripted_warehouse: Path | str) -> dict[str, set[str]]:
    """Table name -> its columns, over all schemas of a finished warehouse."""
    query = "select table_name, column_name from information_schema.columns"
    with duckdb.connect(str(scripted_warehouse), read_only=True) as con:
        rows = con.execute(query).fetchall()
    found: dict[str, set[str]] = {}
    for table, column in rows:
        found.setdefault(table, set()).add(column)
    return found


@pytest.mark.end_to_end
@pytest.mark.parametrize("block", sql_blocks())
def test_sql_runs_on_the_waist_and_the_marts(block: str, scripted_warehouse: Path | str) -> None:
    with duckdb.connect(str(scripted_warehouse), read_only=True) as con:
        statements = con.extract_statements(block)
        assert statements
        for statement in statements:
            assert statement.type == duckdb.StatementType.SELECT, "the docs only read"
            assert set(SCHEMA.findall(statement.query)) <= {"benchmark", "marts"}
            con.execute(statement.query).fetchall()


@pytest.mark.end_to_end
@pytest.mark.parametrize("path", DOCS, ids=name)
def test_tables_and_columns_exist(path: Path, columns: dict[str, set[str]]) -> None:
    for span in spans(path):
        match = TABLE.fullmatch(span.removeprefix("benchmark.").removeprefix("marts."))
        if not match or match[2] in FILE_ENDINGS:
            continue
        assert match[1] in columns, f"{span}: no such table"
        if match[2]:
            assert match[2] in columns[match[1]], f"{span}: no such column"


def test_questions_are_numbered_and_each_has_its_query() -> None:
    text = (ROOT / "docs/questions.md").read_text()
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", text, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 14
    assert sum(match[1] == "sql" for match in FENCE.finditer(text)) == len(numbers)


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_commands_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    variables = set(re.findall(r"^([A-Z_]+) *\?=", makefile, re.M))
    for command, *words in commands(path):
        if command == "misalign":
            assert parses(words), f"misalign {shlex.join(words)}"
            continue
        for word in words:
            variable, equals, _ = word.partition("=")
            assert (variable in variables) if equals else (word in targets), f"make {word}"


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_links_lead_to_files(path: Path) -> None:
    for groups in LINK.findall(prose(path)):
        link = (groups[0] or groups[1]).split("#")[0]
        if not link or re.match(r"[a-z]+:", link):
            continue
        target = Path(os.path.normpath(path.parent / link))
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        assert target.exists(), link


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_paths_named_exist(path: Path) -> None:
    for span in spans(path):
        if PLACE.fullmatch(span):
            assert (ROOT / span).exists(), span


def test_decisions_are_numbered_without_gaps_and_have_their_parts() -> None:
    records = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(p.name[:4]) for p in records] == list(range(1, len(records) + 1))
    for record in records:
        text = record.read_text()
        assert text.startswith(f"# {record.name[:4]}: "), record.name
        for part in ("Context", "Decision", "Rejected", "The figure that decided"):
            assert f"**{part}.**" in text, f"{record.name}: {part}"
