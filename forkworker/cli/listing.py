"""Jobs as people read them: a line for each on a page, their kinds, and all of one.  Takes what ``--json`` shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from forkworker.cli import moments
from forkworker.cli.output import WIDTH, cell, duration, fit, jobs, painted, printable
from forkworker.cli.output import width as output_width
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forkworker.inspect import Entry, Running

#: what is shown of one value; ``--json`` has it all
MOST_CHARACTERS = 2000
_WHEN = {"schedule": "due", "retry": "failed", "dead": "died", "running": "for"}
_LAST = {"retry": "error", "dead": "error", "running": "process"}


def table(page: dict[str, Any], lines: Sequence[str]) -> Iterator[str]:
    """Return a page of jobs, as wide as the terminal, and at most 80 columns where there is none."""
    place = page["place"]
    if not lines:
        yield printable(f"{place}: none of {jobs(page['size'])}")
        return
    yield painted(printable(f"{place}: {len(lines):,} of {jobs(page['size'])}"), "bold")
    yield _columns("jid", _WHEN.get(place, "waits"), "job", _LAST.get(place, "arguments"))
    yield from lines
    if page["more"]:
        yield f"there are more: --start {page['start'] + len(lines)}"


def line(entry: Entry, now: float) -> str:
    """Return the line of one job."""
    job = entry.to_dict()
    return _columns(job["jid"], _time(job, now), job["name"], _last(job))


def running(job: Running) -> dict[str, Any]:
    """Return what ``--json`` shows of a job that runs."""
    return job.entry.to_dict() | {"running": {"identity": job.identity, "thread": job.thread, "since": job.since}}


def running_line(job: Running, now: float) -> str:
    """Return the line of a job that runs."""
    return _columns(job.entry.jid, duration(now - job.since), job.entry.name, job.identity)


def _columns(jid: str, when: str, name: str, last: str) -> str:
    """Return a line; a wider terminal shows more of the name, and much more of the last."""
    more = output_width() - WIDTH
    return f"{cell(jid, 24)} {cell(when, 8)} {cell(name, 20 + more // 4)} {fit(last, 25 + more - more // 4)}".rstrip()


def kinds(told: dict[str, Any], now: float) -> Iterator[str]:
    """Return how many there are of each kind, with the message of the newest."""
    found = told["kinds"]
    counted = f"{sum(kind['count'] for kind in found):,} of {jobs(told['size'])}"
    yield painted(printable(f"{told['place']}: {counted}, of {len(found):,} kind{'s' * (len(found) != 1)}"), "bold")
    more = output_width() - WIDTH
    if found:
        yield f"{'count':>9} {'newest':<8} {'job':<{20 + more // 4}} {_LAST.get(told['place'], '')}".rstrip()
    for kind in found:
        newest = "-" if kind["newest"] is None else _from_now(kind["newest"], now)
        name, error = cell(kind["name"], 20 + more // 4), fit(_error(kind), 40 + more - more // 4)
        yield f"{kind['count']:>9,} {newest:<8} {name} {error}".rstrip()


def _time(job: dict[str, Any], now: float) -> str:
    if job["place"] == "schedule":
        return _from_now(job["due_at"], now) if job["due_at"] and job["due_at"] > now else "now"
    since = job["failed_at"] if job["place"] == "retry" else job["died_at"] or job["enqueued_at"]
    return "-" if since is None else duration(now - since)


def _from_now(instant: float, now: float) -> str:
    distance = instant - now
    return f"in {duration(distance).replace(' ', '')}" if distance > 0 else duration(-distance)


def _last(job: dict[str, Any]) -> str:
    if job["problem"]:
        return job["problem"] or ""
    return _error(job) if job["place"] in _LAST and job["error_class"] else call(job)


def _error(job: dict[str, Any]) -> str:
    """Return class and message in little room: without the module of the class."""
    name = job["error_class"].rpartition(".")[2]
    return f"{name}: {job['error_message']}" if name else ""


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
    if runs := job["running"]:
        return f"running in {runs['identity']}, {runs['thread']}, since {moments.told(runs['since'], now)}"
    if taken := keys.parse_working(job["place"]):
        return f"taken by {taken[0]}, which has not started it, has just ended it, or is gone: see forkworker doctor"
    return str(job["place"])


def _row(name: str, value: str, *, is_shown: bool = False) -> Iterator[str]:
    if value and value != "-":
        yield f"{name:<10} {value if is_shown else _shown(value)}"


def _shown(text: str) -> str:
    return printable(_cut(text, MOST_CHARACTERS))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters; --json has them all)"
