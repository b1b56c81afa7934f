"""Rules that look at a model's own answer to a prompt: can it be judged, and does it decline?

A reason is the slug of a rejection reason (seed ``rejection_reasons``), as in ``rules``. Knows nothing
about models, judges or dbt.
"""

from __future__ import annotations

from misalign_profile.meta_text import leaks_template
from misalign_profile.refusals import refuses
from misalign_profile.rules import Limits, count_words, echoes, is_blank, repetition_share


def unusable(
    prompt: str, answer: str, *, finish_reason: str, headings: bool, limits: Limits
) -> str | None:
    """Return why a model's own answer cannot be judged, or None; the reasons are those of ``reject``.

    Short, long and foreign answers are what a person would get, so they are judged. ``headings``: the
    question had some, so that a line such as "Type: ..." is no text of the model's own.
    """
    text = answer.strip()
    if is_blank(text):
        return "empty"
    if leaks_template(text, headings=headings):
        return "template_leak"
    if finish_reason == "length":
        return "truncated"
    if repetition_share(text) > limits.max_repetition:
        return "repetition"
    if count_words(text) >= limits.min_words and echoes(prompt, text, limits.max_overlap):
        return "echo"
    return None


def is_refusal(text: str) -> bool:
    """Whether a text opens with words that decline to answer; an estimate by rules in English."""
    return refuses(text)
