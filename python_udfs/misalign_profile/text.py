"""Text as the warehouse compares it: the normalisation rule, the same rule as tables, word counts.

The rule: NFC, lower case, final sigma as sigma, then only letters and numbers. In SQL it is the
macro ``normalised_text``. Knows nothing about dbt, DuckDB, Arrow or fingerprints.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CODE_POINTS = 0x40000  # planes 0 to 3; no letter, number or composition lies beyond
MARK, MAY_JOIN, MAY_BE_JOINED, CONTEXTUAL = 1, 2, 4, 8  # flags of `Characters.role`

_SIGMAS = "\u03c2", "\u03c3"  # the final one, and what becomes of it
_WORDS = re.compile(r"\w+")
_OTHERS = re.compile(r"[\W_]")  # blanks to fill in, "____", would outweigh all other grams
_HANGUL = ((0x1100, 0x1113), (0xAC00, 0xD7A4)), ((0x1161, 0x1176), (0x11A8, 0x11C3))


def normalise(text: str) -> str:
    """Return what the fingerprint sees: NFC, lower case, letters and numbers only (``\\w`` less ``_``).

    A final sigma becomes a sigma, so that no character's lower case depends on its neighbours.
    The SQL macro ``normalised_text`` gives the same for every character that Python knows. Python
    3.11 knows Unicode 14.0, DuckDB 2.0 knows 15.0: 4,388 letters and numbers that came in between
    are dropped here and kept there. Python 3.12 knows 15.0 too.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return _OTHERS.sub("", text.lower().replace(*_SIGMAS))


def word_count(text: str) -> int:
    """Number of runs of word characters."""
    return len(_WORDS.findall(text))


class Characters(NamedTuple):
    """``normalise`` as tables over code points, each of shape (CODE_POINTS,).

    ``letter``: UTF-8 bytes of what the character becomes, first byte lowest; 0 where it is dropped.
    ``role``: in composition, flags. ``MARK``: of a combining class other than 0; ``MAY_JOIN``: the
    second of a composition; ``MAY_BE_JOINED``: the first of one, or begins with a first;
    ``CONTEXTUAL``: no single character even alone.

    After UAX #15, a text can be normalised character by character unless it has a ``CONTEXTUAL``,
    or a ``MAY_JOIN`` of which the nearest character to the left that is no ``MARK`` is
    ``MAY_BE_JOINED``. The order of marks is of no account, since none of them is a letter.
    """

    letter: npt.NDArray[np.uint32]
    role: npt.NDArray[np.uint8]


def _utf8(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """UTF-8 of each code point, the first byte lowest; 0 for 0."""
    tail = [0x80 | codes >> shift & 0x3F for shift in (0, 6, 12)]
    two = 0xC0 | codes >> 6 | tail[0] << 8
    three = 0xE0 | codes >> 12 | tail[1] << 8 | tail[0] << 16
    four = 0xF0 | codes >> 18 | tail[2] << 8 | tail[1] << 16 | tail[0] << 24
    return np.select([codes < 0x80, codes < 0x800, codes < 0x10000], [codes, two, three], four)


def _letters(text: str, alone: dict[int, str]) -> npt.NDArray[np.uint32]:
    """What the rule makes of each code point, 0 where nothing is left."""
    lower = text.replace("İ", "I").lower().replace(*_SIGMAS)  # "İ".lower() is two characters
    codes = np.frombuffer(_OTHERS.sub("\0", lower).encode("utf-32-le"), "<u4").copy()
    for code, composed in alone.items():
        letters = normalise(composed) if len(composed) == 1 else ""
        codes[code] = ord(letters) if letters else 0
    return codes.astype(np.uint32)


def _roles(text: str, alone: dict[int, str]) -> npt.NDArray[np.uint8]:
    classes = np.fromiter(map(unicodedata.combining, text), np.uint8, CODE_POINTS)
    role = np.where(classes > 0, np.uint8(MARK), np.uint8(0))
    joined, joining = ({c for low, high in spans for c in range(low, high)} for spans in _HANGUL)
    for code, decomposition in enumerate(map(unicodedata.decomposition, text)):
        if decomposition and not decomposition.startswith("<"):
            joined.add(code)
            first, *second = (int(part, 16) for part in decomposition.split())
            if code not in alone:
                joined.add(first)
                joining.update(second)
    role[list(joined)] |= MAY_BE_JOINED
    role[list(joining)] |= MAY_JOIN
    for code, composed in alone.items():
        role[code] = role[ord(composed)] if len(composed) == 1 else CONTEXTUAL
    return role


@cache
def characters() -> Characters:
    """The tables of ``normalise``; built from ``unicodedata`` on the first call."""
    points = np.arange(CODE_POINTS, dtype="<u4")
    points[0xD800:0xE000] = 0  # surrogates are no characters
    text = points.tobytes().decode("utf-32-le")
    alone = {
        code: unicodedata.normalize("NFC", character)
        for code, character in enumerate(text)
        if not unicodedata.is_normalized("NFC", character)
    }
    return Characters(_utf8(_letters(text, alone)), _roles(text, alone))


@cache
def identity() -> Characters:
    """Tables that keep every character as it is: for text that is normalised already."""
    codes = np.arange(CODE_POINTS, dtype=np.uint32)
    return Characters(_utf8(codes), np.zeros(CODE_POINTS, np.uint8))
