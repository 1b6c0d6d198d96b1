"""Whatever a master is told, in whatever state and by whomever: one orderly end within the bound, nothing left."""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGUSR1, SIGUSR2
from typing import TYPE_CHECKING

import pytest
from support import processes
from support.payloads import push, push_many
from support.snapshot import homes, places, queue
from support.tools import container, lack
from support.waiting import Watch

from forkworker.unix import control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

#: how many random sequences, and from which number on: other numbers are other sequences
SEQUENCES = int(os.environ.get("FORKWORKER_TEST_SEQUENCES", "10"))
FIRST_SEQUENCE = int(os.environ.get("FORKWORKER_TEST_FIRST_SEQUENCE", "0"))
TIMEOUT_SECONDS = 0.5
BOUND_SECONDS = TIMEOUT_SECONDS + 2
MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = 256 << 20


def has_begun(tree: Daemon) -> bool:
    """Say whether the master has its handlers; before that a signal ends it as it ends any program."""
    return "boots:" in tree.log()


def ask(tree: Daemon, command: str) -> None:
    """Ask over the control socket, without waiting for the effect."""
    with suppress(control.ControlError):  # it may be on its way out
        control.ask(str(tree.socket), {"command": command}, 5)


# TERM in every state


def during_boot(tree: Daemon) -> None:
    tree.wait_until(lambda: has_begun(tree), 30, "the master has begun")


def when_quiet(tree: Daemon) -> None:
    tree.wait_ready(seconds=30)
    ask(tree, "quiet")


def during_a_rolling_restart(tree: Daemon) -> None:
    tree.wait_ready(seconds=30)
    before = tree.child_pids()
    tree.signal(SIGUSR2)
    tree.wait_until(lambda: tree.child_pids() - before, 30, "a child with the new code")


def with_others(tree: Daemon) -> None:
    tree.wait_ready(seconds=30)
    for number in (SIGUSR1, SIGTTIN, SIGUSR2, SIGTERM, SIGTTIN, SIGUSR1):
        tree.signal(number)


STATES = (during_boot, when_quiet, during_a_rolling_restart, with_others)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_term_ends_all_in_every_state(
    daemon: MakeDaemon, redis: redispy.Redis, state: Callable[[Daemon], None]
) -> None:
    tree = daemon(children=2, timeout=TIMEOUT_SECONDS, ready=False)
    jids = push_many(redis, "record", [[number, 20] for number in range(10)])
    state(tree)
    with bounded(tree):
        tree.signal(SIGTERM)
        tree.assert_clean_exit(0, seconds=20)
    assert sorted(queue(redis)) == sorted(jids)


@contextmanager
def bounded(tree: Daemon) -> Iterator[None]:
    """Check that what is done here, an end, takes no longer than a stop may, as far as this machine let it run."""
    began = time.monotonic()
    with Watch(lambda: None, every=0.01) as watch:
        yield
    ended = time.monotonic()
    allowed = BOUND_SECONDS + 1 + 10 * watch.stall(began, ended)
    assert ended - began <= allowed, f"{ended - began:.1f} s\n{tree.describe()}"


# Random sequences


def steps(tree: Daemon) -> dict[str, Callable[[], object]]:
    """What operators, deploys and accidents do to a master that goes on living."""
    return {
        "USR1": lambda: tree.signal(SIGUSR1),
        "TSTP": lambda: tree.signal(SIGTSTP),
        "CONT": lambda: tree.signal(SIGCONT),
        "TTIN": lambda: tree.signal(SIGTTIN),
        "USR2": lambda: tree.signal(SIGUSR2),
        "HUP": lambda: tree.signal(SIGHUP),
        "quiet": lambda: ask(tree, "quiet"),
        "resume": lambda: ask(tree, "resume"),
        "rolling-restart": lambda: ask(tree, "rolling-restart"),
        "status": lambda: ask(tree, "status"),
        "TERM child 0": lambda: tree.kill("child 0", SIGTERM),
        "USR1 child 1": lambda: tree.kill("child 1", SIGUSR1),
        "kill child 1": lambda: tree.kill("child 1", SIGKILL),
        "kill keeper": lambda: tree.kill("keeper", SIGKILL),
        "kill forkserver": lambda: tree.kill("forkserver", SIGKILL),
    }


def ends(tree: Daemon) -> dict[str, Callable[[], object]]:
    """What ends a master, alone or together with other things."""
    return {
        "TERM": lambda: tree.signal(SIGTERM),
        "TERM twice": lambda: (tree.signal(SIGTERM), tree.signal(SIGTERM)),
        "TERM, USR1, TTIN": lambda: [tree.signal(number) for number in (SIGTERM, SIGUSR1, SIGTTIN)],
        "TERM, CONT": lambda: (tree.signal(SIGTERM), tree.signal(SIGCONT)),
        "INT": lambda: tree.signal(SIGINT),
        "QUIT": lambda: tree.signal(SIGQUIT),
        "stop": lambda: ask(tree, "stop"),
        "TERM to all": lambda: tree.kill_all(SIGTERM),
    }


@pytest.mark.parametrize("number", range(FIRST_SEQUENCE, FIRST_SEQUENCE + SEQUENCES))
def test_random_sequence_has_one_orderly_end(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, number: int
) -> None:
    """Its number says what is done; it begins in the middle of the boot."""
    chance = random.Random(number)
    jids = push_many(redis, "record", [[key, chance.choice([0, 0.05, 0.3, 20])] for key in range(30)])
    tree = daemon(children=2, timeout=TIMEOUT_SECONDS, ready=False)
    tree.wait_until(lambda: has_begun(tree), 30, "the master has begun")
    done = []
    for _ in range(chance.randrange(1, 9)):
        time.sleep(chance.choice([0, 0.02, 0.1, 0.5]))  # the sequence has a rhythm, too
        done.append(chance.choice(list(steps(tree))))
        with suppress(KeyError, ProcessLookupError):  # who is meant may not be there
            steps(tree)[done[-1]]()
    done.append(chance.choice(list(ends(tree))))
    print(done)
    with bounded(tree):
        ends(tree)[done[-1]]()
        assert tree.wait_exit(20) == 0, tree.describe()
        tree.assert_gone()
    if tree.log_lines("children are still shown in Redis"):  # the keeper was killed, and its successor came too late
        tree.start().wait_ready(seconds=30).signal(SIGTERM)
    tree.assert_clean_exit(0, seconds=20, crashed=any(step.startswith("kill") for step in done))
    where = homes(redis)
    assert max(places(redis).values(), default=1) == 1, where
    assert {*where, *records.ended()} == set(jids)
    suspects = {"schedule"} if tree.log_lines("runs again apart") else set()  # some were in two crashes together
    others = {key for keys in where.values() for key in keys if not key.startswith("queue:")}
    assert others <= suspects, where


# Other parents


def test_as_process_1_of_a_container_it_reaps_strangers_and_stops_in_order(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2, timeout=TIMEOUT_SECONDS, prefix=container())
    assert processes.inner_pid(tree.master()) == 1
    left_behind = [push(redis, "abandon") for _ in range(5)]
    tree.wait_until(lambda: set(records.ended()) == set(left_behind), 20, "five have left a process behind")
    tree.wait_until(lambda: not processes.zombies(tree.master()), 20, "all of them are reaped")
    jids = push_many(redis, "record", [[number, 20] for number in range(10)])
    tree.wait_until(lambda: len(records.running()) == 10, 20, "ten run")
    with bounded(tree):
        tree.signal(SIGTERM)
        tree.assert_clean_exit(0, seconds=20)
    assert sorted(queue(redis)) == sorted(jids)


@pytest.mark.parametrize("to_all", [False, True], ids=["its group", "every process"])
def test_behind_a_shell_it_stops_in_order(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, to_all: bool
) -> None:
    """The shell dies of the signal, as shells do; what it has started ends in order without it."""
    tree = daemon(children=2, timeout=TIMEOUT_SECONDS, prefix=("sh", "-c", '"$@"; exit $?', "sh"))
    jids = push_many(redis, "record", [[number, 20] for number in range(10)])
    tree.wait_until(lambda: len(records.running()) == 10, 20, "ten run")
    assert tree.process
    assert tree.master() != tree.process.pid
    with bounded(tree):
        if to_all:
            tree.kill_all(SIGTERM)
            tree.process.terminate()
        else:
            os.killpg(tree.process.pid, SIGTERM)
        tree.wait_exit(20)
        tree.assert_gone(20)
    assert tree.log_lines("master")[-1].endswith("stopped")
    assert sorted(queue(redis)) == sorted(jids)
    tree.assert_nothing_held()


# Out of memory


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory limit that a small tree keeps well below."""
    if not os.access(MEMORY / "cgroup.procs", os.W_OK):
        lack("it needs root, and the memory controller of cgroup version 1")
    folder = MEMORY / f"fw-{os.getpid()}-{random.getrandbits(32):08x}"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    yield folder
    folder.rmdir()


def test_child_that_the_kernel_kills_for_memory_costs_nobody_else_anything(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, cgroup: Path
) -> None:
    inside = ("sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "sh")
    tree = daemon(children=2, concurrency=1, prefix=inside)
    before = tree.pids()
    neighbour = push(redis, "record", [1, 3])
    tree.wait_until(lambda: neighbour in records.running(), 20, "the neighbour runs")
    greedy = push(redis, "hoard", [2 * LIMIT_BYTES])

    tree.wait_until(
        lambda: tree.log_lines("was killed by signal 9, perhaps out of memory"), 20, "the kernel has killed"
    )
    tree.wait_until(lambda: set(records.ended()) == {greedy, neighbour}, 30, "both have run")

    (victim,) = tree.log_lines("perhaps out of memory")
    assert victim.split("child ")[1].startswith(("0 ", "1 "))
    now = tree.wait_ready().pids()
    assert {role: now[role] for role in ("master", "keeper", "forkserver")} == {
        role: before[role] for role in ("master", "keeper", "forkserver")
    }
    assert records.started() == {greedy: 2, neighbour: 1}
    tree.stop()


@pytest.mark.parametrize("limit", ["-Sn 40", "-n 45"], ids=["soft", "hard"])
def test_limit_of_descriptors_costs_children_and_not_the_tree(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records, limit: str
) -> None:
    """Incident: the master ended as it had no descriptor left for a child that had just been forked.

    A soft limit it raises; below a hard one it has as many children as it can.
    """
    tree = daemon(children=12, start=False, prefix=("sh", "-c", f'ulimit {limit}; exec "$@"', "sh"))
    tree.start()
    if limit.startswith("-S"):
        tree.wait_ready(12, seconds=30)
    else:
        tree.wait_until(lambda: tree.log_lines("cannot be made now: Too many open files"), 20)
    jids = push_many(redis, "record", [[number] for number in range(20)])
    tree.wait_until(lambda: set(records.ended()) == set(jids), 20)
    assert tree.process is not None
    assert tree.process.poll() is None
    tree.stop()
