"""The census: looks at Redis five times a second, from the first fault to the last calm.  A thread of the harness.

What the checker sees at the end may have healed by then.  Three things must hold at each moment: a job stands in
one place; a child starts no job when nobody has shown a sign of life of it for a lease; and what a living
child has taken it starts, or gives back, within seconds.
"""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import redis

from faults.checker import is_wake
from faults.world import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from faults.checker import Run
    from faults.world import Deed, World

LOOK_SECONDS = 0.2
#: from the look at its lease to the first line of a job: another one may keep the GIL in between, or files be short
START_SECONDS = 3.5
#: what came with a reply that was lost, to a process that lives: it looks at once, and again 10 s later, as commands
#: may arrive late; they do not where nothing but a cut has happened for a while
UNKNOWN_SECONDS, UNKNOWN_IN_PEACE_SECONDS, PEACE_SECONDS = 14.0, 5.0, 15.0
#: between two beats of a keeper that can beat
BEAT_SECONDS = 3.0
_LAST_CUT = "cut after a fetch ran"
# One script, so that a job that moves between two reads is not seen twice.  Returns jobs that stand in two places,
# (working list, job) in pairs, and (identity, beat) in pairs.
_LOOK = """
local place, doubles, held, beats = {}, {}, {}, {}
local function note(key, payloads)
  for _, payload in ipairs(payloads) do
    local jid = string.match(payload, '"jid": ?"(%x+)"')
    if jid then
      if place[jid] then doubles[#doubles + 1] = jid .. ' in ' .. place[jid] .. ' and ' .. key end
      place[jid] = key
      if string.sub(key, 1, 8) == 'working:' then
        held[#held + 1] = key
        held[#held + 1] = jid
      end
    end
  end
end
for _, pattern in ipairs({'queue:*', 'working:*'}) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do note(key, redis.call('LRANGE', key, 0, -1)) end
end
for _, key in ipairs({'schedule', 'retry', 'dead'}) do note(key, redis.call('ZRANGE', key, 0, -1)) end
for _, identity in ipairs(redis.call('SMEMBERS', 'processes')) do
  local beat = redis.call('HGET', identity, 'beat')
  if beat then
    beats[#beats + 1] = identity
    beats[#beats + 1] = beat
  end
end
return {doubles, held, beats}
"""


class Look(NamedTuple):
    """One look that was answered."""

    before: float
    after: float
    #: pids of the processes that had shown a sign of life
    listed: frozenset[int]


_NONE = Look(0, 0, frozenset())


@dataclass
class Holding:
    """A job in a working list: when it was seen there first and last."""

    first: float
    last: float


class Census:
    """Looks, remembers, and says afterwards what was wrong."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="census")
        self._looks: list[Look] = []
        self._doubles: list[str] = []
        #: identity -> when each beat of it was seen first
        self._beats: dict[bytes, list[float]] = defaultdict(list)
        self._last_beat: dict[bytes, bytes] = {}
        #: identity, number of a job -> when it was held
        self._holdings: dict[tuple[bytes, int], Holding] = {}
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and hand on what went wrong."""
        self._over.set()
        self._thread.join()
        if self.error:
            raise self.error

    def _run(self) -> None:
        client = redis.Redis(port=self._world.server.port, socket_timeout=1.0)
        try:
            while not self._over.wait(LOOK_SECONDS):
                self._look(client)
        except BaseException as error:  # noqa: BLE001 - handed to the harness's main thread
            self.error = error
        finally:
            client.close()

    def _look(self, client: redis.Redis) -> None:
        before = time.monotonic()
        try:
            doubles, held, beats = client.eval(_LOOK, 0)  # type: ignore[misc]
        except redis.RedisError:
            return  # that it is away is one of the faults
        now = time.monotonic()
        self._looks.append(Look(before, now, frozenset(_pid(identity) for identity, _ in _pairs(beats))))
        self._doubles += [double.decode() for double in doubles[:5]]
        for identity, beat in _pairs(beats):
            if self._last_beat.get(identity) != beat:
                self._last_beat[identity] = beat
                self._beats[identity].append(now)
        for key, jid in _pairs(held):
            place = key.removeprefix(b"working:").rpartition(b":")[0], int(jid, 16)
            self._holdings.setdefault(place, Holding(now, now)).last = now

    # Afterwards

    def complaints(self, runs: Mapping[int, Sequence[Run]], deeds: Sequence[Deed]) -> Iterator[str]:
        """Say what was wrong at any time; ``runs`` by the number of their job."""
        for double in self._doubles[:20]:
            yield f"twice: job {double}, during the storm"
        of_process: dict[int, list[float]] = defaultdict(list)
        for identity, seen in list(self._beats.items()):
            of_process[_pid(identity)] = sorted([*of_process[_pid(identity)], *seen])
        for number, of_job in runs.items():
            for run in of_job:
                yield from self._started_late(number, run, of_process[run.start.pid], deeds)
        hosts = {run.start.pid: run.start.host for of_job in runs.values() for run in of_job}
        for (identity, number), holding in self._holdings.items():
            touched = [deed for deed in deeds if deed.host in (None, hosts.get(_pid(identity)))]
            yield from self._held_unknown(identity, number, holding, runs.get(number, ()), touched)

    def _started_late(self, number: int, run: Run, beats: Sequence[float], deeds: Sequence[Deed]) -> Iterator[str]:
        at = run.start.at
        number_of_look = bisect_left(self._looks, at, key=_before)
        look = self._looks[number_of_look] if number_of_look < len(self._looks) else _NONE
        if run.start.pid not in look.listed:
            return  # its last sign of life may have gone before it was seen
        seen = bisect_right(beats, look.after)
        if not seen or at <= beats[seen - 1] + LEASE_SECONDS + START_SECONDS:
            return
        if any(is_wake(deed, run.start) for deed in deeds):
            return
        yield (
            f"started after the lease: job {number} by pid {run.start.pid} of host {run.start.host}, "
            f"{at - beats[seen - 1]:.2f} s after the last sign of life"
        )

    def _held_unknown(
        self, identity: bytes, number: int, holding: Holding, runs: Sequence[Run], deeds: Sequence[Deed]
    ) -> Iterator[str]:
        pid = _pid(identity)
        seconds = holding.last - self._alive_since(identity, holding)
        if seconds < (UNKNOWN_IN_PEACE_SECONDS if _was_peaceful(holding, deeds) else UNKNOWN_SECONDS):
            return
        if any(run.start.pid == pid and run.start.at <= holding.last for run in runs):
            return
        yield (
            f"unknown: job {number} stood in a working list of {identity.decode()}, which lived, "
            f"for {seconds:.1f} s and was not started"
        )

    def _alive_since(self, identity: bytes, holding: Holding) -> float:
        """From when on until the end of a holding its owner has beaten without a gap."""
        early = holding.first - BEAT_SECONDS
        beats = [at for at in self._beats[identity] if early <= at <= holding.last]
        since = holding.first
        for earlier, later in itertools.pairwise([early, *beats, holding.last]):
            if later - earlier > BEAT_SECONDS:
                since = later
        return since


def _before(look: Look) -> float:
    return look.before


def _was_peaceful(holding: Holding, deeds: Sequence[Deed]) -> bool:
    return not any(
        deed.began <= holding.last and deed.over >= holding.first - PEACE_SECONDS and deed.kind != _LAST_CUT
        for deed in deeds
    )


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _pid(identity: bytes) -> int:
    return int(identity.split(b":")[1])
