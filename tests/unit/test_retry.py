"""What becomes of a job that failed: count, delay, home, and what Sidekiq's Web UI needs to show it."""

from __future__ import annotations

import base64
import datetime as dt
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from forkworker.errors import Bury, MalformedPayload, RetryIn, UnknownJob
from forkworker.jobs import Options
from forkworker.runtime import retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkworker.runtime.retry import Verdict

pytestmark = pytest.mark.unit

NOW = 1_764_000_000.5
BOOM = ValueError("boom")


def job(**fields: Any) -> dict[str, Any]:
    """A payload as Ruby writes the least of it."""
    return {"class": "HardJob", "args": [1], "jid": "0f" * 12, **fields}


def decide(
    fields: dict[str, Any],
    error: BaseException = BOOM,
    options: Options | None = None,
    uniform: Callable[[], float] = lambda: 0.0,
) -> Verdict:
    return retry.decide(fields, error, queue="default", now=NOW, options=options, uniform=uniform)


def told(verdict: Verdict) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(verdict.new_payload)
    return fields


def raised(error: BaseException) -> BaseException:
    """Return the error with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - whatever the test wants
        return caught


def backtrace_of(verdict: Verdict) -> list[str]:
    lines: list[str] = json.loads(zlib.decompress(base64.b64decode(told(verdict)["error_backtrace"], validate=True)))
    return lines


# Where it goes


@pytest.mark.parametrize(
    ("fields", "options", "kind"),
    [
        # the field retry
        ({}, None, "retry"),
        ({"retry": True}, None, "retry"),
        ({"retry": True, "retry_count": 23}, None, "retry"),
        ({"retry": True, "retry_count": 24}, None, "bury"),
        ({"retry": True, "retry_count": 25}, None, "bury"),
        ({"retry": 3}, None, "retry"),
        ({"retry": 3, "retry_count": 1}, None, "retry"),
        ({"retry": 3, "retry_count": 2}, None, "bury"),
        ({"retry": 1}, None, "retry"),
        ({"retry": 1, "retry_count": 0}, None, "bury"),
        ({"retry": 0}, None, "bury"),
        ({"retry": -1}, None, "bury"),
        ({"retry": False}, None, "failed"),
        ({"retry": None}, None, "failed"),
        ({"retry": False, "retry_count": 3}, None, "failed"),
        ({"retry": "25"}, None, "retry"),
        ({"retry": []}, None, "retry"),
        ({"retry": 0.5, "retry_count": 24}, None, "bury"),
        # absent: the registered job's own
        ({}, Options(retry=False), "failed"),
        ({}, Options(retry=0), "bury"),
        ({"retry_count": 1}, Options(retry=2), "bury"),
        ({"retry": True}, Options(retry=False), "retry"),
        # the field retry_count
        ({"retry_count": -1}, None, "retry"),
        ({"retry_count": -1, "retry": 0}, None, "bury"),
        ({"retry_count": 0}, None, "retry"),
        ({"retry_count": None}, None, "retry"),
        ({"retry_count": "7"}, None, "retry"),
        ({"retry_count": 10**400}, None, "bury"),
        # dead
        ({"retry": 0, "dead": False}, None, "failed"),
        ({"retry": 0, "dead": True}, Options(dead=False), "bury"),
        ({"retry": 0, "dead": None}, None, "bury"),
        ({"retry": 0}, Options(dead=False), "failed"),
        ({"retry": 2, "dead": False}, None, "retry"),
        # retry_for: it alone decides
        ({"retry_for": 60}, None, "retry"),
        ({"retry_for": 60, "failed_at": NOW - 59, "retry_count": 99}, None, "retry"),
        ({"retry_for": 60, "failed_at": NOW - 60, "retry_count": 1}, None, "bury"),
        ({"retry_for": 60, "failed_at": int(NOW * 1000) - 59_000, "retry_count": 1}, None, "retry"),
        ({"retry_for": 60, "failed_at": int(NOW * 1000) - 61_000, "retry_count": 1}, None, "bury"),
        ({"retry_for": 60, "failed_at": "yesterday", "retry_count": 1}, None, "retry"),
        ({"retry_for": "60", "retry_count": 24}, None, "bury"),
        ({"retry_for": True, "retry_count": 24}, None, "bury"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_failed_job_goes_where_its_fields_say(fields: dict[str, Any], options: Options | None, kind: str) -> None:
    assert decide(job(**fields), options=options).kind == kind


@pytest.mark.parametrize(
    ("error", "fields", "kind"),
    [
        (Bury("no use"), {}, "bury"),
        (Bury("no use"), {"retry": 25, "retry_for": 3600}, "bury"),
        (RetryIn(5), {}, "retry"),
        (RetryIn(5), {"retry_count": 24}, "bury"),
        (RetryIn(5), {"retry": 0}, "bury"),
        (UnknownJob("who?"), {}, "retry"),
        (UnknownJob("who?"), {"retry": False}, "retry"),
        (UnknownJob("who?"), {"retry": 0}, "retry"),
        (UnknownJob("who?"), {"retry": None}, "retry"),
        (UnknownJob("who?"), {"retry": 3, "retry_count": 2}, "bury"),
        (UnknownJob("who?"), {"retry": False, "retry_count": 24}, "bury"),
        (SystemExit(1), {}, "retry"),
        (KeyboardInterrupt(), {}, "retry"),
        (MemoryError(), {}, "retry"),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException | dict) else "",
)
def test_an_error_may_decide(error: BaseException, fields: dict[str, Any], kind: str) -> None:
    assert decide(job(**fields), error).kind == kind


def test_what_is_dropped_needs_no_new_payload() -> None:
    verdict = decide(job(retry=False))

    assert (verdict.kind, verdict.new_payload, verdict.score) == ("failed", b"", 0.0)


# When


@pytest.mark.parametrize("count", [0, 1, 2, 10, 24])
@pytest.mark.parametrize("random", [0.0, 0.5, 0.999999], ids=["least", "middle", "most"])
def test_the_delay_is_n_to_the_4th_and_15_and_jitter_below_10_for_each_try(count: int, random: float) -> None:
    verdict = decide(job(retry_count=count - 1), uniform=lambda: random)

    seconds = verdict.score - NOW
    assert seconds == pytest.approx(count**4 + 15 + random * 10 * (count + 1))
    assert count**4 + 15 <= seconds < count**4 + 15 + 10 * (count + 1)


def test_two_jobs_that_fail_at_once_have_different_scores() -> None:
    scores = {retry.decide(job(), BOOM, queue="default", now=NOW).score for _ in range(50)}

    assert len(scores) == 50


def test_the_score_of_a_buried_job_is_the_time_of_its_death() -> None:
    assert decide(job(retry=0), uniform=lambda: 1.0).score == NOW


@pytest.mark.parametrize(
    ("wanted", "seconds"), [(90, 90.0), (0.25, 0.25), (0, 0.0), (-5, 0.0), (dt.timedelta(minutes=2), 120.0)]
)
def test_retry_in_seconds_is_obeyed_to_the_letter(wanted: Any, seconds: float) -> None:
    assert decide(job(), RetryIn(wanted), uniform=lambda: 1.0).score - NOW == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("wanted", "most"),
    [(0, 1.0), (5, 6.0), (60, 66.0), (100, 110.0), (3600, 3610.0)],
    ids=["none", "seconds", "a minute", "the same", "an hour"],
)
def test_a_delay_that_was_chosen_gets_a_tenth_of_itself_as_jitter(wanted: float, most: float) -> None:
    told = decide(job(), options=Options(retry_in=wanted), uniform=lambda: 1.0)
    least = decide(job(), options=Options(retry_in=wanted), uniform=lambda: 0.0)

    assert (least.score - NOW, told.score - NOW) == pytest.approx((wanted, most))


def test_the_hook_is_asked_with_count_and_error_and_gets_jitter() -> None:
    asked: list[tuple[int, BaseException]] = []

    def hook(count: int, error: BaseException) -> float:
        asked.append((count, error))
        return 100.0

    verdict = decide(job(retry_count=1), options=Options(retry_in=hook), uniform=lambda: 0.5)

    assert asked == [(2, BOOM)]
    assert verdict.score - NOW == pytest.approx(100 + 0.5 * 10)


@pytest.mark.parametrize("fields", [{"retry": 0}, {"retry": False}], ids=["bury", "drop"])
def test_the_hook_is_not_asked_when_there_is_no_retry(fields: dict[str, Any]) -> None:
    def hook(_count: int, _error: BaseException) -> float:
        raise AssertionError("asked")

    decide(job(**fields), options=Options(retry_in=hook))


def test_a_hook_cannot_make_a_retry_due_in_the_past() -> None:
    assert decide(job(), options=Options(retry_in=lambda *_: -1000)).score == NOW


@pytest.mark.parametrize("seconds", [1e300, 10**400], ids=["float", "integer"])
def test_a_delay_without_end_still_makes_a_score_that_the_web_ui_can_show(seconds: float) -> None:
    assert decide(job(retry_in=seconds)).score - NOW < 101 * 366 * 86_400


@pytest.mark.parametrize("delay", [None, "soon", True, float("nan"), float("inf"), 10**400, [1]], ids=repr)
def test_a_delay_that_is_none_is_refused_where_it_is_raised(delay: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="delay"):
        RetryIn(delay)


@pytest.mark.parametrize("wanted", [90, 90.0, dt.timedelta(seconds=90)], ids=repr)
def test_retry_in_may_be_a_fixed_delay_that_gets_jitter(wanted: Any) -> None:
    verdict = decide(job(retry_count=1), options=Options(retry_in=wanted), uniform=lambda: 0.5)

    assert verdict.score - NOW == pytest.approx(90 + 0.5 * 9)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(60, 60), (0.5, 0.5), (-3, 0), (None, 7), ("60", 7), (True, 7), ([60], 7)],
    ids=repr,
)
def test_a_delay_in_the_payload_counts_before_the_registered_one(told: Any, seconds: float) -> None:
    verdict = decide(job(retry_in=told), options=Options(retry_in=7), uniform=lambda: 0.0)

    assert verdict.score - NOW == pytest.approx(seconds)


# The last failure


@pytest.mark.parametrize(
    ("error", "fields", "is_last"),
    [
        (BOOM, {}, False),
        (BOOM, {"retry_count": 24}, True),
        (BOOM, {"retry": 0}, True),
        (BOOM, {"retry": 0, "dead": False}, True),
        (BOOM, {"retry": False}, False),
        (BOOM, {"retry_for": 0}, True),
        (Bury("no use"), {}, True),
        (Bury("no use"), {"retry": False}, True),
        (RetryIn(5), {}, False),
        (RetryIn(5), {"retry": 1, "retry_count": 0}, True),
        (UnknownJob("who?"), {"retry": False}, False),
        (UnknownJob("who?"), {"retry_count": 24}, True),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException | dict) else "",
)
def test_a_last_failure_is_told_with_the_job_as_it_ended(
    error: BaseException, fields: dict[str, Any], is_last: bool
) -> None:
    verdict = decide(job(**fields), error)

    assert (verdict.exhausted is not None) is is_last
    if verdict.exhausted and verdict.new_payload:
        assert verdict.exhausted == told(verdict)


@pytest.mark.parametrize(
    ("error", "fields", "kind"),
    [
        (Bury("for the museum"), {"dead": False}, "bury"),
        (Bury("for the museum"), {"retry": False}, "bury"),
        (UnknownJob("who?"), {"retry_count": 24, "dead": False}, "bury"),
        (UnknownJob("who?"), {"retry_for": 0}, "retry"),
        (UnknownJob("who?"), {"retry_for": 0, "retry": False, "dead": False}, "retry"),
    ],
    ids=["Bury, dead false", "Bury, retry false", "unknown, exhausted", "unknown, retry_for", "unknown, all at once"],
)
def test_what_asked_for_the_dead_set_or_never_ran_is_not_dropped(
    error: BaseException, fields: dict[str, Any], kind: str
) -> None:
    assert decide(job(**fields), error).kind == kind


# What Sidekiq's Web UI needs


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"retry_count": 0, "failed_at": NOW}),
        ({"retry_count": None}, {"retry_count": 0, "failed_at": NOW}),
        ({"failed_at": None}, {"retry_count": 0, "failed_at": NOW}),
        ({"failed_at": "yesterday"}, {"retry_count": 0, "failed_at": NOW}),
        ({"retry_count": -1}, {"retry_count": 0, "failed_at": NOW}),
        ({"retry_count": 0, "failed_at": 5.5}, {"retry_count": 1, "failed_at": 5.5, "retried_at": NOW}),
        ({"retry_count": 7, "failed_at": 5.5}, {"retry_count": 8, "failed_at": 5.5, "retried_at": NOW}),
        ({"retry_count": 7}, {"retry_count": 8, "failed_at": NOW, "retried_at": NOW}),
        ({"retry_count": 24, "failed_at": 5.5}, {"retry_count": 25, "failed_at": 5.5, "retried_at": NOW}),
        ({"retry_count": 1, "failed_at": 5}, {"retry_count": 2, "failed_at": 5, "retried_at": NOW}),
    ],
    ids=[
        "first",
        "null",
        "no time",
        "a text",
        "retry now, unfailed",
        "second",
        "ninth",
        "failed_at lost",
        "last",
        "milliseconds",
    ],
)
def test_the_times_of_failures_are_those_the_detail_page_needs(before: dict[str, Any], after: dict[str, Any]) -> None:
    fields = told(decide(job(**before)))

    assert {key: fields.get(key) for key in after} == after
    assert fields["retry_count"] > 0 or "retried_at" not in fields


def test_failed_at_stays_the_time_of_the_first_failure_after_the_web_uis_retry_now() -> None:
    fields = told(decide(job(retry_count=-1, failed_at=5.5)))

    assert (fields["retry_count"], fields["failed_at"]) == (0, 5.5)


def test_a_retry_zero_job_is_buried_with_count_0_and_a_time() -> None:
    fields = told(decide(job(retry=0)))

    assert (fields["retry_count"], fields["failed_at"]) == (0, NOW)


def test_times_are_written_with_a_fraction_so_that_no_version_takes_them_for_milliseconds() -> None:
    verdict = retry.decide(job(), BOOM, queue="default", now=1_764_000_000.0)

    assert b'"failed_at":1764000000.0' in verdict.new_payload


def test_everything_else_of_the_payload_stays_as_it_was() -> None:
    before = job(
        retry=True,
        created_at=1.5,
        enqueued_at=2.5,
        tags=["a"],
        cattr={"user": 1},
        wrapped="X",
        kwargs={"k": 1},
    )

    after = told(decide(before))

    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize(
    ("fields", "queue"),
    [
        ({}, "default"),
        ({"queue": "low"}, "default"),
        ({"queue": "low", "retry_queue": "slow"}, "slow"),
        ({"retry_queue": None}, "default"),
        ({"retry_queue": ""}, "default"),
        ({"retry_queue": 7}, "default"),
        ({"retry_queue": ["slow"]}, "default"),
    ],
    ids=["absent", "where it was taken from", "retry_queue", "null", "empty", "number", "list"],
)
def test_the_queue_is_told_to_the_promoter(fields: dict[str, Any], queue: str) -> None:
    assert told(decide(job(**fields)))["queue"] == queue


def test_the_error_is_told() -> None:
    fields = told(decide(job(), MalformedPayload("<b>no</b>")))

    assert fields["error_class"] == "forkworker.errors.MalformedPayload"
    assert fields["error_message"] == "<b>no</b>"


class Mute(Exception):
    """Its message cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class Wordless(Exception):
    """Its message is no text."""

    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307 - the case


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("x" * 20_000), "x" * 10_000),
        (ValueError("é" * 10_001), "é" * 10_000),
        (ValueError("a\ud800b"), "a?b"),
        (ValueError(), ""),
        (Mute(), "(its message cannot be shown: RuntimeError)"),
        (Wordless(), "(its message cannot be shown: TypeError)"),
    ],
    ids=["long", "long, not ascii", "lone surrogate", "empty", "__str__ raises", "__str__ returns None"],
)
def test_any_message_can_be_kept(error: BaseException, message: str) -> None:
    verdict = decide(job(), error)

    assert told(verdict)["error_message"] == message
    verdict.new_payload.decode("utf-8")


# Backtraces


def test_the_backtrace_begins_where_the_error_was_raised_and_is_escaped() -> None:
    def inner() -> None:
        raise ValueError("boom")

    code = compile("inner()", "<frozen & odd>", "exec")
    try:
        exec(code, {"inner": inner})
    except ValueError as error:
        lines = backtrace_of(decide(job(), error))

    assert lines[0].endswith(":in inner")
    assert lines[0].startswith(__file__)
    assert lines[1] == "&lt;frozen &amp; odd&gt;:1:in &lt;module&gt;"


def dive(depth: int) -> None:
    if depth:
        dive(depth - 1)
    raise ValueError("boom")


@pytest.mark.parametrize(
    ("fields", "options", "count"),
    [
        ({}, None, 20),
        ({}, Options(backtrace=5), 5),
        ({}, Options(backtrace=True), 41),
        ({"backtrace": 3}, Options(backtrace=5), 3),
        ({"backtrace": True}, None, 41),
        ({"backtrace": 100}, None, 41),
    ],
    ids=[
        "default",
        "the job's",
        "all by the job",
        "the payload's",
        "all by the payload",
        "more than there is",
    ],
)
def test_so_many_lines_are_kept_as_were_asked_for(fields: dict[str, Any], options: Options | None, count: int) -> None:
    try:
        dive(39)
    except ValueError as error:
        lines = backtrace_of(decide(job(**fields), error, options))

    assert len(lines) == count
    assert lines[0].endswith(":in dive")


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"backtrace": False}, None),
        ({"backtrace": None}, None),
        ({"backtrace": 0}, None),
        ({}, Options(backtrace=False)),
    ],
    ids=["payload: false", "payload: null", "payload: 0", "job: False"],
)
def test_no_backtrace_is_kept_where_none_is_wanted(fields: dict[str, Any], options: Options | None) -> None:
    assert "error_backtrace" not in told(decide(job(**fields), raised(ValueError("boom")), options))


def fail_at_the_root() -> None:
    try:
        raise KeyError("order")
    except KeyError as error:
        try:
            raise ValueError("no\norder") from error
        except ValueError:
            raise RuntimeError("no receipt")  # noqa: B904 - the case


def test_the_backtrace_goes_on_with_what_caused_the_error() -> None:
    try:
        fail_at_the_root()
    except RuntimeError as caught:
        error = caught

    lines = backtrace_of(decide(job(), error))

    assert [line if line.startswith("caused by") else line.rpartition(":in ")[2] for line in lines] == [
        "fail_at_the_root", "test_the_backtrace_goes_on_with_what_caused_the_error",
        "caused by ValueError: no order", "fail_at_the_root",
        "caused by KeyError: 'order'", "fail_at_the_root",
    ]  # fmt: skip
    assert len(backtrace_of(decide(job(backtrace=3), error))) == 3


@pytest.mark.parametrize("is_circle", [False, True])
def test_causes_that_are_hidden_or_go_round_in_a_circle_end(is_circle: bool) -> None:
    error, other = ValueError("boom"), KeyError("other")
    error.__context__, error.__suppress_context__ = other, not is_circle
    other.__context__ = error

    lines = retry.backtrace(error, wanted=True)

    assert lines == (["caused by KeyError: 'other'"] if is_circle else [])


def test_an_error_that_was_never_raised_has_no_backtrace() -> None:
    assert "error_backtrace" not in told(decide(job(), ValueError("boom")))


# Counting


@pytest.mark.parametrize(
    ("fields", "failures"),
    [
        ({}, 0),
        ({"retry_count": -1}, 0),
        ({"retry_count": 0}, 1),
        ({"retry_count": 24}, 25),
        ({"retry_count": "x"}, 0),
    ],
    ids=str,
)
def test_previous_failures_are_counted_as_sidekiq_writes_them(fields: dict[str, Any], failures: int) -> None:
    assert retry.previous_failures(fields) == failures
