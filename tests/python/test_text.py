"""Normalisation: the written rule, the same rule as tables, and word counts."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest

from misalign_profile.text import (
    CODE_POINTS,
    CONTEXTUAL,
    MARK,
    MAY_BE_JOINED,
    MAY_JOIN,
    characters,
    identity,
    normalise,
    word_count,
)

EVERY = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Is it FAIR?", "isitfair"),
        ("e\u0301", "é"),
        ("e\u0323\u0301", "ẹ"),  # the mark that finds no partner goes
        ("\uff21\uff22\uff23", "\uff41\uff42\uff43"),  # full width stays: NFC, not NFKC
        ("ﬁne ½ ²", "ﬁne½²"),
        ("ΌΔΟΣ Ὀδυσσεύς", "όδοσὀδυσσεύσ"),
        ("İstanbul", "istanbul"),
        ("STRAẞE", "straße"),
        ("क़\u093f", "क"),  # vowel signs and nukta are marks
        ("\u1112\u1161\u11ab-\u1100\u1161", "한가"),
        ("Fill in: ____ snake_case 1", "fillinsnakecase1"),
        ("🙂", ""),
        ("", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_normalise_joins_composed_and_decomposed() -> None:
    text = "Où est la façade du café à Zürich"
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(text)


def test_the_tables_hold_what_normalise_makes_of_each_character() -> None:
    letter, role = characters()
    found = {c: int(letter[ord(c)]) if ord(c) < CODE_POINTS else 0 for c in EVERY}
    contextual = {c for c in EVERY[: CODE_POINTS - 0x800] if role[ord(c)] == CONTEXTUAL}
    assert contextual == {c for c in EVERY if len(unicodedata.normalize("NFC", c)) > 1}
    wrong = [
        c
        for c in EVERY
        if c not in contextual and found[c] != int.from_bytes(normalise(c).encode(), "little")
    ]
    assert wrong == []


def test_no_mark_is_a_letter() -> None:
    """Else the order of marks would be of account."""
    letter, role = characters()
    marks = [ord(c) for c in EVERY if unicodedata.combining(c)]
    assert (role[marks] & (MARK | CONTEXTUAL)).all()
    assert np.isin(np.flatnonzero(role & MARK), marks).all()
    assert not letter[marks].any()


def test_the_tables_know_every_composition() -> None:
    _, role = characters()
    for character in EVERY[: CODE_POINTS - 0x800]:
        parts = unicodedata.normalize("NFD", character)
        if len(parts) == 1 or role[ord(character)] == CONTEXTUAL:
            continue
        assert role[ord(character)] & MAY_BE_JOINED, character
        assert role[ord(parts[0])] & MAY_BE_JOINED, character
        assert all(role[ord(part)] & MAY_JOIN for part in parts[1:]), character


def test_the_identity_keeps_every_character() -> None:
    letter, role = identity()
    assert not role.any()
    for character in ("a", "é", "字", "𠀀"):
        assert letter[ord(character)] == int.from_bytes(character.encode(), "little")


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), ("?!", 0), ("one", 1), ("it's two-fold", 4), ("你好", 1)]
)
def test_word_count(text: str, words: int) -> None:
    assert word_count(text) == words
