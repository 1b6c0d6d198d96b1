"""What one master was told to do: a frozen value, checked, and sent to every process of its tree."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Sidekiq's Web UI can open queues of these letters only (wire format, section 2).
QUEUE_NAME = re.compile(r"[A-Za-z0-9_:.-]+")
DEFAULT_REDIS_URL = "redis://localhost:6379/0"
#: the socket of an embedded server, in its folder
EMBEDDED_SOCKET = "redis.sock"
LEAST_LEASE_SECONDS = 5
MOST_BEAT_SECONDS = 5.0
MOST_PROCESSES = 500
MOST_THREADS = 1000
#: a year, a petabyte, a billion: what is more is a slip of the pen
MOST_SECONDS = 366 * 86_400
MOST_BYTES = 2**50
MOST_JOBS = 10**9
MOST_TAG_LETTERS = 100
#: a stop takes no longer than ``timeout`` and this
STOP_MARGIN_SECONDS = 2.0
#: what a service manager should wait beyond that
STOP_SLACK_SECONDS = 5


def stop_limit(timeout: float) -> int:
    """Return for how many seconds a service manager should wait at a stop."""
    return math.ceil(timeout + STOP_MARGIN_SECONDS) + STOP_SLACK_SECONDS


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue to serve, and its share; weight 0 means "in strict order"."""

    name: str
    weight: int = 0

    def __str__(self) -> str:
        return f"{self.name},{self.weight}" if self.weight else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything ``forkworker run`` can be told; durations are in seconds."""

    #: modules, ``module:attribute`` or .py files to import
    apps: tuple[str, ...] = ()
    #: where the apps are named, for errors: "flag APP"
    apps_source: str = ""
    #: directory that is put on sys.path, and in which apps are looked up
    directory: str = "."
    processes: int = 1
    concurrency: int = 25
    queues: tuple[Queue, ...] = (Queue("default"),)
    #: what running jobs get at a stop
    timeout: float = 8.0
    environment: str = ""
    tag: str = ""
    #: not in the repr, as it may hold a password
    redis_url: str = field(default=DEFAULT_REDIS_URL, repr=False)
    pidfile: str | None = None
    #: the control socket; None: PID.sock in control_folder
    control: str | None = None
    control_folder: str = ""
    #: where health and metrics are served: HOST:PORT, :PORT or unix:/PATH; None: nowhere
    health: str | None = None
    log_level: str = "info"
    log_format: str = "text"
    lease: float = 60.0
    #: what running jobs get when their child is replaced; 0: as long as they need
    drain_timeout: float = 0.0
    #: a child is replaced by a new one beyond so many bytes of its own, jobs, seconds; 0: never
    max_memory: int = 0
    max_jobs: int = 0
    max_age: float = 0.0
    #: a child that is not ready by then is killed
    boot_timeout: float = 60.0
    #: a child whose interpreter was not free for so long is killed; 0: never
    hang_timeout: float = 0.0
    preload: bool = True
    #: the host part of identities (Heroku's DYNO, else the host's name)
    hostname: str = ""

    @property
    def strict(self) -> bool:
        """Whether queues are served in strict order."""
        return not any(queue.weight for queue in self.queues)

    @property
    def queue_names(self) -> tuple[str, ...]:
        """The names alone, in order."""
        return tuple(queue.name for queue in self.queues)

    @property
    def beat_seconds(self) -> float:
        """How often a process shows that it lives: a fifth of the lease, at most 5 s."""
        return min(self.lease / 5, MOST_BEAT_SECONDS)

    @property
    def embedded_directory(self) -> str | None:
        """The folder of an ``embedded://DIR`` address, absolute; None for any other."""
        scheme, _, path = self.redis_url.partition("://")
        return os.path.abspath(path) if scheme == "embedded" else None

    def problems(self) -> list[str]:
        """Say what is out of range, a plain line each, naming the setting by its TOML key."""
        wrong = [
            f"{name} is {value:.12g}: it must be from {least} to {most}"
            for name, value, least, most in self._ranges()
            if not least <= value <= most
        ]
        if len(self.tag) > MOST_TAG_LETTERS:
            wrong.append(f"tag has {len(self.tag)} letters: at most {MOST_TAG_LETTERS} are shown")
        if not self.tag.isprintable():
            wrong.append("tag has a character that cannot be shown: use others")
        return wrong + list(self._queue_problems())

    def _ranges(self) -> tuple[tuple[str, float, int, int], ...]:
        return (
            ("processes", self.processes, 1, MOST_PROCESSES),
            ("concurrency", self.concurrency, 1, MOST_THREADS),
            ("timeout", self.timeout, 0, MOST_SECONDS),
            ("drain_timeout", self.drain_timeout, 0, MOST_SECONDS),
            ("max_memory", self.max_memory, 0, MOST_BYTES),
            ("max_jobs", self.max_jobs, 0, MOST_JOBS),
            ("max_age", self.max_age, 0, MOST_SECONDS),
            ("boot_timeout", self.boot_timeout, 1, MOST_SECONDS),
            ("hang_timeout", self.hang_timeout, 0, MOST_SECONDS),
            ("lease", self.lease, LEAST_LEASE_SECONDS, MOST_SECONDS),
        )

    def _queue_problems(self) -> Iterator[str]:
        if not self.queues:
            yield "queues is empty: name at least one queue"
        for name, times in Counter(self.queue_names).items():
            if not QUEUE_NAME.fullmatch(name):
                yield f"queue {name!r}: a name may have letters, digits and _ : . - only"
            elif times > 1:
                yield f"queue {name!r} is named twice"
        for queue in self.queues:
            if queue.weight < 0:
                yield f"queue {queue.name!r} has the weight {queue.weight}: it cannot be negative"

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can carry; ``from_dict`` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Settings:
        """Read what ``to_dict`` of this or a newer forkworker wrote; unknown fields are left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in fields.items() if name in known}
        if "apps" in values:
            values["apps"] = tuple(values["apps"])
        if "queues" in values:
            values["queues"] = tuple(Queue(queue["name"], queue["weight"]) for queue in values["queues"])
        return cls(**values)
