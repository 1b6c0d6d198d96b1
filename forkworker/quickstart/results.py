"""The results of the quickstart's jobs: read back, and compared with a plain sequential run."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forkworker.quickstart import jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Where two sets of results disagree; both lists hold paths of source files."""

    #: files that nobody measured
    missing: tuple[str, ...]
    #: files with other measures than expected, or with a result that nobody asked for
    different: tuple[str, ...]


def compare(expected: Mapping[str, jobs.Measures], found: Mapping[str, jobs.Measures]) -> Comparison:
    """Say which of the expected results are missing, and which of those found differ."""
    return Comparison(
        missing=tuple(sorted(expected.keys() - found.keys())),
        different=tuple(sorted(path for path, measures in found.items() if measures != expected.get(path))),
    )


def count(folder: str) -> int:
    """Return how many results are complete."""
    return len(_names(folder))


def read(folder: str) -> dict[str, jobs.Measures]:
    """Return the results in ``folder`` by the path of their source file."""
    found: dict[str, jobs.Measures] = {}
    for name in _names(folder):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            measures: jobs.Measures = json.load(file)
        found[measures["path"]] = measures
    return found


def sequential(paths: Iterable[str]) -> dict[str, jobs.Measures]:
    """Measure one file after the other, here and now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the parser has to say of odd escapes in test files
        return {path: jobs.measure(path) for path in paths}


def _names(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".json")]
