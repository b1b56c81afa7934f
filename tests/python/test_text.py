"""Fingerprints are bit-identical to the simhash package, whatever the text."""

from __future__ import annotations

import random
import unicodedata

import duckdb
import pyarrow as pa
import pytest
import xxhash
from simhash import Simhash

from misalign_profile.plugin import register
from misalign_profile.text import normalise, simhash64, word_count

RANDOM = random.Random(42)
PLANES = [range(n * 0x10000, (n + 1) * 0x10000) for n in range(17)]
SCRIPTS = [
    range(0x20, 0x7F),  # ASCII
    range(0xA0, 0x250),  # Latin with marks
    range(0x300, 0x370),  # combining marks
    range(0x370, 0x600),  # Greek, Cyrillic, Hebrew
    range(0x600, 0xE00),  # Arabic to Malayalam
    range(0x1100, 0x1200),  # Hangul jamo, which NFKC composes
    range(0x2000, 0x2070),  # spaces and joiners
    range(0x3040, 0x3100),  # kana
    range(0x4E00, 0xA000),  # CJK
    range(0xFE00, 0xFE10),  # variation selectors
    range(0xFF00, 0xFFF0),  # full-width forms
    range(0x1F300, 0x1FAFF),  # emoji
    range(0x20000, 0x20800),  # CJK extension B
]
EDGES = [
    "",
    " ",
    "\n\t",
    "?",
    "...",
    "_",
    "a",
    "ab",
    "abc",
    "abcd",
    "abcde",
    "aaaa",
    "a" * 1000,
    "\0",
    "a\0b c\0d",
    "é",
    "e\u0301",
    "ﬁne ﬁx",
    "\uff21\uff22\uff23\uff24",
    "İstanbul",
    "ß STRASSE",
    "ΌΔΟΣ ς",
    "½ ² ①",
    "한글 텍스트",
    "ᄒ\u1161ᆫ",
    "你好世界",
    "你好\uff0c世界\uff01",
    "👩\u200d👩\u200d👧\u200d👦",
    "👍🏽👍🏿",
    "🇫🇷🇯🇵",
    "\u202eabc\u202c",
    "\ufeffabcd",
    "क्षत्रिय",
    "ﷺ",
    "\U0010ffff",
    "x" * 31,
    "🙂" * 7,
    "\U0001d573\U0001d58a\U0001d591\U0001d591\U0001d594",
    "\u0300" * 9,
]


class Package(Simhash):
    """The package without its branch for grams that occur over 50 times: NumPy 2 overflows."""

    large_weight_cutoff = 10**9


def package(text: str) -> int:
    """The simhash package with the project's hash function: the oracle."""
    value = Package(
        normalise(text), reg=r"\w+", hashfunc=lambda b: xxhash.xxh64(b).intdigest()
    ).value
    assert isinstance(value, int)
    return value


def drawn(ranges: list[range], longest: int) -> str:
    text = (chr(RANDOM.choice(RANDOM.choice(ranges))) for _ in range(RANDOM.randint(0, longest)))
    return "".join(c for c in text if not "\ud800" <= c <= "\udfff")


def texts() -> list[str]:
    mixed = [drawn(SCRIPTS, 80) for _ in range(1_500)]
    one_script = [drawn([RANDOM.choice(SCRIPTS)], 120) for _ in range(1_500)]
    planes = [drawn([plane], 40) for plane in PLANES for _ in range(60)]
    repeated = [drawn(SCRIPTS[:2], 3) * RANDOM.randint(1, 40) for _ in range(300)]
    return EDGES + mixed + one_script + planes + repeated


def test_equals_the_package() -> None:
    rows = texts()
    found = simhash64(pa.array(rows, pa.string())).to_pylist()
    wrong = [(t, f, package(t)) for t, f in zip(rows, found, strict=True) if f != package(t)]
    assert len(rows) > 4_000
    assert wrong == []


def test_one_megabyte_equals_the_package() -> None:
    text = " ".join(drawn(SCRIPTS[:1], 12) for _ in range(160_000))
    assert len(text.encode()) > 1_000_000
    assert simhash64(pa.array([text])).to_pylist() == [package(text)]


def test_null_stays_null_and_moves_nothing() -> None:
    rows = [None, "one thing", None, "", "another", None]
    expected = [None if t is None else package(t) for t in rows]
    assert simhash64(pa.array(rows, pa.string())).to_pylist() == expected
    assert simhash64(pa.array([], pa.string())).to_pylist() == []
    assert simhash64(pa.array([None], pa.string())).to_pylist() == [None]


def test_chunks_and_slices() -> None:
    rows = [f"prompt number {n}" for n in range(50)]
    whole = simhash64(pa.array(rows))
    assert simhash64(pa.chunked_array([rows[:7], rows[7:]])).equals(whole)
    assert simhash64(pa.array(["x", *rows]).slice(1)).equals(whole)


def test_in_sql_over_several_vectors() -> None:
    con = duckdb.connect()
    register(con)
    register(con)  # harmless when it is there already
    found = con.execute(
        "select i, simhash64(case when i % 7 > 0 then 'prompt ' || i end) "
        "from range(5000) t(i) order by i"
    ).fetchall()
    wrong = [i for i, f in found if f != (package(f"prompt {i}") if i % 7 else None)]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Is it FAIR?", "isitfair"),
        ("e\u0301", "é"),
        ("\uff21\uff22\uff23", "abc"),
        ("snake_case 1", "snake_case1"),
        ("🙂", ""),
        ("", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_normalise_joins_composed_and_decomposed() -> None:
    text = "Où est la façade du café à Zürich"
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(text)


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), ("?!", 0), ("one", 1), ("it's two-fold", 4), ("你好", 1)]
)
def test_word_count(text: str, words: int) -> None:
    assert word_count(text) == words
