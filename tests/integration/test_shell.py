"""The shell on real trees: what docs/shell.md tells word for word, terminals, and two operators at once."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import documents
from support.documents import ROOT
from support.payloads import push, push_at
from support.snapshot import homes, places
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

SHELL = ROOT / "docs/shell.md"
NUMBER = re.compile(r"\d[\d.,:-]*")


def session() -> Iterator[tuple[str, str]]:
    """Return the commands of the document, each with what it is to print."""
    for block in documents.blocks(SHELL, "console"):
        for part in block.text.split("$ ")[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed


def plain(text: str) -> str:
    """Leave out what is different each time: numbers, units, folders, the words of a date."""
    text = re.sub(r"\S*/(\w+\.py):", r"\1:", text)
    text = NUMBER.sub("#", text)
    text = re.sub(r"# (s|min|h)\b", "# s", text)
    return "\n".join(re.sub(r" +", " ", line).strip() for line in text.strip().splitlines())


def run(tree: Daemon, command: str) -> str:
    """Run a line as an operator would, in the app's folder; return all that it prints."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = tree.environment() | {"PATH": path, "FORKWORKER_REDIS_URL": tree.url}
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tree.directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_night_on_call_goes_as_the_document_has_it(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    """Row 2."""
    tree = daemon(app="shop", children=2, named_socket=False, queues=("mail",), arguments=["-g", "shop"], start=False)
    documents.write_modules(SHELL, tree.directory)
    tree.start()
    tree.wait_ready()
    push(redis, "shop.send_receipt", [4711], queue="mail", jid="3d3478a45bf1f29f272ec0f4")
    push(redis, "shop.send_receipt", [4712], queue="mail", jid="0a1b2c3d4e5f60718293a4b5", retry=0)
    for number in range(3):
        push(redis, "shop.resize", [f"{number}.jpg"], queue="mail", retry=0)
    tree.wait_until(lambda: (redis.zcard("retry"), redis.zcard("dead")) == (1, 4), 10, "all have failed")

    for command, printed in session():
        seen = ""
        for _ in range(10):  # a job that was retried may take a moment
            seen = run(tree, command)
            if plain(seen) == plain(printed) or not command.startswith("forkworker jobs show"):
                break
        assert plain(seen) == plain(printed), f"$ {command}\n{seen}"

    assert tree.log_lines("Thread 0x"), "the stacks are in the log"
    assert list(homes(redis)) == ["0a1b2c3d4e5f60718293a4b5"]
    assert redis.get("stat:processed") == b"6"
    tree.stop()


def test_a_quiet_child_takes_nothing_and_the_other_everything(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    tree = daemon(children=2)
    pids = tree.children()

    assert tree.control("quiet", "--child", "0", "--wait").returncode == 0
    for number in range(50):
        push(redis, "record", [number])
    tree.wait_until(lambda: len(records.ends()) == 50, 10, "all have run")
    assert {event.pid for event in records.starts()} == {pids[1]}
    assert tree.control("quiet", "--child", "7").stderr.endswith("there is no child 7\n")

    assert tree.control("resume", "--child", "0").returncode == 0
    tree.wait_until(lambda: _ran_on(tree, redis, records) == set(pids.values()), 15, "both take jobs again")
    tree.stop()


def _ran_on(tree: Daemon, redis: redispy.Redis, records: Records) -> set[int]:
    for number in range(20):
        push(redis, "record", [number, 0.02])
    tree.wait_until(lambda: places(redis) == {}, 10)
    return {event.pid for event in records.starts()}


def test_two_operators_act_on_each_entry_once_while_jobs_run(
    daemon: MakeDaemon, redis: redispy.Redis, records: Records
) -> None:
    """Row 6."""
    tree = daemon(children=2)
    now = time.time()
    wanted = [push_at(redis, now + 3600 + n, "record", [n], "retry", retry_count=1, failed_at=now) for n in range(600)]
    others = [push_at(redis, now + 3600 + n, "other", [n], "retry", retry_count=1, failed_at=now) for n in range(50)]
    outputs: list[str] = []

    def operate(line: str) -> None:
        outputs.append(run(tree, f"forkworker jobs {line} --name record"))

    lines = ["retry retries", "delete retries --yes", "retry retries", "bury retries --yes"]
    threads = [threading.Thread(target=operate, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outputs) == 4, outputs
    counts = [
        (m[2], m[1].replace(",", "")) for m in (re.search(r"([\d,]+) jobs? (\w+)", text) for text in outputs) if m
    ]
    done = {action: sum(int(n) for a, n in counts if a == action) for action in ("retried", "deleted", "buried")}
    assert sum(done.values()) == len(wanted), outputs
    tree.wait_until(lambda: len(records.ends()) == done["retried"], 15, "what was retried has run")
    assert set(records.started().values()) <= {1}
    assert redis.zcard("dead") == done["buried"]
    assert set(records.started()) | {jid for jid in homes(redis) if jid not in others} <= set(wanted)
    assert redis.zcard("retry") == len(others)
    tree.wait_until(lambda: set(places(redis).values()) == {1}, 5)
    tree.stop()


# Terminals


class Terminal:
    """A command on a pseudo-terminal of the tests' own."""

    def __init__(self, url: str, *words: str) -> None:
        self.end, inner = pty.openpty()
        environment = os.environ | {
            "FORKWORKER_REDIS_URL": url,
            "TERM": "xterm",
            "NO_COLOR": "",
            "RUNTIME_DIRECTORY": "/nowhere",
        }
        line = [sys.executable, "-m", "forkworker", *words]
        self.process = subprocess.Popen(line, stdin=inner, stdout=inner, stderr=inner, env=environment, cwd=ROOT)
        os.close(inner)
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.end, 65536)
            except OSError:  # the other side is closed
                return
            if not data:
                return
            self.text += data.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())

    def see(self, pattern: str, seconds: float = 20) -> None:
        wait_until(lambda: re.search(pattern, self.text), seconds, pattern, lambda: self.text)

    def close(self) -> int:
        return self.process.wait(20)

    def clear(self) -> None:
        """End what a failed test has left; without it the reader, and so the whole run, would wait for ever."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self.end)


@pytest.fixture
def terminal(redis_server: RedisServer) -> Iterator[Callable[..., Terminal]]:
    """Run commands on terminals."""
    made: list[Terminal] = []

    def make(*words: str) -> Terminal:
        made.append(Terminal(redis_server.url, *words))
        return made[-1]

    yield make
    for one in made:
        one.clear()


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 3), ("\n", 3)])
def test_a_terminal_is_asked_before_something_is_destroyed(
    terminal: Callable[..., Terminal], redis: redispy.Redis, answer: str, left: int
) -> None:
    redis.zadd("dead", {f'{{"class":"A","jid":"{n}"}}': n for n in range(3)})
    running = terminal("jobs", "delete", "dead", "--name", "A")

    running.see(r"Delete 3 of 3 jobs in dead\? \[y/N\] ")
    redis.zadd("dead", {'{"class":"A","jid":"late"}': 0})
    running.type(answer)

    assert running.close() == (1 if left else 0)
    assert redis.zcard("dead") == left + 1
    assert ("3 jobs deleted" if not left else "nothing was done") in running.text


def test_ctrl_c_at_the_question_is_a_no(terminal: Callable[..., Terminal], redis: redispy.Redis) -> None:
    redis.zadd("dead", {'{"class":"A","jid":"1"}': 1})
    running = terminal("jobs", "bury", "queue", "mail", "--all")
    assert running.close() == 0  # there is nothing to ask about
    running = terminal("jobs", "delete", "dead", "--all")

    running.see(r"\[y/N\] ")
    running.process.send_signal(signal.SIGINT)

    assert running.close() == 130
    assert redis.zcard("dead") == 1


def test_status_is_watched_in_colour_with_rates_until_ctrl_c(
    terminal: Callable[..., Terminal], redis: redispy.Redis
) -> None:
    redis.sadd("queues", "mail")
    redis.sadd("paused", "mail")
    running = terminal("status", "--watch", "0.2")

    running.see("\x1b\\[33mpaused")
    redis.incrby("stat:processed", 1000)
    running.see(r"processed +1,000 +[\d,.]+/s")
    running.process.send_signal(signal.SIGINT)

    assert running.close() == 0
    assert "Traceback" not in running.text


def test_a_scan_shows_how_far_it_is_and_ends_at_ctrl_c(terminal: Callable[..., Terminal], redis: redispy.Redis) -> None:
    redis.config_set("appendonly", "no")
    for first in range(0, 100_000, 5000):
        redis.zadd("retry", {f'{{"class":"A","jid":"{n}"}}': n for n in range(first, first + 5000)})
    running = terminal("jobs", "retry", "retries", "--all")

    running.see(r"retry in retry: [\d,]+ of [\d,]+ looked at, of 100,000")
    running.process.send_signal(signal.SIGINT)

    assert running.close() == 130
    done = redis.llen("queue:default")
    assert f"{done:,} jobs retried; interrupted: the rest is as it was" in running.text
    assert done > 0
    assert done + redis.zcard("retry") == 100_000
