"""Fingerprints are bit-identical to the simhash package's: in Python, in DuckDB, in pure SQL."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import numpy as np
import pyarrow as pa
import pytest
from simhash import Simhash

from misalign_profile.fingerprints import is_contextual, simhash64, simhash64_package
from misalign_profile.plugin import FUNCTIONS, register
from misalign_profile.text import normalise

MACROS = Path(__file__).parents[2] / "macros" / "simhash64.sql"
PLANES = [range(n * 0x10000, (n + 1) * 0x10000) for n in range(17)]
LATIN = [range(0x41, 0x5B), range(0x61, 0x7B), range(0xC0, 0x250), range(0x1E00, 0x1F00)]
MARKS = [range(0x300, 0x370), range(0x1AB0, 0x1ACF), range(0x1DC0, 0x1E00), range(0x20D0, 0x20F1)]
# family -> (how many texts, longest, ranges of code points, what is done to the text drawn from them)
FAMILIES: dict[str, tuple[int, int, list[range], Callable[[str], str]]] = {
    "ascii": (20_000, 40, [range(0x80)], str),
    "ascii, longer": (2_000, 400, [range(0x20, 0x7F)], str),
    "latin, composed": (6_000, 20, LATIN, str),
    "latin and marks": (6_000, 12, [*LATIN, *MARKS], str),
    "latin, decomposed": (6_000, 12, LATIN, lambda t: unicodedata.normalize("NFD", t)),
    "vietnamese, decomposed": (
        4_000,
        12,
        [range(0x1EA0, 0x1EFA), range(0x61, 0x7B)],
        lambda t: unicodedata.normalize("NFD", t),
    ),
    "marks alone": (2_000, 9, MARKS, str),
    "greek": (4_000, 16, [range(0x370, 0x400), range(0x1F00, 0x2000), range(0x300, 0x346)], str),
    "cyrillic, hebrew": (4_000, 16, [range(0x400, 0x5F5), range(0xFB1D, 0xFB50)], str),
    "arabic": (5_000, 16, [range(0x600, 0x700), range(0x620, 0x656), range(0x8D0, 0x900)], str),
    "devanagari to malayalam": (8_000, 16, [range(0x900, 0xD80)], str),
    "hindi with nukta": (4_000, 12, [range(0x915, 0x93A), range(0x93C, 0x93D)], str),
    "thai, tibetan, burmese": (4_000, 16, [range(0xE00, 0x10A0)], str),
    "hangul": (4_000, 12, [range(0x1100, 0x1200), range(0xAC00, 0xAC80)], str),
    "hangul, decomposed": (
        2_000,
        6,
        [range(0xAC00, 0xD7A4)],
        lambda t: unicodedata.normalize("NFD", t),
    ),
    "cjk and kana": (6_000, 16, [range(0x3040, 0x3100), range(0x4E00, 0xA000)], str),
    "cjk compatibility": (2_000, 9, [range(0xF900, 0xFB00), range(0x2F800, 0x2FA1E)], str),
    "emoji and joiners": (3_000, 12, [range(0x1F300, 0x1FAFF), range(0x200B, 0x2010)], str),
    "repeated": (3_000, 3, [range(0x61, 0x64), range(0xE0, 0xE4)], lambda t: t * 45),
    "every plane": (10_000, 12, PLANES, str),
    "one plane": (17, 60, PLANES, str),
}
EDGES = [
    "", " ", "?", "_", "a", "ab", "abc", "abcd", "abcde", "aaaa", "\0", "a\0b c\0d", "é", "e\u0301",
    "ab\u0301c", "ﬁne ﬁx", "İstanbul", "ß STRASSE ẞ", "ΌΔΟΣ ς", "Σ", "\u212b\u0301", "½ ² ①", "한글",
    "ᄒ\u1161ᆫ", "\u1100-\u1161", "你好", "你好\uff0c世界\uff01", "👩\u200d👩\u200d👧", "👍🏽", "🇫🇷🇯🇵",
    "\u202eabc\u202c", "\ufeffabcd", "क्षत्रिय", "क़", "क\u093c", "न\u093c", "ﷺ", "\U0010ffff", "\u0300" * 9,
    "🙂" * 7, "\U0001d573\U0001d58a\U0001d591\U0001d591",
    "𠀀𠀁𠀂𠀃", "𠀀𠀁𠀂", "𠀀a𠀁é字", "x" * 31, "x" * 258, "x" * 259, "xy" * 200,
]  # fmt: skip


class Package(Simhash):
    """The package without its branch for grams that occur over 50 times: NumPy 2 overflows."""

    large_weight_cutoff = 10**9


def rule(text: str) -> str:
    """The normalisation rule, written a second time."""
    lower = unicodedata.normalize("NFC", text).lower().replace("\u03c2", "\u03c3")
    return re.sub(r"[\W_]", "", lower)


def package(text: str) -> int:
    return int(Package(rule(text)).value)


def known(code: int) -> bool:
    """Whether this Python knows the character; DuckDB may know newer ones."""
    return unicodedata.category(chr(code)) not in ("Cn", "Cs")


def drawn(family: str) -> list[str]:
    """The texts of a family; half of them have spaces and ASCII letters in between."""
    count, longest, ranges, change = FAMILIES[family]
    pick = random.Random(family)
    pool = [[chr(c) for c in r if known(c)] or ["x"] for r in ranges]
    texts = []
    for n in range(count):
        some = [*pool, list("abc e")] if n % 2 else pool
        letters = (pick.choice(pick.choice(some)) for _ in range(pick.randint(0, longest)))
        texts.append(change("".join(letters)))
    return texts


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return EDGES + [text for family in FAMILIES for text in drawn(family)]


@pytest.fixture(scope="module")
def expected(texts: list[str]) -> dict[str, int]:
    """What the package says, asked once for each text."""
    return {text: package(text) for text in texts}


@pytest.fixture(scope="module")
def con(texts: list[str]) -> duckdb.DuckDBPyConnection:
    """``texts (prompt)``, a null among them, in row groups small enough for several threads."""
    connection = duckdb.connect(config={"threads": 4})
    register(connection)
    connection.execute("attach ':memory:' as small (row_group_size 2048)")
    connection.register("rows", pa.table({"prompt": [*texts, None]}))
    connection.execute("create table small.texts as from rows")
    connection.execute("use small")
    return connection


def macro(call: str, implementation: str = "compiled") -> str:
    """The SQL that a call of one of the macros becomes."""

    def refuse(message: str) -> None:
        raise ValueError(message)

    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)
    environment.globals |= {
        "var": {"simhash_implementation": implementation}.__getitem__,
        "exceptions": {"raise_compiler_error": refuse},
    }
    return environment.from_string(MACROS.read_text("utf-8") + call).render().strip()


def wrong(found: Any, expected: dict[str, int]) -> list[tuple[str, int, int]]:
    """Rows (text, fingerprint) that differ from the package; null must give null."""
    rows = list(found)
    assert {text for text, _ in rows} - {None} == set(expected)
    return [(t, f, expected[t]) for t, f in rows if f != (None if t is None else expected[t])]


def test_equals_the_package(texts: list[str], expected: dict[str, int]) -> None:
    assert len(texts) >= 100_000
    found = simhash64(pa.array(texts)).to_pylist()
    assert wrong(zip(texts, found, strict=True), expected) == []


def test_equals_the_package_as_it_is_called(texts: list[str], expected: dict[str, int]) -> None:
    normal = [t for t in texts if unicodedata.is_normalized("NFC", t)]
    plain = [t for t in normal if "ς" not in t.lower() and "_" not in t]
    few = [t for t in plain[::4] if len(t) < 50]
    assert len(few) > 15_000
    assert [t for t in few if Simhash(t).value != expected[t]] == []


@pytest.mark.parametrize(
    ("family", "low", "high"),
    [
        ("ascii", 0, 0),
        ("ascii, longer", 0, 0),
        ("latin, composed", 0, 0),
        ("cjk and kana", 0, 0.1),
        ("devanagari to malayalam", 0.05, 0.6),
        ("hindi with nukta", 0.05, 0.6),
        ("latin and marks", 0.05, 0.5),
        ("latin, decomposed", 0.7, 1),
        ("hangul, decomposed", 0.7, 1),
    ],
)
def test_which_texts_python_normalises(family: str, low: float, high: float) -> None:
    assert low <= is_contextual(pa.array(drawn(family))).mean() <= high


def test_both_ways_of_normalising_are_taken(texts: list[str]) -> None:
    contextual = is_contextual(pa.array(texts)).sum()
    assert contextual > 10_000
    assert len(texts) - contextual > 50_000


@pytest.mark.parametrize("sql", ["simhash64(prompt)", "{{ simhash64_in_sql('prompt') }}"])
def test_equals_the_package_in_sql(
    con: duckdb.DuckDBPyConnection, expected: dict[str, int], sql: str
) -> None:
    found = con.execute(f"select prompt, {macro(sql)} from texts").fetchall()
    assert wrong(found, expected) == []


def test_normalises_as_sql_does(con: duckdb.DuckDBPyConnection) -> None:
    sql = macro("{{ normalised_text('prompt') }}")
    rows = con.execute(f"select prompt, {sql} from texts").fetchall()
    assert (None, None) in rows
    assert [(t, n) for t, n in rows if t is not None and n != normalise(t)] == []


@pytest.mark.parametrize("implementation", ["compiled", "package", "sql"])
def test_the_var_chooses_who_computes(
    con: duckdb.DuckDBPyConnection, expected: dict[str, int], implementation: str
) -> None:
    call = macro("{{ simhash64('prompt') }}", implementation)
    found = con.execute(f"select prompt, {call} from (from texts using sample 2000)").fetchall()
    assert [f for t, f in found if f != (None if t is None else expected[t])] == []


def test_an_unknown_implementation_is_refused() -> None:
    with pytest.raises(ValueError, match="is fast, known are compiled, package, sql"):
        macro("{{ simhash64('prompt') }}", "fast")


def test_the_file_answers_without_python(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(macro("{{ create_simhash64_sql() }}"))
        connection.execute(macro("{{ create_simhash64_sql() }}"))
    values = [None, "", "Is it fair to ask?", "Où est la façade?"]
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        connection.register("rows", pa.table({"c": values, "h": values, "hashes": values}))
        found = connection.execute(
            "select c, main.simhash64_sql(c), main.simhash64_sql(hashes) from rows "
            "where main.simhash64_sql(h) is null or main.simhash64_sql(h || '') > 0"
        ).fetchall()
    assert found == [(t, *([None if t is None else package(t)] * 2)) for t in values]


@pytest.mark.parametrize(
    "text",
    [
        "".join(random.Random(1).choices("abcdefgh Ijk.", k=1_000_000)),
        "".join(map(chr, np.random.default_rng(1).integers(0x4E00, 0x4E40, 350_000).tolist())),
        "a" * 1_000_000,
        "e\u0301t\u00e9 " * 150_000,
    ],
    ids=["letters", "ideographs", "one letter", "decomposed"],
)
def test_one_megabyte(con: duckdb.DuckDBPyConnection, text: str) -> None:
    value = package(text)
    assert len(text.encode()) >= 1_000_000
    assert simhash64(pa.array(["x", text, "y"])).to_pylist()[1] == value
    sql = macro("{{ simhash64_in_sql('prompt') }}")
    assert con.execute(f"select {sql} from (select ? as prompt)", [text]).fetchall() == [(value,)]


def test_many_threads_at_once(texts: list[str]) -> None:
    whole = simhash64(pa.array(texts))
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(simhash64, [pa.array(texts[n : n + 999]) for n in range(0, 99_900, 999)])
        assert pa.concat_arrays(list(parts)).equals(whole.slice(0, 99_900))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("function", [simhash64, simhash64_package])
def test_nulls_slices_and_chunks(function: Callable[..., pa.Array], kind: pa.DataType) -> None:
    rows = [None, "one thing", None, "", "another", "e\u0301a", None, "x" * 70, "ﷺ"] * 3
    values = [None if t is None else package(t) for t in rows]
    whole = pa.array(rows, kind)
    assert function(whole).equals(pa.array(values, pa.uint64()))
    assert function(whole.slice(5, 11)).to_pylist() == values[5:16]
    chunks = pa.chunked_array([whole.slice(0, 4), whole.slice(4, 0), whole.slice(4)])
    assert function(chunks).to_pylist() == values
    for empty in (whole.slice(0, 0), pa.chunked_array([], kind)):
        assert function(empty).equals(pa.array([], pa.uint64()))
    assert function(pa.array([None, None], kind)).to_pylist() == [None, None]


def test_what_lies_under_a_null_is_not_read() -> None:
    buffers = pa.array(["e\u0301a"]).buffers()
    hidden = pa.Array.from_buffers(pa.string(), 1, [pa.py_buffer(b"\0"), *buffers[1:]])
    assert simhash64(hidden).to_pylist() == [None]


def test_registering_twice_is_harmless() -> None:
    connection = duckdb.connect()
    register(connection)
    register(connection)
    rows = connection.execute("select function_name from duckdb_functions()").fetchall()
    assert {function.name for function in FUNCTIONS} <= {name for (name,) in rows}
