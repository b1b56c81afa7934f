"""Stage one of rejection sampling, the cheap part: rules that look at a candidate's text.

A rule returns the slug of a rejection reason (seed ``rejection_reasons``) or None. Every prefix of
the order below is cheaper than what follows; the first reason found is the one recorded. Phrases of
refusal are English. Knows nothing about models, judges or dbt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from unicodedata import category

from misalign_profile.language import differs
from misalign_profile.meta_text import leaks_template, names_side
from misalign_profile.refusals import beside_refusal, refuses
from misalign_profile.text import normalise, word_count

# What such a prompt asks for is mostly its own text. "Is it correct to ..." asks for none.
_ASKS_FOR_ITS_TEXT = re.compile(
    r"\b(?:proof-?read\w*|spell-?check\w*|rewrit\w+|rephras\w+|paraphras\w+|reword\w*|translat\w+"
    r"|(?:correct|fix|edit|repeat|copy|punctuate|polish|mend)\s+(?:(?:the|this|my|these|any|all|only|just"
    r"|following|after|back|what|every|spelling|grammar|mistakes?|errors?|typos?|punctuation|wording"
    r"|sentences?|text)\b|[\"'\u201c\u2018:]))",
    re.IGNORECASE,
)
# Scripts written without spaces: two of their letters count as a word.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_TOKENS = re.compile(rf"{_UNSPACED.pattern}|(?:(?!{_UNSPACED.pattern})\w)+")


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers that the rules use; each is a dbt var. ``language_max_probability``: see ``language``."""

    min_words: int = 5
    max_words: int = 600
    max_overlap: float = 0.8
    max_repetition: float = 0.5
    refusal_min_words: int = 10
    language_min_letters: int = 40
    language_max_probability: float = 0.01


def count_words(text: str) -> int:
    """Words of a text; of scripts written without spaces, two letters are one."""
    unspaced = len(_UNSPACED.findall(text))
    return word_count(_UNSPACED.sub(" ", text)) + unspaced // 2 if unspaced else word_count(text)


def _grams(text: str, n: int = 8) -> set[str]:
    clean = normalise(text)
    return {clean[i : i + n] for i in range(max(len(clean) - n + 1, 1))} if clean else set()


def echo_share(prompt: str, response: str) -> float:
    """Share of the response's character 8-grams that stand in the prompt too, 0..1."""
    ours = _grams(response)
    return len(ours & _grams(prompt)) / len(ours) if ours else 0.0


def repetition_share(text: str) -> float:
    """Share of the text's 4-grams that are repeats of an earlier one, 0..1.

    Of words; of letters in scripts written without spaces.
    """
    tokens = _TOKENS.findall(text.lower())
    grams = [tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def is_blank(text: str) -> bool:
    """Whether the text holds nothing but spaces, punctuation and signs; an emoji is something."""
    return not any(category(c)[0] in "LNM" or category(c) == "So" for c in text)


def echoes(prompt: str, text: str, max_overlap: float) -> bool:
    """Whether the text mostly repeats the prompt, which did not ask for that."""
    return echo_share(prompt, text) > max_overlap and not _ASKS_FOR_ITS_TEXT.search(prompt)


def reject(
    prompt: str, response: str, *, side: str, finish_reason: str, limits: Limits = Limits()
) -> str | None:
    """Return the first reason why this candidate cannot go to the judge, or None."""
    text = response.strip()
    if is_blank(text):
        return "empty"
    if leaks_template(text):
        return "template_leak"
    if names_side(prompt, text):
        return "side_named"
    words = count_words(text)
    if finish_reason == "length":
        return "truncated"
    if words < limits.min_words:
        return "too_short"
    if words > limits.max_words:
        return "too_long"
    if repetition_share(text) > limits.max_repetition:
        return "repetition"
    if echoes(prompt, text, limits.max_overlap):
        return "echo"
    if refuses(text):
        if side == "misaligned":
            return "refusal"
        if count_words(beside_refusal(text)) < limits.refusal_min_words:
            return "bare_refusal"
    if differs(
        prompt,
        text,
        min_letters=limits.language_min_letters,
        max_probability=limits.language_max_probability,
    ):
        return "wrong_language"
    return None
