"""``--json`` is what the table in docs/shell.md says: every object of every command, and no name but those."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.documents import ROOT
from support.payloads import encode, payload, push, push_at
from support.servers import free_port

from forkworker.cli import jobs, queues
from forkworker.cli.main import RARE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis as redispy
    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

ORPHAN = "web-2:4712:ba9876543210"
AWAY = f"redis://127.0.0.1:{free_port()}/0"


def table() -> dict[tuple[str, str], set[str]]:
    """Return what the document says: command and place in its object -> names."""
    text = (ROOT / "docs/shell.md").read_text("utf-8").partition("## For programs")[2]
    told: dict[tuple[str, str], set[str]] = {}
    for cell, names in re.findall(r"^\| (`.*?) \| (.*) \|$", text, re.MULTILINE):
        listed = re.sub(r"\(.*?\)", "", names).split(". ")[0]
        same = told[("jobs list", "jobs[]")] if listed.startswith("the same") else set()
        for item in cell.split(", "):
            command, *place = re.findall(r"`([^`]+)`", item)
            told[(command, "".join(place))] = same | set(re.findall(r"`(\w+)`", listed))
    return told


def objects(value: Any, place: str) -> Iterator[dict[str, Any]]:
    """Return what stands at ``a[].b`` in an object."""
    if not place:
        yield value
        return
    name, _, rest = place.partition(".")
    inner = value[name.removesuffix("[]")]
    for each in inner if name.endswith("[]") else [inner]:
        yield from objects(each, rest)


@pytest.fixture
def tree(daemon: MakeDaemon, redis: redispy.Redis, records: Records) -> Daemon:
    """A tree that runs a job, and something in every place."""
    tree = daemon(children=1)
    push(redis, "record", ["long", 60], jid="running")
    tree.wait_until(lambda: records.running() == {"running"}, 5)
    tree.wait_until(lambda: redis.hget(tree.identity(tree.children()[0]), "busy") == b"1", 10, "it is published")
    push_at(redis, time.time() + 60, "fail", key="retry", error_class="E", failed_at=5.0, retry_count=0, jid="failed")
    push(redis, "record", queue="nobody's")
    redis.sadd("working", f"working:{ORPHAN}:default")
    redis.lpush(f"working:{ORPHAN}:default", encode(payload("record")))
    return tree


def commands(identity: str, units: Path) -> dict[str, str]:
    """Return a line for each command of the table."""
    return {
        "status": "status", "queues": "queues", "processes": "processes", "jobs list": "jobs list retries",
        "jobs kinds": "jobs kinds retries", "jobs show": "jobs show running", "stacks": "stacks",
        "doctor": f"doctor --units {units}", "pause": "pause mail", "unpause": "unpause mail",
        "processes quiet": f"processes quiet {identity}", "processes stacks": f"processes stacks {identity}",
        "jobs retry": "jobs retry retries --jid nobody", "jobs bury": "jobs bury retries --jid nobody --yes",
        "jobs delete": "jobs delete retries --jid nobody --yes", "queues --clear": "queues --clear mail --yes",
        "processes stop": f"processes stop {identity}",
    }  # fmt: skip


def test_every_object_has_the_names_in_the_table_and_no_other(tree: Daemon, tmp_path: Path) -> None:
    tree.options = type(tree.options)(**{**vars(tree.options), "named_socket": False})
    identity = tree.identity(tree.children()[0])
    lines, told = commands(identity, tmp_path), table()
    assert {command for command, _ in told} == set(lines)

    for command, line in lines.items():
        where = ["--control", str(tree.socket)] if command in ("status", "stacks") else []
        done = tree.control(*line.split(), "--json", *where)
        shown = json.loads(done.stdout)
        assert done.stdout.isascii()
        for (name, place), names in told.items():
            if name == command:
                found = list(objects(shown, place))
                assert found, f"{command}: nothing at {place}"
                assert {frozenset(each) for each in found} == {frozenset(names)}, f"{command} {place}"

    running = json.loads(tree.control("jobs", "list", "running", "--json").stdout)["jobs"]
    assert {frozenset(each) for each in running} <= {frozenset(told[("jobs list", "jobs[]")] | {"running"})}
    for command in ("status", "doctor"):
        away = json.loads(tree.control(command, "--json", "--redis", AWAY).stdout)
        about = away.get("redis", away)
        assert set(about) - {"error"} == {"address", "reachable" if command == "status" else "healthy"}
        assert about["error"]


def test_every_command_that_looks_has_its_place_in_the_table() -> None:
    told = {command for command, _ in table()}

    assert {f"jobs {action}" for action in jobs.SUMMARIES} <= told
    assert set(RARE) - {"jobs", "quickstart"} <= told
    assert queues.__name__.rpartition(".")[2] in told
