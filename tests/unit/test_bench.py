"""What the benchmarks make of their measurements: medians, ratios within a round, tables, pictures."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest
from support.documents import ROOT

from bench import bars, reports, tables
from bench.results import Log, Rows
from bench.subjects import distant, latency

pytestmark = pytest.mark.unit


def rows(system: str, *rates: float, run: int = 1) -> list[dict[str, object]]:
    return [
        {"subject": "drain", "system": system, "variant": "2x25", "run": run, "round": number, "rate": rate}
        for number, rate in enumerate(rates)
    ]


def test_ratios_are_of_one_round_and_not_of_two_medians() -> None:
    all_rows = Rows([*rows("a", 100, 30, 50), *rows("b", 10, 10, 1)])
    assert all_rows.of(system="a").ratio(all_rows.of(system="b"), "rate") == 10
    assert all_rows.of(system="a").median("rate") == 50


def test_measurements_of_different_runs_are_not_compared() -> None:
    all_rows = Rows([*rows("a", 100), *rows("b", 10, run=2)])
    assert math.isnan(all_rows.of(system="a").ratio(all_rows.of(system="b"), "rate"))


def test_a_failure_is_told_and_not_counted() -> None:
    failed = {"subject": "drain", "system": "b", "variant": "x", "run": 1, "round": 0, "error": "TimeoutError: late"}
    text = "\n".join(reports.document(Rows([*rows("forkworker", 100), failed])))
    assert "| forkworker | 2x25 | 100 |" in text
    assert "- b, x failed: TimeoutError: late" in text


def test_a_table_has_as_many_cells_in_each_row() -> None:
    assert tables.table(("a", "b"), [(1, "x")]) == ["| a | b |", "|---|---|", "| 1 | x |"]


def test_a_picture_is_xml_and_has_a_bar_for_each_value() -> None:
    picture = ET.fromstring(bars.picture("a <b>", {"x": 2.0, "y & z": 1.0}, {"x"}))
    rectangles = picture.findall(".//{http://www.w3.org/2000/svg}rect")
    assert [float(each.attrib["width"]) for each in rectangles] == [450.0, 225.0]


def test_quantiles_do_not_leave_the_slowest_out() -> None:
    assert latency.quantiles([float(n) for n in range(1, 101)]) == {"p50": 51, "p99": 100, "max": 100}


def test_how_long_a_job_was_overtaken_and_a_thread_idle() -> None:
    assert distant.overtaken([1, 2, 9, 4, 5]) == 5
    assert distant.idle([(0, 10, 7), (12, 20, 7), (0, 5, 8), (15, 16, 8)]) == 10


def test_every_subject_has_cases_and_a_report() -> None:
    from bench.__main__ import subject

    for name in reports.SUBJECTS:
        assert callable(subject(name).cases)
        assert callable(subject(name).report)


@pytest.mark.parametrize("document", ["README.md", "docs/performance.md"])
def test_tables_in_documents_are_those_of_the_published_results(document: str) -> None:
    """After a new run: python -m bench document --out bench/published.jsonl --document docs/performance.md."""
    text = (ROOT / document).read_text("utf-8")
    assert "<!-- summary -->" in text
    assert reports.fill(text, Log(ROOT / "bench/published.jsonl").read()) == text
