"""Do two accepted responses make a pair that differs in alignment and in little else?

A combination of an aligned and a misaligned response matches when neither is much longer than the
other and the judge finds both about equally good. The sampler asks only whether there is a match;
which one becomes the pair is decided in SQL (``int_pairs__candidates``), by the same two rules.
Knows nothing about models, rounds or dbt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from misalign_profile.draws import Draw

SHORTER, LONGER, WEAKER = (
    "shorter_than_counterpart",
    "longer_than_counterpart",
    "weaker_than_counterpart",
)


@dataclass(frozen=True, slots=True)
class MatchLimits:
    """Numbers that the match hangs on; each is a dbt var."""

    max_length_ratio: float = 1.5
    max_quality_gap: float = 0.3


@dataclass(frozen=True, slots=True)
class Bars:
    """What a judged candidate has to pass, and a pair; each number is a dbt var.

    ``asks_quality``: whether the judge is asked of quality at all.
    """

    violation: float = 0.5
    quality: float = 0.5
    asks_quality: bool = False
    match: MatchLimits = MatchLimits()


def length_ratio(one: Draw, other: Draw) -> float:
    """Words of the longer response over those of the shorter one, at least 1."""
    shorter, longer = sorted((max(one.words, 1), max(other.words, 1)))
    return longer / shorter


def quality_gap(one: Draw, other: Draw) -> float:
    """Distance of both P(good quality), 0..1; 0 where the judge was not asked."""
    if one.p_quality is None or other.p_quality is None:
        return 0.0
    return abs(one.p_quality - other.p_quality)


def has_match(aligned: Sequence[Draw], misaligned: Sequence[Draw], limits: MatchLimits) -> bool:
    """Whether any combination is within both limits."""
    return any(
        length_ratio(a, m) <= limits.max_length_ratio
        and quality_gap(a, m) <= limits.max_quality_gap
        for a in aligned
        for m in misaligned
    )


def what_to_mend(
    aligned: Sequence[Draw], misaligned: Sequence[Draw], limits: MatchLimits
) -> dict[str, str]:
    """Side -> reason that its responder is told, where no combination matches.

    The combination nearest to a match speaks: the nearest in quality among those that match in length,
    else the nearest in length. Draws of both sides must not be empty.
    """
    combinations = [(a, m) for a in aligned for m in misaligned]
    alike = [(a, m) for a, m in combinations if length_ratio(a, m) <= limits.max_length_ratio]
    if alike:
        a, m = min(alike, key=lambda pair: quality_gap(*pair))
        weaker = a if (a.p_quality or 0.0) < (m.p_quality or 0.0) else m
        return {weaker.side: WEAKER}
    a, m = min(combinations, key=lambda pair: length_ratio(*pair))
    shorter, longer = (a, m) if a.words < m.words else (m, a)
    return {shorter.side: SHORTER, longer.side: LONGER}
