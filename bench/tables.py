"""Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: ratios below have a decimal
_FEW = 10


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table's lines."""
    lines = [list(heads), ["---"] * len(heads), *([str(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" if line[0] != "---" else "|" + "|".join(line) + "|" for line in lines]


def number(value: float, digits: int = 0) -> str:
    """Return a number for people; a dash for none."""
    return "-" if value != value else f"{value:,.{digits}f}"  # noqa: PLR0124 - nan


def times(value: float) -> str:
    """Return a ratio."""
    return "-" if value != value else f"{value:.1f}x" if value < _FEW else f"{value:.0f}x"  # noqa: PLR0124 - nan
