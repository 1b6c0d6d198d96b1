"""The quickstart's pure parts: what it measures, how it compares, what it shows."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from typing import TYPE_CHECKING

import pytest

from forkworker.quickstart import jobs, progress, results, sources
from forkworker.quickstart.report import Report

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

SAMPLE = b"""\
'''A sample.'''

class Outer:
    class Inner:
        async def method(self):
            def nested(): return lambda: None

def function():
    try:
        class InTry: pass
    except ValueError:
        def in_handler(): ...

match 1:
    case 1:
        def in_case(): ...
"""

WELL = Report(
    jobs=9,
    seconds=1.0,
    sequential_seconds=2.0,
    children=3,
    recovered=4,
    lost=0,
    differences=0,
    left_behind=(),
    exit_status=0,
)


def write(folder: Path, content: bytes) -> str:
    path = folder / "sample.py"
    path.write_bytes(content)
    return str(path)


def test_measures_of_a_source_file(tmp_path: Path) -> None:
    path = write(tmp_path, SAMPLE)
    assert jobs.measure(path) == {
        "path": path,
        "bytes": len(SAMPLE),
        "lines": 16,
        "functions": 5,
        "classes": 3,
        "sha256": hashlib.sha256(SAMPLE).hexdigest(),
        "error": None,
    }


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param(b"def (:\n", "SyntaxError", id="broken syntax"),
        pytest.param(b"# coding: no-such-code\n", "SyntaxError", id="unknown encoding"),
        pytest.param(b"a = '\xff'\n", "SyntaxError", id="not UTF-8"),
        pytest.param(b"a = 1\0\n", "", id="zero byte (the error's type depends on Python)"),
    ],
)
def test_what_is_no_python_is_a_result_too(tmp_path: Path, content: bytes, error: str) -> None:
    measures = jobs.measure(write(tmp_path, content))
    assert (measures["bytes"], measures["functions"], measures["classes"]) == (len(content), 0, 0)
    assert measures["error"] is not None
    assert measures["error"].startswith(error)


def test_job_leaves_the_measures_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, SAMPLE)
    folder = tmp_path / "results"
    folder.mkdir()
    for _ in range(2):  # it may run twice
        jobs.measure_file(path, str(folder))
        assert results.read(str(folder)) == {path: jobs.measure(path)}
        assert results.count(str(folder)) == 1 == len(list(folder.iterdir()))


def test_half_written_results_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_text('{"path"')
    assert results.count(str(tmp_path)) == 0
    assert results.read(str(tmp_path)) == {}


def test_comparison_finds_what_is_missing_different_or_unasked_for(tmp_path: Path) -> None:
    good = jobs.measure(write(tmp_path, SAMPLE))
    expected = {"equal": good, "missing": good, "changed": good}
    found = {"equal": good, "changed": {**good, "lines": 0}, "unasked": good}
    comparison = results.compare(expected, found)  # type: ignore[arg-type]
    assert comparison.missing == ("missing",)
    assert comparison.different == ("changed", "unasked")
    assert results.compare(expected, expected) == results.Comparison(missing=(), different=())


def test_sequential_run_measures_each_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"'\\d'\n")
    measures = results.sequential([path])[path]
    assert measures["error"] is None, "what the parser has to say of the escape does not count"


def test_sources_are_python_files_of_the_library_alone(tmp_path: Path) -> None:
    wanted = ["b.py", "package/a.py"]
    for name in [*wanted, "site-packages/c.py", "package/__pycache__/d.py", "notes.txt"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "dangling.py").symlink_to("nowhere")
    assert sources.python_files(str(tmp_path)) == [str(tmp_path / name) for name in wanted]


def test_standard_library_is_there() -> None:
    names = [path.rpartition("/")[2] for path in sources.standard_library()]
    assert len(names) > 100
    assert "dataclasses.py" in names


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_is_redrawn_on_a_terminal_and_words_stand_above_it() -> None:
    stream = Terminal()
    shown = progress.Progress(stream)
    for done in (0, 1, 1):
        shown.show(done, 2)
    shown.say("words")
    shown.end()
    lines = stream.getvalue().replace("\r\033[K", "\r")
    zero, half = progress.bar(0, 2), progress.bar(1, 2)
    assert lines == f"\r{zero}\r{half}\rwords\n\r{half}\n"


def test_plain_lines_at_some_percentages_elsewhere() -> None:
    stream = io.StringIO()
    shown = progress.Progress(stream)
    for done in range(101):
        shown.show(done, 100)
    shown.say("words")
    shown.end()
    bars = [progress.bar(done, 100) for done in (0, 25, 50, 75, 100)]
    assert stream.getvalue().splitlines() == [*bars, "words"]


@pytest.mark.parametrize(("done", "filled"), [(0, 0), (1, 10), (4, 40)])
def test_bar_is_as_long_as_what_is_done(done: int, filled: int) -> None:
    assert progress.bar(done, 4).count("#") == filled


@pytest.mark.parametrize(
    ("fault", "well"),
    [
        ({}, True),
        ({"recovered": 0}, True),
        ({"lost": 1}, False),
        ({"differences": 1}, False),
        ({"left_behind": ("/tmp/socket",)}, False),
        ({"exit_status": -9}, False),
    ],
    ids=str,
)
def test_all_is_well_only_if_nothing_is_lost_different_or_left(fault: dict[str, object], well: bool) -> None:
    report = dataclasses.replace(WELL, **fault)  # type: ignore[arg-type]
    assert report.all_is_well is well
    assert all(str(what) in "\n".join(report.lines()) for what in report.left_behind)
