"""The systems as the harness sees them: their configurations, their interpreters, their producers."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import environments, places
from bench.servers import Server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OURS = "forkworker"
PYTHON_PEERS = ("celery", "dramatiq", "huey", "rq", "saq", "taskiq", "wakaq")
RUBY_PEERS = ("sidekiq",)
NAMES = (OURS, *RUBY_PEERS, *PYTHON_PEERS)


@dataclass(frozen=True)
class Variant:
    """One configuration of a system."""

    system: str
    name: str
    commands: list[list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    #: how many jobs of a kind make a measurement of some five seconds; a kind that is absent is not measured
    jobs: dict[str, int] = field(default_factory=dict)
    #: how many jobs may run at a time
    threads: int = 0
    #: into which jobs are spread by their number
    queues: int = 1


@dataclass(frozen=True)
class System:
    """A system, as its module in ``systems/`` describes it."""

    name: str
    variants: dict[str, Variant]
    versions: dict[str, str]
    enqueue: dict[str, int]
    latency: list[str]
    memory: list[str]


def is_there(name: str) -> bool:
    """Whether a system can be measured on this machine."""
    return name not in RUBY_PEERS or shutil.which(name) is not None


@functools.cache
def get(name: str) -> System:
    """Return a system; its environment is made first, where that is needed."""
    told = json.loads(_produce([*_python(name), "spec"], {}))
    variants = {variant: _variant(name, variant, given) for variant, given in told["VARIANTS"].items()}
    return System(name, variants, told["VERSIONS"], told["ENQUEUE"], told["LATENCY"], told["MEMORY"])


def _variant(system: str, name: str, given: dict[str, Any]) -> Variant:
    others = {key: given[key] for key in ("environment", "threads", "queues") if key in given}
    jobs = {key: count for key, count in given.items() if key not in ("commands", *others)}
    return Variant(system, name, given["commands"], jobs=jobs, **others)


def _python(name: str) -> list[str]:
    python = str(environments.python()) if name in PYTHON_PEERS else sys.executable
    return [python, "-m", "systems.producer", name]


def _produce(line: list[str], environment: Mapping[str, str]) -> str:
    everything = os.environ | {"PYTHONPATH": str(places.HERE)} | dict(environment)
    done = subprocess.run(line, cwd=places.HERE, env=everything, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def produce(variant: Variant, port: int, mode: str, job: str, *numbers: float) -> dict[str, Any]:
    """Enqueue with a system's own client; return what it tells."""
    line = _python(variant.system)
    if variant.system in RUBY_PEERS:
        line = ["ruby", "-W0", f"systems/{variant.system}_producer.rb"]
    words = [mode, job, *map(str, numbers)]
    told: dict[str, Any] = json.loads(_produce([*line, *words], variant.environment | {"BENCH_PORT": str(port)}))
    return told


def filled(variant: Variant, job: str, count: int) -> Path:
    """Return a snapshot of a Redis in which so many jobs wait; made once, by the system's own producer."""
    sources = [*sorted(places.SYSTEMS.glob(f"{variant.system}*")), places.SYSTEMS / "jobs.py"]
    made_of = b"".join(source.read_bytes() for source in sources) + repr(variant.environment).encode()
    digest = hashlib.sha256(made_of).hexdigest()[:12]
    path = places.SNAPSHOTS / f"{variant.system}-{job}-{count}-{digest}.rdb"
    if not path.exists():
        with Server() as server:
            produce(variant, server.port, "fill", job, count)
            server.save(path)
    return path
