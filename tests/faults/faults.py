"""The faults, each with the proof that it did what it is meant to.  Runs in the harness's process.

A fault is a context: it is done at the start, proved, and undone at the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis
from support import processes
from support.payloads import encode, payload
from support.waiting import wait_until

from faults.world import Deed, Host, World

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    Matches = Callable[[list[bytes], Any], bool]
    Act = Callable[[World, Any, random.Random, float], Iterator[bool]]

#: so long a keeper may be silent without harm, and a little less
SILENCE_SECONDS = 3.0
#: from the end of a keeper to the first beats by the next one, on a machine that is busy with all this
KEEPER_BOOT_SECONDS = 2.0
#: jobs in a queue that has to be fetched from
FETCHED = 40
#: jobs that give each child of a master something in hand
IN_HAND = 6
_SPIN = "while True: pass"


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    kind: str
    #: "host": something of one master; "network": its way to Redis; "all": Redis, or all masters at once
    scope: str
    #: least and most seconds
    hold: tuple[float, float]
    act: Any
    #: how often it is dealt, where others are once
    cards: int = 1
    #: numbers of the masters that it can be done to
    masters: tuple[int, ...] = (0, 1, 2)
    #: whether the server must be Valkey
    needs_valkey: bool = False
    #: whether keepers cannot beat while it lasts
    silences: bool = False
    #: whether a keeper has to boot after it, which is silent until then
    boots_keeper: bool = False
    #: whether every process of the tree may end by it
    ends_all: bool = False


CATALOGUE: dict[str, Fault] = {}


class Missed(Exception):
    """There was nothing to do it to."""


def fault(
    kind: str,
    scope: str,
    hold: tuple[float, float] = (0, 0),
    **traits: Any,
) -> Callable[[Act], Act]:
    """Put a function into the catalogue."""

    def add(act: Act) -> Act:
        CATALOGUE[kind] = Fault(kind, scope, hold, contextmanager(act), **traits)
        return act

    return add


def do(
    world: World, kind: str, host: Host | None, rng: random.Random, hold: float, last: Callable[[float], object]
) -> Deed:
    """Do a fault, let it last, undo it; the deed that is noted tells whether it worked."""
    what = CATALOGUE[kind]
    hit: set[int] = set()
    if host and what.ends_all:
        hit = {process.pid for process in host.daemon.processes()}
    number = host.number if host else None
    deed = Deed(
        kind, number, time.monotonic(), hit=frozenset(hit), cuts_off=what.silences or what.boots_keeper, worked=False
    )
    world.deeds.append(deed)
    try:
        with what.act(world, host, rng, hold) as worked:
            deed.worked = bool(worked)
            last(hold if worked else 0)
    except (AssertionError, Missed, ProcessLookupError, KeyError, redis.RedisError) as miss:
        deed.missed = f"{type(miss).__name__}: {miss}".splitlines()[0]
        deed.worked = False
    deed.over = time.monotonic() + (KEEPER_BOOT_SECONDS if what.boots_keeper else 0)
    return deed


def pause(seconds: float) -> None:
    """Let a fault last."""
    time.sleep(seconds)


# Processes


def _find(host: Host, role: str) -> int:
    """Return a process; it may be about to come, as other fronts are at it, too."""
    try:
        return wait_until(lambda: host.daemon.pids().get(role), 3, role)  # type: ignore[return-value]
    except AssertionError:
        raise Missed(f"there is no {role}") from None


def _kill(world: World, host: Host, role: str, number: signal.Signals) -> int:
    """Send a signal to the process with this role; return which it is."""
    pid = _find(host, role)
    _hit(world, host, pid, number)
    return pid


def _hit(world: World, host: Host, pid: int, number: signal.Signals) -> None:
    """Send a signal to one process; note it before, as the effects may be quicker than we."""
    for deed in reversed(world.deeds):
        if deed.host == host.number and deed.over > time.monotonic():
            deed.hit |= {pid}
            break
    os.kill(pid, number)


def _has_gone(pid: int, start: int | None) -> Callable[[], bool]:
    return lambda: processes.start_of(pid) != start


def _end(world: World, host: Host, role: str, number: signal.Signals, seconds: float = 5) -> Iterator[bool]:
    """Send what ends a process, and see it gone."""
    before = processes.start_of(_find(host, role))
    pid = _kill(world, host, role, number)
    wait_until(_has_gone(pid, before), seconds + 10, f"{role} has gone")
    yield True


def _child(rng: random.Random) -> str:
    return f"child {rng.randrange(2)}"


@fault("SIGKILL of a child", "host", cards=4)
def kill_child(world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _end(world, host, _child(rng), signal.SIGKILL)


@fault("SIGTERM of a child", "host", cards=2)
def term_child(world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _end(world, host, _child(rng), signal.SIGTERM)


@fault("SIGKILL of the keeper", "host", boots_keeper=True, cards=2)
def kill_keeper(world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _end(world, host, "keeper", signal.SIGKILL)


@fault("SIGKILL of the forkserver", "host")
def kill_forkserver(world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _end(world, host, "forkserver", signal.SIGKILL)


@fault("SIGTERM of keeper and forkserver", "host")
def term_helpers(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    """They ignore it."""
    pids = [_find(host, role) for role in ("keeper", "forkserver")]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    yield True


@fault("SIGKILL of the master", "host", ends_all=True)
def kill_master(world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _end(world, host, "master", signal.SIGKILL)


@fault("SIGTERM of the master", "host", ends_all=True)
def stop_master(world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _end(world, host, "master", signal.SIGTERM, 10)


@fault("SIGKILL of a whole tree", "host", ends_all=True)
def kill_tree(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    master = _find(host, "master")
    start = processes.start_of(master)
    host.daemon.kill_all(signal.SIGKILL)
    wait_until(_has_gone(master, start), 10, "the tree has gone")
    yield True


@fault("SIGTERM of a whole tree", "host", ends_all=True)
def stop_tree(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    master = _find(host, "master")
    start = processes.start_of(master)
    host.daemon.kill_all(signal.SIGTERM)
    wait_until(_has_gone(master, start), 20, "the tree has gone")
    yield True


def _frozen(host: Host, role: str) -> Iterator[bool]:
    pid = _find(host, role)
    os.kill(pid, signal.SIGSTOP)
    look = wait_until(lambda: (p := processes.look(pid)) is None or p.state == "T", 5, f"{role} is frozen")
    try:
        yield bool(look)
    finally:
        _send(pid, signal.SIGCONT)


@fault("a child frozen beyond its lease", "host", (6, 8))
def freeze_child(_world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _frozen(host, _child(rng))


@fault("the master frozen", "host", (1, 7))
def freeze_master(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _frozen(host, "master")


@fault("the forkserver frozen", "host", (1, 6))
def freeze_forkserver(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _frozen(host, "forkserver")


@fault("the keeper frozen for less than the lease", "host", (0.5, 2))
def freeze_keeper(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _frozen(host, "keeper")


@fault("the keeper frozen beyond the lease", "host", (7, 9), silences=True, cards=2)
def freeze_keeper_long(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _frozen(host, "keeper")


@fault("a whole tree frozen beyond its lease", "host", (7, 10), silences=True, cards=2)
def freeze_tree(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    tree = sorted(host.daemon.processes(), key=lambda process: process.start)
    try:
        for process in tree:
            _send(process.pid, signal.SIGSTOP)
        yield bool(tree)
    finally:
        for process in tree:  # these alone, and all of them: who comes meanwhile was not frozen
            _send(process.pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@fault("quiet, then resume", "host", (0.3, 2))
def quiet(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    os.kill(_find(host, "master"), signal.SIGUSR1)
    try:
        yield True
    finally:
        with suppress(ProcessLookupError, Missed):
            os.kill(_find(host, "master"), signal.SIGCONT)


@fault("one child quieted, then renewed", "host", (0.3, 1))
def quiet_child(world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    role = _child(rng)
    pid = _kill(world, host, role, signal.SIGUSR1)
    try:
        yield True
    finally:
        with suppress(ProcessLookupError):
            if host.daemon.pids().get(role) == pid:
                os.kill(pid, signal.SIGTERM)


@fault("rolling restart", "host", (0, 2), boots_keeper=True)
def roll(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    os.kill(_find(host, "master"), signal.SIGUSR2)
    yield True


@fault("stacks asked for", "host")
def stacks(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    os.kill(_find(host, "master"), signal.SIGTTIN)
    yield True


# What a machine runs out of


@fault("fork fails with EAGAIN", "host", (0.5, 3), boots_keeper=True)
def no_fork(world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    assert host.pids
    host.pids.set("pids.max", 1)
    before = host.pids.get("pids.events", "max")
    try:
        _kill(world, host, rng.choice(("child 0", "child 1", "keeper", "forkserver")), signal.SIGKILL)
        wait_until(lambda: host.pids.get("pids.events", "max") > before, 5, "a fork has failed")
        yield True
    finally:
        host.pids.set("pids.max", "max")


@fault("no file descriptors left", "host", (0.5, 2))
def no_descriptors(_world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    pid = _find(host, _child(rng))
    with processes.no_more_descriptors(pid):
        host.proxy.cut_all()  # it has to connect again, and cannot
        yield True


@fault("the kernel's OOM killer", "host", (1, 4))
def out_of_memory(world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    """A job of this host's own queue takes more than its control group has, until it is taken for poisonous."""
    assert host.memory
    before = host.memory.get("memory.oom_control", "oom_kill")
    world.generator.push_hog(host.queue)
    wait_until(lambda: host.memory.get("memory.oom_control", "oom_kill") > before, 15, "the kernel has killed one")
    yield True


@fault("a full disk under the log", "host", (0.5, 4))
def full_disk(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    assert host.disk
    try:
        yield host.disk.fill()
    finally:
        host.disk.empty()


@fault("both cores busy", "host", (1, 4))
def busy(_world: World, _host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    spinners = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield True
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


@fault("the clock of a host steps by an hour", "host", (2, 5))
def step_host_clock(_world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    assert host.clock
    host.clock.step(rng.choice((-3600, 3600)))
    try:
        yield True
    finally:
        host.clock.step(0)


# The way to Redis


@fault("connections cut", "network", cards=2)
def cut_all(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    host.proxy.cut_all()
    yield True


def _is_settle(command: list[bytes], _reply: Any) -> bool:
    return command[0] == b"EVALSHA" and command[3].startswith(b"settled:")


def _is_wait(command: list[bytes], reply: Any) -> bool:
    """One that has brought something."""
    return command[0] == b"BLMOVE" and bool(reply)


def _is_fetch(command: list[bytes], reply: Any) -> bool:
    """Where there is a reply already, one that has taken something."""
    is_script = command[0] == b"EVALSHA" and command[3].startswith(b"taken:") and command[4].startswith(b"queue:")
    return is_script and (reply is None or (isinstance(reply, list) and any(reply)))


def _is_restore(command: list[bytes], _reply: Any) -> bool:
    """In this form, or in that of planted bugs."""
    return command[0] in (b"LREM", b"RPUSH") or (command[0] == b"EVALSHA" and command[3].startswith(b"working:"))


def _cut(host: Host, what: Matches, when: str, times: int) -> Iterator[bool]:
    order = host.proxy.cut_after if when == "after" else host.proxy.cut_before
    cut = order(what, times)
    try:
        yield cut.done.wait(6)
    finally:
        host.proxy.drop_cuts()


@fault("cut after a fetch ran", "network", (0, 1), cards=3)
def cut_after_fetch(world: World, host: Host, _rng: random.Random, hold: float) -> Iterator[bool]:
    cut = host.proxy.cut_after(_is_fetch, 1 + int(3 * hold))
    try:
        world.generator.probe(host.queue, FETCHED)  # too many to be brought by waits
        yield cut.done.wait(6)
    finally:
        host.proxy.drop_cuts()


@fault("cut after a wait has brought a job", "network", (0, 1), cards=2)
def cut_after_wait(world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    """Nobody waits for jobs in a flood."""
    world.generator.hushed.set()
    try:
        yield from _cut(host, _is_wait, "after", 1)
    finally:
        world.generator.hushed.clear()


@fault("cut before a fetch ran", "network", (0, 1))
def cut_before_fetch(_world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _cut(host, _is_fetch, "before", rng.randint(1, 3))


@fault("cut after a settle ran", "network", (0, 1), cards=2)
def cut_after_settle(_world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _cut(host, _is_settle, "after", rng.randint(1, 3))


@fault("cut before a settle ran", "network", (0, 1))
def cut_before_settle(_world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _cut(host, _is_settle, "before", rng.randint(1, 3))


@fault("cut while a dead child's jobs are put back", "network", (0, 1), cards=2)
def cut_restore(world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    order = rng.choice((host.proxy.cut_after, host.proxy.cut_before))
    cut = order(_is_restore, rng.randint(1, 2))
    world.generator.probe(host.queue, IN_HAND, 0.5)
    try:
        _kill(world, host, _child(rng), signal.SIGKILL)
        yield cut.done.wait(6)
    finally:
        host.proxy.drop_cuts()


@fault("a killed child's last fetch arrives late", "network", (16, 17))
def late_fetch(world: World, host: Host, _rng: random.Random, hold: float) -> Iterator[bool]:
    """When nobody looks for it any more: it must take none."""
    world.generator.probe(host.queue, FETCHED)
    late = host.proxy.keep_back(_is_fetch)
    try:
        if not late.held.wait(6):
            raise Missed("nobody fetched")
        identity = late.command[3].decode().removeprefix("taken:")
        _hit(world, host, int(identity.split(":")[1]), signal.SIGKILL)
        wait_until(lambda: not world.client.sismember("processes", identity), 5, "its jobs are back")
        pause(hold)
        world.client.sadd("paused", host.queue)  # so that there is what it could take
        pause(1.5)
        world.generator.probe(host.queue, FETCHED)
        before = _refused_as_taken(world)
        late.release()
        wait_until(lambda: _refused_as_taken(world) > before, 3, "it has arrived")
        yield True
    finally:
        late.release()
        wait_until(lambda: _opens(world, host.queue), 20, "the queue is open again")


def _opens(world: World, queue: str) -> bool:
    """Whether a queue could be opened: another front may just have taken Redis away."""
    try:
        world.client.srem("paused", queue)
    except redis.RedisError:
        return False
    return True


def _refused_as_taken(world: World) -> int:
    """How often a fetch or a beat was refused, as its process counts as dead."""
    return int(world.client.info("errorstats").get("errorstat_TAKEN", {}).get("count", 0))


@fault("half-open connections", "network", (0.5, 8), silences=True)
def half_open(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    host.proxy.black_hole()
    try:
        yield True
    finally:
        host.proxy.restore_flow()


@fault("half-open connections, and a child killed", "network", (0.5, 3), silences=True, cards=2)
def half_open_kill(world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    """Its armed waits live on at Redis, and take jobs for nobody."""
    host.proxy.black_hole()
    try:
        _kill(world, host, _child(rng), signal.SIGKILL)
        yield True
    finally:
        host.proxy.restore_flow()


@fault("half-open connections, and a whole tree killed", "network", (2, 6), silences=True, ends_all=True)
def half_open_kill_tree(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    host.proxy.black_hole()
    try:
        host.daemon.kill_all(signal.SIGKILL)
        yield True
    finally:
        host.proxy.restore_flow()


@fault("connections refused", "network", (0.5, 8), silences=True)
def refuse(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    host.proxy.refuse()
    try:
        yield True
    finally:
        host.proxy.allow()


@fault("latency of 1 to 500 ms", "network", (1, 5), silences=True)
def latency(_world: World, host: Host, rng: random.Random, _hold: float) -> Iterator[bool]:
    host.proxy.delay(rng.choice((0.001, 0.005, 0.02, 0.1, 0.5)) / 2)  # in each direction
    try:
        yield True
    finally:
        host.proxy.delay(0)


@fault("a partition", "network", (1, 10), silences=True, masters=(2,))
def partition(_world: World, host: Host, _rng: random.Random, _hold: float) -> Iterator[bool]:
    assert host.network
    host.network.pull()
    try:
        yield True
    finally:
        host.network.plug()


# Redis


@fault("Redis restarted", "all", (0.1, 2))
def restart_redis(world: World, _host: None, _rng: random.Random, _hold: float) -> Iterator[bool]:
    world.server.stop()
    try:
        yield True
    finally:
        world.server.start()


@fault("Redis killed", "all", (0.1, 4))
def kill_redis(world: World, _host: None, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _killed_redis(world)


def _killed_redis(world: World) -> Iterator[bool]:
    world.server.kill()
    try:
        yield True
    finally:
        world.server.start()


@fault("Redis frozen", "all", (1, 5))
def freeze_redis(world: World, _host: None, _rng: random.Random, _hold: float) -> Iterator[bool]:
    yield from _frozen_redis(world)


def _frozen_redis(world: World) -> Iterator[bool]:
    world.server.pause()
    try:
        yield True
    finally:
        world.server.resume()


@fault("Redis away for longer than a lease", "all", (6, 8))
def lose_redis(world: World, _host: None, rng: random.Random, _hold: float) -> Iterator[bool]:
    """Nobody can show a sign of life meanwhile, and nobody may be thought dead for that."""
    yield from (_frozen_redis if rng.random() < 0.5 else _killed_redis)(world)


@fault("the keepers of all masters frozen beyond the lease", "all", (10, 12), silences=True)
def freeze_keepers(world: World, _host: None, _rng: random.Random, _hold: float) -> Iterator[bool]:
    """Nobody declares anybody dead: each child has to see by itself that its lease is over."""
    with ExitStack() as stack:
        for host in world.hosts:
            frozen = contextmanager(_frozen)(host, "keeper")
            stack.enter_context(frozen)
        yield True


@fault("Redis slow", "all", (1, 3))
def slow_redis(world: World, _host: None, rng: random.Random, hold: float) -> Iterator[bool]:
    """In gasps: it does nothing for a while, then a moment of work."""
    until = time.monotonic() + hold
    while time.monotonic() < until:
        world.client.execute_command("CLIENT", "PAUSE", rng.randint(50, 400), "ALL")
        pause(0.05)
    world.client.execute_command("CLIENT", "UNPAUSE")
    yield True


@fault("Redis out of memory", "all", (0.5, 3))
def redis_out_of_memory(world: World, _host: None, _rng: random.Random, _hold: float) -> Iterator[bool]:
    world.client.config_set("maxmemory", 1)
    try:
        yield _is_refused(world, "OOM")
    finally:
        _insist(lambda: world.client.config_set("maxmemory", 0))


@fault("Redis read-only", "all", (0.5, 3))
def read_only_redis(world: World, _host: None, _rng: random.Random, _hold: float) -> Iterator[bool]:
    """A replica of nothing: it keeps what it has, and takes no writes."""
    world.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield _is_refused(world, "READONLY")
    finally:
        _insist(lambda: world.client.execute_command("REPLICAOF", "NO", "ONE"))


def _insist(call: Callable[[], object]) -> None:
    """What undoes a fault must happen, though a connection may be stale."""

    def succeeds() -> bool:
        with suppress(redis.ConnectionError, redis.TimeoutError):
            call()
            return True
        return False

    wait_until(succeeds, 20, "Redis obeys")


def _is_refused(world: World, why: str) -> bool:
    try:
        world.client.lpush("faults:probe", encode(payload("probe")))
    except redis.RedisError as error:
        return why in str(error) or why in type(error).__name__.upper() or "memory" in str(error)
    return False


@fault("the clock of Redis steps by an hour", "all", (1, 3), cards=3, needs_valkey=True)
def step_redis_clock(world: World, _host: None, rng: random.Random, _hold: float) -> Iterator[bool]:
    assert world.clock
    by = rng.choice((-3600, 3600))
    world.clock.step(by)
    try:
        wait_until(lambda: _is_ahead(world, by), 5, "its clock has stepped")
        yield True
    finally:
        world.clock.step(0)
        # it looks at the file once a second; a pause of clients that began before would last for an hour
        wait_until(lambda: _is_ahead(world, 0), 20, "its clock is right again")


def _is_ahead(world: World, seconds: float) -> bool:
    with suppress(redis.RedisError):
        return bool(abs(world.client.time()[0] - time.time() - seconds) < 60)
    return False
