"""The quickstart's app: it measures source files.  Runs in the children, and for comparison outside of them.

An ordinary app of forkworker.  Nothing in here knows that the demonstration kills its process.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import tempfile
from typing import TYPE_CHECKING, TypedDict

import forkworker

if TYPE_CHECKING:
    from collections.abc import Iterator


class Measures(TypedDict):
    """What is known of one source file."""

    path: str
    bytes: int
    lines: int
    functions: int
    classes: int
    sha256: str
    #: why the file is no Python (the standard library has such files as test data), or None
    error: str | None


def measure(path: str) -> Measures:
    """Return the measures of one source file; a pure function of its content."""
    with open(path, "rb") as file:
        content = file.read()
    functions, classes, error = outline(content)
    return {
        "path": path,
        "bytes": len(content),
        "lines": len(content.splitlines()),
        "functions": functions,
        "classes": classes,
        "sha256": hashlib.sha256(content).hexdigest(),
        "error": error,
    }


def outline(content: bytes) -> tuple[int, int, str | None]:
    """Count the functions and the classes of a source text; say why where it cannot be parsed."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        return 0, 0, f"{type(error).__name__}: {error}"
    functions = classes = 0
    for node in _statements(tree):
        functions += isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        classes += isinstance(node, ast.ClassDef)
    return functions, classes, None


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk the statements alone: expressions are most of a tree, and define no names."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case))
        ]


def result_name(path: str) -> str:
    """Return the name of the file that holds the measures of ``path``."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32] + ".json"


def write_result(folder: str, measures: Measures) -> None:
    """Write one result so that a reader sees all of it or nothing, whenever this process is killed."""
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(measures, file)
    os.replace(temporary, os.path.join(folder, result_name(measures["path"])))


@forkworker.job(name="quickstart.measure", queue="default", retry=3)
def measure_file(path: str, folder: str) -> None:
    """Measure one file and leave the result in ``folder``; running it twice does no harm."""
    write_result(folder, measure(path))
