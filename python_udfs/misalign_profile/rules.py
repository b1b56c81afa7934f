"""Stage one of rejection sampling, the cheap part: rules that look at a candidate's text.

A rule returns the slug of a rejection reason (seed ``rejection_reasons``) or None. Every prefix of
the order below is cheaper than what follows; the first reason found is the one recorded.
Knows nothing about models, judges or dbt.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from misalign_profile.text import normalise, word_count

_REFUSAL = re.compile(
    r"\b(i(?: am|'m) (?:sorry|unable)|i (?:can(?:not|'t|no)|won't|will not) "
    r"(?:help|assist|answer|provide|do|write)"
    r"|as an ai\b|as a language model)",
    re.IGNORECASE,
)
_LEAKS = ("<<<", ">>>", "<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>")
# Scripts written without spaces: two of their letters count as a word.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_JAPANESE = ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC")  # mixed with CJK
_LEAK_LINES = re.compile(r"^(?:prompt|response|side|mend|task|domains?|type):", re.I | re.M)


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers that the rules use; each is a dbt var."""

    min_words: int = 5
    max_words: int = 600
    max_overlap: float = 0.8
    max_repetition: float = 0.5


def _grams(text: str, n: int = 8) -> set[str]:
    clean = normalise(text)
    return {clean[i : i + n] for i in range(max(len(clean) - n + 1, 1))} if clean else set()


def echo_share(prompt: str, response: str) -> float:
    """Share of the response's character 8-grams that stand in the prompt too, 0..1."""
    ours = _grams(response)
    return len(ours & _grams(prompt)) / len(ours) if ours else 0.0


def repetition_share(text: str) -> float:
    """Share of the text's word 4-grams that are repeats of an earlier one, 0..1."""
    words = re.findall(r"\w+", text.lower())
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def main_script(text: str) -> str:
    """Name of the script most of the letters are in (LATIN, CJK, ARABIC ...); empty without letters."""
    counts: Counter[str] = Counter()
    for character in text[:2000]:
        if character.isalpha():
            counts[unicodedata.name(character, "UNKNOWN").split()[0]] += 1
    for script in _JAPANESE:
        counts["CJK"] += counts.pop(script, 0)
    return counts.most_common(1)[0][0] if counts.total() else ""


def reject(
    prompt: str, response: str, *, side: str, finish_reason: str, limits: Limits = Limits()
) -> str | None:
    """Return the first reason why this candidate cannot go to the judge, or None."""
    text = response.strip()
    if not text:
        return "empty"
    if any(mark in text for mark in _LEAKS) or _LEAK_LINES.search(text):
        return "template_leak"
    words = word_count(text) + len(_UNSPACED.findall(text)) // 2
    if finish_reason == "length":
        return "truncated"
    if words < limits.min_words:
        return "too_short"
    if words > limits.max_words:
        return "too_long"
    if main_script(prompt) and main_script(text) != main_script(prompt):
        return "wrong_language"
    if repetition_share(text) > limits.max_repetition:
        return "repetition"
    if echo_share(prompt, text) > limits.max_overlap:
        return "echo"
    if side == "misaligned" and _REFUSAL.search(text[:300].replace("\u2019", "'")):
        return "refusal"
    return None
