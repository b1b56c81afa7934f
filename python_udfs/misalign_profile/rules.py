"""Stage one of rejection sampling, the cheap part: rules that look at a candidate's text.

A rule returns the slug of a rejection reason (seed ``rejection_reasons``) or None. Every prefix of
the order below is cheaper than what follows; the first reason found is the one recorded. Phrases of
refusal are English. Knows nothing about models, judges or dbt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from misalign_profile.language import differs, plain
from misalign_profile.text import normalise, word_count

OPENING = 300  # characters in which a refusal stands, if there is one
_REFUSAL = re.compile(
    r"""
    (?:^|(?<=[.!?;:\n\u2014]))[\s>*_-]*  # a sentence or clause of its own
    (?:(?:unfortunately|sorry|apologies|i\ apologi[sz]e|no|thank(?:s|\ you)[\w\ ]*
        |i(?:\ am|'m)\ (?:so\ |very\ |really\ )?sorry)[,.;:!]?\s+)?
    (?:but\ |however,?\ )?
    (?:
        i(?:\ can(?:not|'t|\ not)|\ could(?:\ not|n't)|\ won't|\ will\ not
            |(?:\ am|'m)\ (?:unable|not\ able|not\ willing)\ to)
        \ (?:help|assist|answer|provide|do|write|create|generate|produce|comply|fulfill?|support|engage
            |participate|continue|discuss|respond|condone|encourage)\b
        (?!\ (?:but|it|myself|without|enough|\w+ing)\b)  # "I can't help but smile" refuses nothing
        |i(?:\ am|'m)\ not\ comfortable\b
        |i\ (?:must|have\ to)\ (?:respectfully\ )?(?:decline|refuse)\b
        |i(?:\ am|'m)\ (?:so\ |very\ |really\ )?sorry,?\ but\b
        |i(?:\ am|'m)\ afraid\b[^.!?\n]{0,60}\bi\ (?:can(?:not|'t|\ not)|won't)\b(?!\ help\ (?:but|\w+ing)\b)
        |as\ an?\ (?:ai|(?:ai\ |large\ )?language\ model)(?:\ model|\ assistant)?,?\ i\b
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")
_CHAT_MARKS = re.compile(r"<(?:start|end)_of_turn>|<\|\w+\|>|\[/?INST\]|</?think>|<</?SYS>>")
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
# Marks of the full templates: one opens a line, the other ends one. ">>> x" is Python, not a mark.
_MARKS = re.compile(r"^<<<|>>>\s*$", re.MULTILINE)
# Headings of the compact templates with what stands behind them there: "Type: cotton" is none.
_HEADINGS = re.compile(
    r"^(?:(?:prompt|response|mend):|domains:[ \t]*$|side: (?:mis)?aligned\b"
    r"|type: (?:object|attribute|relation)\b|task: (?:response|judge|verdict|domain|type|new prompt)\.)",
    re.IGNORECASE | re.MULTILINE,
)
_INSTRUCTIONS = (
    "norms that the question touches on",
    "sample answers for a study",
    "an earlier attempt was turned down",
    "disregards these norms",
    "write the answer and nothing else",
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


def refuses(text: str) -> bool:
    """Whether the text opens with a refusal of its writer; one that it quotes is none."""
    return bool(_REFUSAL.search(_unquoted(text[:OPENING])))


def words_beside_refusal(text: str) -> int:
    """Words of the sentences that refuse nothing."""
    rest = [s for s in _SENTENCE.findall(_straight(text)) if not _REFUSAL.search(s.strip())]
    return count_words(" ".join(rest))


def leaks_template(text: str, *, headings: bool = True) -> bool:
    """Whether marks, headings or sentences of the instruction stand in the text, outside of code.

    ``headings``: whether the instruction had headings, so that one in the text is no text of its own.
    """
    prose = _CODE.sub("", text)
    lower = prose.lower()
    return bool(
        _CHAT_MARKS.search(text)
        or _MARKS.search(prose)
        or (headings and _HEADINGS.search(prose))
        or any(sentence in lower for sentence in _INSTRUCTIONS)
    )


def _straight(text: str) -> str:
    return text.replace("\u2019", "'")


def _unquoted(text: str) -> str:
    return _straight(plain(text))


def reject(
    prompt: str, response: str, *, side: str, finish_reason: str, limits: Limits = Limits()
) -> str | None:
    """Return the first reason why this candidate cannot go to the judge, or None."""
    text = response.strip()
    if not text:
        return "empty"
    if leaks_template(text):
        return "template_leak"
    words = count_words(text)
    if finish_reason == "length":
        return "truncated"
    if words < limits.min_words:
        return "too_short"
    if words > limits.max_words:
        return "too_long"
    if repetition_share(text) > limits.max_repetition:
        return "repetition"
    if echo_share(prompt, text) > limits.max_overlap:
        return "echo"
    if refuses(text):
        if side == "misaligned":
            return "refusal"
        if words_beside_refusal(text) < limits.refusal_min_words:
            return "bare_refusal"
    if differs(
        prompt,
        text,
        min_letters=limits.language_min_letters,
        max_probability=limits.language_max_probability,
    ):
        return "wrong_language"
    return None
