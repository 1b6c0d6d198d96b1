"""Writes what a keeper sees as Prometheus reads it.  Pure.

Names come from payloads and from other programs: they are escaped, and their number has been bounded.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, NamedTuple

from forkworker.keeper.verdict import why_not_ready
from forkworker.logs import clean
from forkworker.unix.tally import BOUNDS, FIRST_BOUND, MICROSECONDS, OUTCOMES
from forkworker.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from forkworker.keeper.measures import Holdings
    from forkworker.keeper.numbers import Figures
    from forkworker.keeper.sight import ChildSight, Sight
    from forkworker.settings import Settings

KIND = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("booting", "ready", "stuck", "quiet", "stopping")
#: every bound costs a line for each name
SHOWN_BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.045, 0.1, 0.225, 0.5, 1.1, 2.5, 5.75, 13.0, 30.0, 65.0, 150.0, 335.0)
_ESCAPED = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
_TO_ESCAPE = re.compile(r'[\\"\n]')
#: who reads the page on a terminal shall not be steered
_TO_CLEAN = re.compile(r"[^\n]+")


class Sample(NamedTuple):
    """One line: what follows the name of the metric, its labels, and its value."""

    value: float
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""


def render(settings: Settings, sight: Sight, pulse_at: float, now: float) -> str:
    """Return the whole page."""
    parts = (
        _tree(settings, sight, pulse_at, now),
        _children(settings, sight, now),
        _jobs(sight.figures),
        _endings(sight.figures),
        _holdings(sight.holdings) if sight.holdings else (),
    )
    return "".join(itertools.chain.from_iterable(parts))


def _metric(name: str, kind: str, what: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP forkworker_{name} {what}\n# TYPE forkworker_{name} {kind}\n"
    told = set()
    for sample in samples:
        labels = ",".join(f'{label}="{_escaped(text)}"' for label, text in sample.labels)
        line = f"forkworker_{name}{sample.suffix}{{{labels}}}"
        if line not in told:  # names that look alike once they are text: Prometheus would refuse the whole page
            told.add(line)
            yield f"{line} {sample.value:.15g}\n"


def _escaped(text: str) -> str:
    if not text.isprintable():
        text = _TO_CLEAN.sub(lambda found: clean(found[0]), text.encode("utf-8", "replace").decode())
    return _TO_ESCAPE.sub(lambda found: _ESCAPED[found[0]], text)


def _gauge(name: str, what: str, *samples: Sample) -> Iterator[str]:
    return _metric(name, "gauge", what, samples)


def _counter(name: str, what: str, *samples: Sample) -> Iterator[str]:
    return _metric(f"{name}_total", "counter", what, samples)


def _labelled(label: str, text: str, value: float) -> Sample:
    return Sample(value, ((label, text),))


def _tree(settings: Settings, sight: Sight, pulse_at: float, now: float) -> Iterator[str]:
    ready = not why_not_ready(sight, pulse_at, now)
    yield from _gauge("info", "The version and the tag.", Sample(1, (("version", VERSION), ("tag", settings.tag))))
    yield from _gauge("ready", "Whether jobs are taken, as /ready says.", Sample(ready))
    yield from _gauge("redis_up", "Whether Redis answers the keeper.", Sample(not sight.redis_trouble))
    pulse = Sample(max(0.0, now - pulse_at))
    yield from _gauge("master_pulse_age_seconds", "Seconds since the master's loop last turned.", pulse)


def _children(settings: Settings, sight: Sight, now: float) -> Iterator[str]:
    children = sight.children
    states = [_labelled("state", state, sum(c.state == state for c in children)) for state in STATES]
    yield from _gauge("children", "Children by what they are doing; stuck: a job keeps the interpreter lock.", *states)
    yield from _gauge("children_wanted", "Children that the master keeps.", Sample(settings.processes))
    yield from _gauge("threads", "Threads for jobs.", Sample(len(children) * settings.concurrency))
    yield from _gauge("threads_busy", "Threads that run a job.", Sample(sum(child.busy for child in children)))
    told = f"Age of the oldest beat of a child; its lease ends at {settings.lease:g}."
    yield from _gauge("oldest_beat_age_seconds", told, Sample(_oldest_beat(children, now)))


def _oldest_beat(children: Iterable[ChildSight], now: float) -> float:
    return max((now - child.beat_at for child in children if child.beat_at), default=0.0)


def _jobs(figures: Figures) -> Iterator[str]:
    by_outcome = (
        Sample(counts[number], (("name", name), ("outcome", outcome)))
        for name, counts in figures.jobs
        for number, outcome in enumerate(OUTCOMES)
    )
    what = "Runs that ended: done, retry (failed, to be tried again), failed (dropped), bury, reject (no job at all)."
    yield from _metric("jobs_total", "counter", what, by_outcome)
    samples = (sample for name, counts in figures.jobs for sample in _histogram(name, counts))
    yield from _metric("job_seconds", "histogram", "Run times of jobs that were done.", samples)


def _histogram(name: str, counts: tuple[int, ...]) -> Iterator[Sample]:
    total = 0
    labels = (("name", name),)
    for bound, count in zip(BOUNDS, counts[FIRST_BOUND:], strict=False):
        total += count
        if bound in SHOWN_BOUNDS:
            yield Sample(total, (*labels, ("le", f"{bound:g}")), "_bucket")
    total += counts[-1]
    yield Sample(total, (*labels, ("le", "+Inf")), "_bucket")
    yield Sample(counts[MICROSECONDS] / 1_000_000, labels, "_sum")
    yield Sample(total, labels, "_count")


def _endings(figures: Figures) -> Iterator[str]:
    ended = (_labelled("how", "crashed", figures.crashed), _labelled("how", "in_order", figures.left_in_order))
    yield from _counter("children_ended", "Children that ended.", *ended)
    put_back = Sample(figures.put_back)
    yield from _counter("jobs_put_back", "Jobs that went back to their queue as their process had ended.", put_back)
    recovered = Sample(figures.recovered)
    yield from _counter("jobs_recovered", "Those that were running when their process crashed.", recovered)
    buried = Sample(figures.buried)
    yield from _counter("jobs_buried_after_crashes", "Those that had been running in too many crashes.", buried)


def _holdings(holdings: Holdings) -> Iterator[str]:
    trip = Sample(holdings.round_trip_seconds)
    yield from _gauge("redis_round_trip_seconds", "How long Redis took for a PING.", trip)
    queues = holdings.queues
    sizes = [_labelled("queue", queue.name, queue.size) for queue in queues]
    yield from _gauge("queue_jobs", "Jobs that wait in a queue.", *sizes)
    waits = [_labelled("queue", queue.name, queue.latency_seconds) for queue in queues]
    yield from _gauge("queue_latency_seconds", "For how long the oldest job of a queue has waited.", *waits)
    paused = [_labelled("queue", queue.name, queue.paused) for queue in queues]
    yield from _gauge("queue_paused", "Whether nobody may take from a queue.", *paused)
    sets = [_labelled("set", name, getattr(holdings, name)) for name in ("schedule", "retry", "dead")]
    yield from _gauge("set_jobs", "Jobs in the schedule, the retry set and the dead set.", *sets)
    orphaned = Sample(holdings.orphaned)
    yield from _gauge("orphaned_jobs", "Jobs in working lists whose owner shows no sign of life.", orphaned)
