"""A bar chart as SVG, readable on a light page and on a dark one."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

WIDTH, LEFT, RIGHT, ROW = 760, 230, 80, 24
#: numbers from here on need no decimals
WHOLE = 100
OURS, OTHERS, INK = "#2f7ed8", "#9aa5b1", "#7a8490"


def picture(heading: str, values: Mapping[str, float], ours: Collection[str]) -> str:
    """Return one bar for each value, the largest first."""
    most = max(values.values())
    ordered = sorted(values.items(), key=lambda item: -item[1])
    height = ROW * (len(ordered) + 2)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
        f'<g font-family="sans-serif" font-size="13" fill="{INK}">',
        f'<text x="{LEFT}" y="{ROW - 6}" font-weight="bold">{escape(heading)}</text>',
    ]
    for number, (name, value) in enumerate(ordered, 1):
        y = ROW * number + 8
        length = max(1.0, (WIDTH - LEFT - RIGHT) * value / most)
        text = f"{value:,.0f}" if most >= WHOLE else f"{value:,.2f}"
        colour = OURS if name in ours else OTHERS
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{ROW - 7}" rx="2" fill="{colour}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 13}">{text}</text>',
        ]
    return "\n".join([*lines, "</g></svg>", ""])
