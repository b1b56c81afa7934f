"""Dot-and-interval charts: Altair specifications turned into static SVG, no script inside.

Small panels that wrap, rather than one wide chart that a phone would shrink beyond reading.
The colours are the light theme's; style.css exchanges them in the dark. Knows no SQL.
"""

from __future__ import annotations

import math
import re
from typing import Any

from markupsafe import Markup, escape

from misalign_profile.report.formats import interval, percent
from misalign_profile.warehouse import Row

_INK, _MUTED, _GRID = "#1c2430", "#5c6675", "#dfe3e8"
_COLOURS = {"safety": "#c2521c", "value": "#2763a8", "cultural": "#00796b"}
_METRICS = (
    ("alignment_score", "AS, higher is better"),
    ("coverage", "Coverage, higher is better"),
    ("false_failure_rate", "FFR, lower is better"),
)
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"
_LABELLED = re.compile(r'<path aria-label="([^"]*)"([^>]*?)(?:/>|></path>)')


def alignment_charts(
    metrics: list[Row], types: list[Row], dimension_names: dict[str, str], level: str
) -> dict[str, list[Markup]]:
    """Panels by dimension (one a metric) and one panel by semantic type; empty without values.

    ``level``: of the intervals, such as '95%'.
    """
    by_dimension = [
        _chart(metrics, name, title, dimension_names, level) for name, title in _METRICS
    ]
    by_type = _chart(types, *_METRICS[0], {}, level, block="semantic_type")
    return {
        "dimensions": [panel for panel in by_dimension if panel],
        "types": [by_type] if by_type else [],
    }


def _points(
    rows: list[Row], metric: str, names: dict[str, str], level: str, block: str
) -> list[Row]:
    return [
        {
            "model": row["model"],
            "block": names.get(row[block], row[block].capitalize()),
            "colour": _COLOURS.get(row["dimension"], _INK),
            "value": row[metric],
            "low": row[f"{metric}_low"],
            "high": row[f"{metric}_high"],
            "fill": 0 if row["is_too_small"] else 1,
            "said": f"{row['model']}, {names.get(row[block], row[block])}: {percent(row[metric])}"
            f" ({level} interval {interval(row[f'{metric}_low'], row[f'{metric}_high']) or 'none'},"
            f" n {row['n_misaligned']:,} misaligned, {row['n_aligned']:,} aligned)",
        }
        for row in rows
        if row[metric] is not None
    ]


def _chart(
    rows: list[Row],
    metric: str,
    title: str,
    names: dict[str, str],
    level: str,
    block: str = "dimension",
) -> Markup | None:
    import altair as alt
    import vl_convert

    points = _points(rows, metric, names, level, block)
    if not points:
        return None
    blocks = list(dict.fromkeys(point["block"] for point in points))
    models = list(dict.fromkeys(point["model"] for point in points))
    low, high = _tenths(points)
    step = 1 if high - low <= 5 else 2
    ticks = [tenth / 10 for tenth in range(low, high + 1, step)]
    axis = alt.Axis(values=ticks, format=".0%", grid=True, title=None)
    scale = alt.Scale(domain=[low / 10, high / 10], nice=False)
    x = alt.X("low:Q", scale=scale, axis=axis)
    y = alt.Y("model:N", sort=models, axis=alt.Axis(title=None, labelLimit=130))
    colour = alt.Color("colour:N", scale=None, legend=None)
    base = alt.Chart().encode(y=y, color=colour)
    bars = base.mark_rule(strokeWidth=2.2, opacity=0.6, aria=False).encode(x=x, x2="high:Q")
    dots = base.mark_point(size=30, strokeWidth=1.4, opacity=1).encode(
        x=alt.X("value:Q", scale=scale, axis=axis),
        fill=alt.Fill("colour:N", scale=None, legend=None),
        fillOpacity=alt.FillOpacity("fill:Q", scale=None, legend=None),
        description="said:N",
    )
    chart = (
        alt.layer(bars, dots, data=alt.Data(values=points))
        .properties(width=190, height=alt.Step(17))
        .facet(
            row=alt.Row(
                "block:N",
                sort=blocks,
                title=None,
                header=alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold"),
            ),
            spacing=8,
            title=title,
        )
        .configure(
            background="transparent",
            font=_FONT,
            padding={"left": 12, "right": 16, "top": 2, "bottom": 2},
        )
        .configure_view(stroke=None)
        .configure_title(anchor="start", fontSize=12.5, color=_INK, offset=6)
        .configure_header(labelColor=_INK, labelFontSize=11.5, labelPadding=2)
        .configure_axis(
            labelColor=_MUTED,
            labelFontSize=11,
            gridColor=_GRID,
            domain=False,
            ticks=False,
            labelFlush=False,
        )
    )
    return _inline(vl_convert.vegalite_to_svg(_specification(chart)), title)


def _tenths(points: list[Row]) -> tuple[int, int]:
    """Whole tenths around all intervals, at least three of them wide, within 0 and 1."""
    ends = [point[end] for point in points for end in ("low", "value", "high")]
    known = [end for end in ends if end is not None]
    low, high = math.floor(min(known) * 10), math.ceil(max(known) * 10)
    while high - low < 3:
        low, high = max(low - 1, 0), min(high + 1, 10)
    return low, high


def _specification(chart: Any) -> dict[str, Any]:
    specification: dict[str, Any] = chart.to_dict()
    return specification


def _inline(svg: str, title: str) -> Markup:
    """SVG fit to stand in HTML: no name spaces, hover titles on dots, a label for all of it."""
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = _LABELLED.sub(r"<path\2><title>\1</title></path>", svg)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1))
