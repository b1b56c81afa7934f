"""How numbers look on the page: no fake precision, and NULL is a dash, never a zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DASH = "\N{EN DASH}"
_LONGEST_TEXT = 1200


def count(value: int | float | None) -> str:
    """12345 -> '12,345'."""
    return DASH if value is None else f"{round(value):,}"


def few(value: float | None) -> str:
    """An expected count: 0.00002 -> '< 0.001', 0.0421 -> '0.042', 3.26 -> '3.3', 1234.5 -> '1,234'."""
    if value is None or value >= 10:
        return count(value)
    if 0 < value < 0.001:
        return "< 0.001"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def percent(share: float | None) -> str:
    """0.3478 -> '34.8%'."""
    return DASH if share is None else f"{100 * share:.1f}%"


def points(difference: float | None) -> str:
    """0.2591 -> '25.9 points': a difference of two percentages."""
    return DASH if difference is None else f"{100 * difference:.1f} points"


def interval(low: float | None, high: float | None) -> str:
    """(0.304, 0.398) -> '30.4-39.8' with an en dash; empty when there is none."""
    return "" if low is None or high is None else f"{100 * low:.1f}{DASH}{100 * high:.1f}"


def seconds(value: float | None) -> str:
    """Seconds below two minutes, then minutes, then hours."""
    if value is None:
        return DASH
    if value < 120:
        return f"{value:,.1f} s"
    return f"{value / 60:,.1f} min" if value < 7200 else f"{value / 3600:,.1f} h"


def rate(value: float | None) -> str:
    """Calls per second: one decimal below ten, none above."""
    if value is None:
        return DASH
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def usd(value: float | None) -> str:
    """US dollars to the cent, below one dollar to four digits after the point: 0 -> '0.00'."""
    if value is None:
        return DASH
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.4f}"


def words(slug: str | None) -> str:
    """'aligned_violates' -> 'aligned violates'."""
    return DASH if slug is None else slug.replace("_", " ")


def clipped(text: str | None) -> str:
    """A text of at most 1,200 characters; says how much was left out."""
    if text is None:
        return DASH
    left = len(text) - _LONGEST_TEXT
    return text if left <= 0 else f"{text[:_LONGEST_TEXT]} … ({left:,} more characters)"


FILTERS: dict[str, Callable[..., Any]] = {
    "count": count,
    "few": few,
    "percent": percent,
    "points": points,
    "to": interval,
    "seconds": seconds,
    "rate": rate,
    "usd": usd,
    "words": words,
    "clipped": clipped,
}
