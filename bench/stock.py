"""Fills a Redis with what may stand there in large numbers, by scripts: jobs, retries, processes of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis

BATCH = 10_000
#: no-ops of so many bytes; the number makes each another
_JOBS = """
local head = '{"class":"noop","args":[0],"retry":true,"queue":"%s","created_at":1764000000.25,'
local form = head .. '"enqueued_at":1764000000.5,"jid":"%%024x","pad":"%%s"}'
local first, count, size = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
form = string.format(form, ARGV[4])
local pad = string.rep('x', math.max(0, size - #string.format(form, 0, '')))
for i = first, first + count - 1 do redis.call('LPUSH', KEYS[1], string.format(form, i, pad)) end
redis.call('SADD', KEYS[2], ARGV[4])
"""
_RETRIES = """
local form = '{"class":"app.job%d","args":[%d],"jid":"%024x","queue":"other","retry_count":3,"error_message":"no"}'
for i = tonumber(ARGV[1]), tonumber(ARGV[1]) + tonumber(ARGV[2]) - 1 do
  redis.call('ZADD', KEYS[1], 4000000000 + i, string.format(form, i % 100, i, i))
end
"""
_PROCESSES = """
for i = 1, tonumber(ARGV[1]) do
  local identity = string.format('worker%02d.example.com:%d:%012x', i % 20, 1000 + i, i)
  redis.call('SADD', KEYS[1], identity)
  redis.call('SADD', KEYS[2], 'working:' .. identity .. ':default')
  redis.call('LPUSH', 'working:' .. identity .. ':default', '{"class":"noop","args":[0],"jid":"' .. i .. '"}')
  local info = '{"hostname":"worker","pid":1,"tag":"shop","queues":["default"],"started_at":1.5}'
  redis.call('HSET', identity, 'info', info, 'busy', 25, 'beat', '1764000000.5', 'quiet', 'false',
    'rss', 90000, 'rtt_us', 200, 'concurrency', 25)
end
"""
_LEFT = """
local count = 0
for _, queue in ipairs(redis.call('SMEMBERS', KEYS[1])) do count = count + redis.call('LLEN', 'queue:' .. queue) end
return count
"""


def jobs(client: redis.Redis, queue: str, count: int, size: int = 0) -> None:
    """Push no-ops of at least so many bytes each."""
    script = client.register_script(_JOBS)
    step = max(1, min(BATCH, 50_000_000 // max(size, 1)))
    for first in range(0, count, step):
        script(keys=[f"queue:{queue}", "queues"], args=[first, min(step, count - first), size, queue])


def retries(client: redis.Redis, count: int) -> None:
    """Put so many jobs into the retry set, due in many years."""
    script = client.register_script(_RETRIES)
    for first in range(0, count, BATCH):
        script(keys=["retry"], args=[first, min(BATCH, count - first)])


def processes(client: redis.Redis, count: int) -> None:
    """Register so many processes of other hosts, each with a job in hand."""
    client.eval(_PROCESSES, 2, "processes", "working", count)


def left(client: redis.Redis) -> int:
    """Return how many jobs wait in all queues."""
    return int(client.eval(_LEFT, 1, "queues"))  # type: ignore[arg-type]
