"""The checks: facts in, findings out.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.doctor.finding import Finding
from forkworker.store import server
from forkworker.store.connection import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from forkworker.doctor.facts import Facts

    Check = Callable[[Facts], Iterator[Finding]]

MOST_ROUND_TRIP_SECONDS = 0.01
#: two processes that look at the same instant may differ so much
MOST_SKEW_SECONDS = 2.0
MOST_MEMORY = 0.9
LONG_PAUSE_SECONDS = 3600.0
#: names told of one kind
_MOST_TOLD = 5


def examine(facts: Facts) -> list[Finding]:
    """Return all that is wrong; of a Cluster that it is one, as it was not looked at further."""
    if cluster := list(_cluster(facts)):
        return cluster
    return [finding for check in CHECKS.values() for finding in check(facts)]


def _several(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(names[:_MOST_TOLD]) + more


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"


def _number(facts: Facts, name: str) -> int:
    text = facts.info.get(name, "")
    return int(text) if text.isdigit() else 0


# The server.


def _version(facts: Facts) -> Iterator[Finding]:
    version = facts.server.version
    if version is not None and version < server.OLDEST_REDIS:
        told, oldest = server.dotted(version), server.dotted(server.OLDEST_REDIS)
        yield Finding("redis version", f"Redis is version {told}; {oldest} is the oldest that does", "upgrade Redis")


def _eviction(facts: Facts) -> Iterator[Finding]:
    policy = facts.server.eviction
    if policy not in (None, "noeviction"):
        yield Finding(
            "eviction",
            f"Redis drops keys, and so jobs, when its memory is full (maxmemory-policy {policy})",
            "redis-cli config set maxmemory-policy noeviction, and the same in redis.conf",
        )


def _persistence(facts: Facts) -> Iterator[Finding]:
    if facts.server.is_persistent is False:
        yield Finding(
            "persistence",
            "Redis writes nothing to disk: when it is restarted every job is lost",
            "redis-cli config set appendonly yes, and the same in redis.conf",
        )


def _writing(facts: Facts) -> Iterator[Finding]:
    names = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    failed = [name for name in names if facts.info.get(name) not in (None, "ok")]
    if failed:
        yield Finding(
            "writing",
            f"Redis could not write to its disk ({', '.join(failed)}: {facts.info[failed[0]]})",
            "look at its log, and make room on its disk: it may refuse pushes until it can write",
        )


def _memory(facts: Facts) -> Iterator[Finding]:
    used, most = _number(facts, "used_memory"), _number(facts, "maxmemory")
    if most and used > MOST_MEMORY * most:
        yield Finding(
            "memory",
            f"Redis uses {used / most:.0%} of its maxmemory; when it is full it refuses pushes",
            "raise maxmemory, or see which queue or set has grown: forkworker status",
        )


def _replica(facts: Facts) -> Iterator[Finding]:
    if facts.info.get("role") == "slave":
        yield Finding(
            "replica",
            "this address is a replica, which takes no jobs and gives none",
            "use the address of its master: redis-cli info replication tells it as master_host",
        )


def _cluster(facts: Facts) -> Iterator[Finding]:
    if facts.server.is_cluster:
        what, _, todo = CLUSTER.partition("; ")
        yield Finding("cluster", what, todo)


def _round_trip(facts: Facts) -> Iterator[Finding]:
    seconds = facts.round_trip_seconds
    if seconds > MOST_ROUND_TRIP_SECONDS:
        yield Finding(
            "round trip",
            f"Redis takes {seconds * 1000:.0f} ms to answer a PING from here",
            "redis-cli slowlog get; is it far away, swapping, or busy with KEYS or a large script?",
        )


# Clocks.


def _clock_here(facts: Facts) -> Iterator[Finding]:
    ahead = facts.ahead_seconds
    if abs(ahead) > MOST_SKEW_SECONDS:
        yield _skew("this host", ahead)


def _clocks(facts: Facts) -> Iterator[Finding]:
    """Compare hosts by their beats: one from the future is ahead, one that beats and looks old is behind."""
    skews: dict[str, float] = {}
    for seen in facts.processes:
        if seen.age < -MOST_SKEW_SECONDS or (seen.was_slow and seen.age > MOST_SKEW_SECONDS):
            skews.setdefault(seen.host, -seen.age)
    for host, ahead in sorted(skews.items()):
        yield _skew(f"the host {host}", ahead)


def _skew(whose: str, ahead: float) -> Finding:
    way = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "clock",
        f"the clock of {whose} is {abs(ahead):.0f} s {way} Redis'",
        "let chrony or systemd-timesyncd set it: jobs for later and retries start by these clocks",
    )


# Processes, and what they left.


def _silence(facts: Facts) -> Iterator[Finding]:
    for seen in facts.processes:
        if not seen.is_alive:
            yield Finding(
                "silence",
                f"{seen.identity} has shown no sign of life for {seen.age:.0f} s",
                "is its host, or its keeper, in trouble? After its lease (60 s by default) others take its jobs over",
            )


def _ghosts(facts: Facts) -> Iterator[Finding]:
    if facts.ghosts:
        yield Finding(
            "ghosts",
            f"processes names {len(facts.ghosts)} that are not there: {_several(facts.ghosts)}",
            "they do no harm but to counts; take each out: redis-cli srem processes NAME",
        )


def _orphans(facts: Facts) -> Iterator[Finding]:
    sizes: dict[str, int] = {}
    for orphan in facts.orphans:
        sizes[orphan.identity] = sizes.get(orphan.identity, 0) + orphan.size
    for identity, size in sorted(sizes.items()):
        yield Finding(
            "orphans",
            f"{identity} shows no sign of life, and has {_jobs(size)} in its hands",
            "any running master puts them back within its lease (60 s by default): if none runs, start one",
        )


def _nobody(facts: Facts) -> Iterator[Finding]:
    if not any(seen.is_alive for seen in facts.processes):
        yield Finding(
            "nobody", "no process takes jobs from this Redis", "start forkworker run; is this the address that it uses?"
        )


def _quiet(facts: Facts) -> Iterator[Finding]:
    alive = [seen for seen in facts.processes if seen.is_alive]
    if alive and all(seen.is_quiet for seen in alive):
        yield Finding(
            "quiet",
            f"every process is quiet ({len(alive)}): nobody takes jobs",
            "end the deploy that quieted them, or: forkworker resume",
        )


# Queues and jobs.


def _unserved(facts: Facts) -> Iterator[Finding]:
    served = {queue for seen in facts.processes if seen.is_alive for queue in seen.queues}
    for queue in facts.queues:
        if queue.size and queue.name not in served:
            yield Finding(
                "unserved queue",
                f"no process serves the queue {queue.name}, which has {_jobs(queue.size)}",
                f"start a master with -q {queue.name}, or correct the queue of those jobs",
            )


def _paused(facts: Facts) -> Iterator[Finding]:
    for queue in facts.queues:
        if queue.paused and queue.latency_seconds > LONG_PAUSE_SECONDS:
            yield Finding(
                "paused queue",
                f"the queue {queue.name} is paused, and has {_jobs(queue.size)}, one for an hour or more",
                f"if that was not meant: forkworker unpause {queue.name}",
            )


def _unknown(facts: Facts) -> Iterator[Finding]:
    for name, count in sorted(facts.unknown.items()):
        yield Finding(
            "unknown job",
            f"no process knew the name {name}: {_jobs(count)} failed for that, to be tried again",
            "does a process with older code serve their queue? Else import the module with that job, or add an alias",
        )


def _types(facts: Facts) -> Iterator[Finding]:
    for key, (kind, wanted) in sorted(facts.strange.items()):
        yield Finding(
            "strange key",
            f"the key {key} is a {kind}, and should be a {wanted}",
            f"find out who writes it, then: redis-cli rename {key} SOMETHING-ELSE",
        )


CHECKS: dict[str, Check] = {
    "redis version": _version,
    "eviction": _eviction,
    "persistence": _persistence,
    "writing": _writing,
    "memory": _memory,
    "replica": _replica,
    "cluster": _cluster,
    "round trip": _round_trip,
    "clock here": _clock_here,
    "clock": _clocks,
    "silence": _silence,
    "ghosts": _ghosts,
    "orphans": _orphans,
    "nobody": _nobody,
    "quiet": _quiet,
    "unserved queue": _unserved,
    "paused queue": _paused,
    "unknown job": _unknown,
    "strange key": _types,
}
