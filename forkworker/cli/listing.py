"""Jobs as people read them: a line for each on a page, and all of one.  Pure; takes what ``--json`` shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from forkworker.cli import moments
from forkworker.cli.output import cell, duration, fit, jobs, painted, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forkworker.inspect import Entry

#: what is shown of one value; ``--json`` has it all
MOST_CHARACTERS = 2000
_WHEN = {"schedule": "due", "retry": "failed", "dead": "died"}
_LAST = {"retry": "error", "dead": "error"}


def table(page: dict[str, Any], lines: Sequence[str]) -> Iterator[str]:
    """Return a page of jobs, at most 80 columns wide."""
    place = page["place"]
    if not lines:
        yield printable(f"{place}: none of {jobs(page['size'])}")
        return
    yield painted(printable(f"{place}: {len(lines):,} of {jobs(page['size'])}"), "bold")
    yield f"{'jid':<24} {_WHEN.get(place, 'waits'):<8} {'job':<20} {_LAST.get(place, 'arguments')}"
    yield from lines
    if page["more"]:
        yield f"there are more: --start {page['start'] + len(lines)}"


def line(entry: Entry, now: float) -> str:
    """Return the line of one job."""
    job = entry.to_dict()
    return f"{cell(job['jid'], 24)} {_time(job, now):<8} {cell(job['name'], 20)} {fit(_last(job), 25)}".rstrip()


def _time(job: dict[str, Any], now: float) -> str:
    if job["place"] == "schedule":
        due = (job["due_at"] or now) - now
        return f"in {duration(due).replace(' ', '')}" if due > 0 else "now"
    since = job["failed_at"] if job["place"] == "retry" else job["died_at"] or job["enqueued_at"]
    return "-" if since is None else duration(now - since)


def _last(job: dict[str, Any]) -> str:
    if job["problem"]:
        return job["problem"] or ""
    if job["place"] in _LAST and job["error_class"]:
        return f"{job['error_class']}: {_cut(job['error_message'], 100)}"
    return _cut(call(job), 100)


def call(job: dict[str, Any]) -> str:
    """Return the arguments as in a call."""
    parts = [json.dumps(value, ensure_ascii=False) for value in job["args"]]
    parts += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in job["kwargs"].items()]
    return ", ".join(parts)


def details(job: dict[str, Any], now: float) -> Iterator[str]:
    """Return all of one job."""
    yield from _row("job", job["name"])
    yield from _row("jid", job["jid"])
    yield from _row("place", _place(job, now))
    yield from _row("queue", job["queue"])
    yield from _row("arguments", call(job))
    yield from _row("tags", ", ".join(map(str, job["tags"])))
    yield from _row("created", moments.told(job["created_at"], now))
    yield from _row("enqueued", moments.told(job["enqueued_at"], now))
    if job["problem"]:
        yield from _row("problem", f"this is no job: {job['problem']}")
        yield from _row("text", job["payload"])
    if job["error_class"] or job["failed_at"] is not None:
        yield from _failure(job, now)


def _failure(job: dict[str, Any], now: float) -> Iterator[str]:
    count = job["retry_count"]
    yield from _row("failed", moments.told(job["failed_at"], now))
    yield from _row("failures", str(count + 1) if count is not None else "")
    yield from _row("error", painted(_shown(f"{job['error_class']}: {job['error_message']}"), "red"), is_shown=True)
    if job["backtrace"]:
        yield "traceback, the innermost first:"
        yield from (f"  {_shown(line)}" for line in job["backtrace"])


def _place(job: dict[str, Any], now: float) -> str:
    if job["due_at"] is not None:
        return f"{job['place']}, due {moments.told(job['due_at'], now)}"
    if job["died_at"] is not None:
        return f"{job['place']}, since {moments.told(job['died_at'], now)}"
    return str(job["place"])


def _row(name: str, value: str, *, is_shown: bool = False) -> Iterator[str]:
    if value and value != "-":
        yield f"{name:<10} {value if is_shown else _shown(value)}"


def _shown(text: str) -> str:
    return printable(_cut(text, MOST_CHARACTERS))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters; --json has them all)"
