"""Row 1: commands and pages of the API answer as quickly, and as small, from a million entries as from ten.

CI fills a small Redis and judges memory.  ``FORKWORKER_SCALE=1000000`` fills one with so many retries, as many
scheduled and five times as many queued jobs, and prints what each takes: pytest -s tests/integration/test_scale.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forkworker.inspect import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.servers import RedisServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

SCALE = int(os.environ.get("FORKWORKER_SCALE", "3000"))
PROCESSES = 200
MOST_MEGABYTES = 100

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
    'busy', 25, 'beat', '1764000000.5', 'quiet', 'false', 'rss', 90000, 'rtt_us', 200, 'concurrency', 25)
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
    redis.eval(BEATS, 2, "processes", "working", PROCESSES)


#: a process of its own in between: what a child has at most begins with what its parent has
LAUNCHER = """
import os, resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.run([sys.executable, '-m', 'forkworker', *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def cost(line: str, url: str) -> tuple[float, float, float]:
    """Return a command's seconds by the clock, its seconds of the processor, and its megabytes."""
    environment = os.environ | {"FORKWORKER_REDIS_URL": url, "RUNTIME_DIRECTORY": "/nowhere"}
    launch = [sys.executable, "-c", LAUNCHER, *line.split()]
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=600, check=True)
    code, seconds, processor, megabytes = map(float, done.stdout.split())
    assert code == 0, (line, done.stderr)
    return seconds, processor, megabytes


def test_commands_are_quick_and_small_whatever_stands_in_redis(redis_server: RedisServer, redis: redispy.Redis) -> None:
    redis.config_set("appendonly", "no")
    empty = {line: min(cost(line, redis_server.url)[1] for _ in range(2)) for line in ("status", "jobs list retries")}
    fill(redis)

    middle, last = SCALE // 2, f"{5 * SCALE - 1:024x}"
    lines = [
        "status", "status --json", "queues", "processes", "jobs list dead", "pause mail", "unpause mail",
        "jobs list retries", f"jobs list scheduled --start {middle}", "jobs list scheduled --since 2025-11-24T17:00Z",
        f"jobs list queue mail --start {5 * middle}", f"jobs list queue mail --start {5 * SCALE - 10}",
        "jobs list retries --name app.job7", "jobs retry retries --name nothing",
        f"jobs delete queue mail --jid {last} --yes", "queues --clear mail --yes",
    ]  # fmt: skip
    for line in lines:
        seconds, processor, megabytes = cost(line, redis_server.url)
        print(f"{seconds:7.3f} s {processor:7.3f} s of the processor {megabytes:6.1f} MB  {line}")
        assert megabytes < MOST_MEGABYTES, line
    print({line: f"{seconds:.3f} s of the processor when Redis is empty" for line, seconds in empty.items()})


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
        print(f"{seconds * 1000:8.1f} ms {kilobytes:8.1f} kB  {name}")
        assert kilobytes < 2000, name
    here.close()
