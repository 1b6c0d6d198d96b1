"""Measurements as lines of JSON: written as they come, read again for a report."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Row = dict[str, Any]


class Log:
    """A file of results."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, row: Row) -> None:
        """Append one measurement, and show it."""
        line = json.dumps(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def read(self) -> Rows:
        """Return all of them."""
        return Rows(json.loads(line) for line in self.path.read_text().splitlines())


class Rows:
    """Measurements, and what is asked of them."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, **wanted: Any) -> Rows:
        """Return those with these values."""
        return Rows(row for row in self if all(row.get(key) == value for key, value in wanted.items()))

    def good(self) -> Rows:
        """Return those that did not fail."""
        return Rows(row for row in self if "error" not in row)

    def groups(self, *keys: str) -> dict[tuple[Any, ...], Rows]:
        """Return them by the values of some keys, in the order of their first."""
        found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in self:
            found[tuple(row.get(key) for key in keys)].append(row)
        return {key: Rows(rows) for key, rows in found.items()}

    def values(self, key: str) -> list[float]:
        """Return the values of a key where it is there."""
        return [row[key] for row in self if row.get(key) is not None]

    def median(self, key: str) -> float:
        """Return the median of a key; nan if it is nowhere."""
        values = self.values(key)
        return statistics.median(values) if values else float("nan")

    def ratio(self, other: Rows, key: str) -> float:
        """Return the median of the ratios to another's values in the same round; nan if they shared none."""
        theirs = {(row["run"], row["round"]): row[key] for row in other}
        pairs = ((row[key], theirs.get((row["run"], row["round"]))) for row in self)
        ratios = [mine / their for mine, their in pairs if their]
        return statistics.median(ratios) if ratios else float("nan")
