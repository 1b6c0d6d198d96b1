"""Row 1: commands and pages of the API answer as quickly, and as small, from a million entries as from ten.

CI fills a small Redis and judges memory.  ``make scale`` fills one with a million retries, as many scheduled and five
times as many queued jobs, judges time, too, and prints the table of docs/inspection.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from forkworker.inspect import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.servers import RedisServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

SCALE = int(os.environ.get("FORKWORKER_SCALE", "3000"))
IS_LARGE = SCALE >= 1_000_000
PROCESSES = 200
MOST_SECONDS, MOST_MEGABYTES = 0.3, 100

FILL = """
local kind, first, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local head = '{"class":"app.job%d","args":["a%08d.jpg",200],"jid":"%024x","queue":"mail","retry":true,'
local times = '"created_at":1764000000.25,"enqueued_at":1764000000.5,"retry_count":3,"failed_at":1764000001.5,'
local tail = '"error_class":"ValueError","error_message":"it failed with %d"}'
for i = first, first + count - 1 do
  local job = string.format(head .. times .. tail, i % 100, i, i, i % 1000)
  if kind == 'list' then redis.call('LPUSH', KEYS[1], job) else redis.call('ZADD', KEYS[1], 1764000000 + i / 4, job) end
end
"""
BEATS = """
for i = 1, tonumber(ARGV[1]) do
  local identity = string.format('worker%02d.example.com:%d:%012x', i % 20, 1000 + i, i)
  redis.call('SADD', KEYS[1], identity)
  redis.call('SADD', KEYS[2], 'working:' .. identity .. ':mail')
  redis.call('HSET', identity, 'info', '{"hostname":"worker","pid":1,"tag":"shop","queues":["mail"],"started_at":1.5}',
    'busy', 25, 'beat', ARGV[2], 'quiet', 'false', 'rss', 90000, 'rtt_us', 200, 'concurrency', 25)
  for t = 1, 25 do
    local work = '{"queue":"mail","run_at":1764000000,"payload":{"class":"A","jid":"%d","args":[]}}'
    redis.call('HSET', identity .. ':work', 't' .. t, string.format(work, 100 * i + t))
  end
end
"""


def fill(redis: redispy.Redis) -> None:
    redis.sadd("queues", "mail")
    script = redis.register_script(FILL)
    for key, kind, total in (("queue:mail", "list", 5 * SCALE), ("retry", "set", SCALE), ("schedule", "set", SCALE)):
        for first in range(0, total, 10_000):
            script(keys=[key], args=[kind, first, min(10_000, total - first)])
    beat(redis)


def beat(redis: redispy.Redis) -> None:
    redis.eval(BEATS, 2, "processes", "working", PROCESSES, time.time())


#: a process of its own in between: what a child has at most begins with what its parent has
LAUNCHER = """
import resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


class Cost(NamedTuple):
    """What a Python took: seconds by the clock, seconds of the processor, megabytes."""

    seconds: float
    processor: float
    megabytes: float

    def row(self, line: str) -> str:
        """Return a line of a table."""
        return f"| {line} | {self.seconds * 1000:,.0f} | {self.processor * 1000:,.0f} | {self.megabytes:.0f} |"


def cost(words: list[str], url: str) -> Cost:
    """Run a Python, and return what it took."""
    environment = os.environ | {"FORKWORKER_REDIS_URL": url, "RUNTIME_DIRECTORY": "/nowhere"}
    launch = [sys.executable, "-c", LAUNCHER, *words]
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=600, check=True)
    code, *used = map(float, done.stdout.split())
    assert code == 0 or (words[2:3] == ["doctor"] and code == 1), (words, done.stderr)
    return Cost(*used)


def lines() -> tuple[list[str], list[str]]:
    """Return the commands that read what they show, and those that look at everything."""
    middle, last = SCALE // 2, f"{5 * SCALE - 1:024x}"
    return [
        "--version", "status", "status --json", "queues", "processes", "doctor", "jobs list running",
        "jobs list retries", f"jobs list scheduled --start {middle}", f"jobs list queue mail --start {5 * middle}",
        f"jobs list queue mail --start {5 * SCALE - 10}", "jobs list dead", "jobs list retries --name app.job7",
        "jobs list scheduled --since 2025-11-24T17:00Z", f"jobs show {100:024x} retries", "pause mail", "unpause mail",
    ], [
        "jobs kinds retries", "jobs list retries --name nothing", "jobs retry retries --name nothing",
        f"jobs show {SCALE - 1:024x}", f"jobs delete queue mail --jid {last} --yes", "queues --clear mail --yes",
    ]  # fmt: skip


def test_commands_are_quick_and_small_whatever_stands_in_redis(redis_server: RedisServer, redis: redispy.Redis) -> None:
    redis.config_set("appendonly", "no")
    fill(redis)
    quick, scans = lines()
    tries = 3 if IS_LARGE else 1
    slow: list[str] = []

    print("\n| command | ms | ms of the processor | MB |\n|---|---|---|---|")
    print(min(cost(["-c", "pass"], redis_server.url) for _ in range(tries)).row("an empty Python"))
    for line in [*quick, *scans]:
        costs: list[Cost] = []
        for _ in range(1 if line in scans else tries):
            beat(redis)
            costs.append(cost(["-m", "forkworker", *line.split()], redis_server.url))
        least = min(costs)
        print(least.row(f"`{line}`"), flush=True)
        assert max(each.megabytes for each in costs) < MOST_MEGABYTES, line
        if line in quick and least.seconds > MOST_SECONDS:
            slow.append(line)
    assert not slow or not IS_LARGE, slow


def test_pages_of_the_api_read_what_they_show_and_no_more(redis_server: RedisServer, redis: redispy.Redis) -> None:
    redis.config_set("appendonly", "no")
    fill(redis)
    here = Inspector(redis_server.url)
    queue, middle = here.queue("mail"), SCALE // 2
    pages: dict[str, Callable[[], object]] = {
        "overview": here.overview, "queues": here.queues, "processes": here.processes,
        "running": lambda: list(here.running()), "orphans": here.orphans, "days": lambda: here.days(180),
        "queue, head": queue.page, "queue, middle": lambda: queue.page(5 * middle),
        "queue, end": lambda: queue.page(5 * SCALE - 25), "latency": lambda: queue.latency_seconds,
        "retries, middle": lambda: here.retries.page(middle), "schedule, end": lambda: here.schedule.page(SCALE - 25),
        "retry one": lambda: here.retries.retry(here.retries.page(middle, 1)[0]),
        "delete one in the middle of the queue": lambda: queue.delete(queue.page(5 * middle, 1)[0]),
        "bury one at the end of the queue": lambda: queue.bury(queue.page(5 * SCALE - 30, 1)[0]),
    }  # fmt: skip
    for name, page in pages.items():
        sent = redis.info("stats")["total_net_output_bytes"]
        began = time.monotonic()
        page()
        seconds = time.monotonic() - began
        kilobytes = (redis.info("stats")["total_net_output_bytes"] - sent) / 1024
        print(f"{seconds * 1000:8.1f} ms {kilobytes:8.1f} kB  {name}", flush=True)
        assert kilobytes < 2000, name
        if not name.startswith(("delete", "bury")):  # Redis itself looks through half a queue for it
            assert seconds < MOST_SECONDS or not IS_LARGE, name
    here.close()
