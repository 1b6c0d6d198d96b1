"""One master as a service of a real systemd: installed by the README's words, reloaded, stopped, killed, frozen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support import documents
from support.machine import APP
from support.payloads import push, push_many
from support.snapshot import homes, places, queue

if TYPE_CHECKING:
    import redis as redispy
    from support.host import Host

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(400)]

#: what a loaded machine may take for anything, and on top of a limit
PATIENCE_SECONDS, SLACK_SECONDS = 40, 8


def test_service_is_installed_by_the_words_of_the_readme(host: Host, redis: redispy.Redis) -> None:
    machine = host.machine
    readme = documents.ROOT / "README.md"
    (block,) = [block for block in documents.blocks(readme, "console") if "systemd-unit" in block.text]
    lines = [line[2:].partition("  # ")[0] for line in block.text.splitlines()]
    user, unit, enable, status, reload, restart, _ = lines
    machine.shell(f"userdel shop; mkdir -p {APP}; cd {APP}; rm -f forkworker.toml")
    (app,) = [block for block in documents.blocks(readme, "python") if "# shop.py" in block.text]
    (toml,) = documents.blocks(readme, "toml")
    machine.write(f"{APP}/shop.py", app.text)
    machine.write(f"{APP}/forkworker.toml", f"{toml.text}processes = 2\nredis.url = {host.url!r}\n")

    machine.shell(f"cd {APP}; {user}; {unit}; {enable}")
    assert host.status("shop") == "running: 2 children, 0 of 20 threads busy"
    assert redis.scard("processes") == 2
    assert "running: 2 children" in machine.shell(status).stdout
    push(redis, "shop.send_receipt", [4711], "mail")
    host.wait_until(
        lambda: "receipt for order 4711" in machine.journal("shop"), PATIENCE_SECONDS, "the job has run", "shop"
    )
    machine.shell(reload)
    assert host.status("shop").startswith("quiet: ")
    machine.shell(restart)
    assert host.status("shop").startswith("running: ")
    machine.shell(f"systemctl disable --now shop; rm {APP}/forkworker.toml")


def test_start_returns_when_every_child_is_ready_however_long_that_takes(host: Host, redis: redispy.Redis) -> None:
    """The master asks for more time, again and again; systemd would have given it four seconds."""
    host.machine.write(f"{APP}/slow.py", "import time\ntime.sleep(6)\n")
    host.install("shop-slow", "-P 2", app="slow")
    host.drop_in("shop-slow.service", "[Service]\nTimeoutStartSec=4", "timeout")

    began = time.monotonic()
    host.systemctl("start", "shop-slow")
    assert time.monotonic() - began > 6
    assert redis.scard("processes") == 2
    assert host.machine.show("shop-slow", "NRestarts") == "0"


def test_service_that_cannot_be_configured_is_not_started_again(host: Host) -> None:
    host.install("shop-broken", app="support.jobs")
    host.drop_in("shop-broken.service", "[Service]\nEnvironment=FORKWORKER_TIMEOUT=soon")

    done = host.machine.run("systemctl", "start", "shop-broken", check=False)

    assert done.returncode != 0
    states = [host.machine.show("shop-broken", name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")]
    assert states == ["failed", "78", "0"]
    assert "FORKWORKER_TIMEOUT" in host.machine.journal("shop-broken")


def test_reload_returns_when_quiet_and_stop_within_the_timeout(host: Host, redis: redispy.Redis) -> None:
    host.install("shop-two", "-P 2", "-t 2")
    began = time.monotonic()
    host.systemctl("start", "shop-two")
    print(f"start: {time.monotonic() - began:.1f} s")
    running = push_many(redis, "interruptible", [[number] for number in range(10)])
    records = host.records("shop-two")
    host.wait_until(lambda: len(records.running()) == 10, PATIENCE_SECONDS, "ten run", "shop-two")
    host.wait_until(
        lambda: "10 of 10 threads busy" in host.status("shop-two"), PATIENCE_SECONDS, "STATUS is current", "shop-two"
    )

    began = time.monotonic()
    host.systemctl("reload", "shop-two")
    print(f"reload: {time.monotonic() - began:.1f} s")
    assert host.status("shop-two").startswith("quiet: 2 children, 10 of 10")
    later = push(redis, "record")
    began = time.monotonic()
    host.systemctl("stop", "shop-two")
    took = time.monotonic() - began
    print(f"stop, with jobs that run for longer than the timeout of 2 s: {took:.1f} s")

    assert 2 <= took <= 2 + 2 + SLACK_SECONDS
    assert host.machine.show("shop-two", "Result") == "success"
    assert host.machine.processes("shop-two") == {}
    assert sorted(queue(redis)) == sorted([*running, later])
    assert queue(redis)[-1] == later
    assert {event.note for event in records.events("saw")} == {"JobInterrupted"}


def test_unit_that_stops_too_soon_is_named_and_asked_for_more(host: Host, redis: redispy.Redis) -> None:
    host.install("shop-hasty", "-P 1", "-t 6")
    host.drop_in("shop-hasty.service", "[Service]\nTimeoutStopSec=3", "timeout")
    host.systemctl("start", "shop-hasty")
    assert "shop-hasty.service is given 3 s to stop, and may need 8" in host.machine.journal("shop-hasty")
    assert "set TimeoutStopSec=13" in host.machine.journal("shop-hasty")

    jid = push(redis, "record", [1, 5])
    records = host.records("shop-hasty")
    host.wait_until(records.running, PATIENCE_SECONDS, "it runs", "shop-hasty")
    host.systemctl("stop", "shop-hasty")

    assert records.ended() == {jid: 1}
    assert host.machine.show("shop-hasty", "Result") == "success"


def test_killed_master_is_started_again_and_its_jobs_with_it(host: Host, redis: redispy.Redis) -> None:
    host.install("shop-killed", "-P 2")
    host.systemctl("start", "shop-killed")
    records = host.records("shop-killed")
    jids = push_many(redis, "record", [[number, 1] for number in range(10)])
    host.wait_until(lambda: len(records.running()) == 10, PATIENCE_SECONDS, "ten run", "shop-killed")

    began = time.monotonic()
    host.systemctl("kill", "--signal=KILL", "--kill-whom=main", "shop-killed")
    host.wait_until(lambda: len(records.starts()) > 10, PATIENCE_SECONDS, "jobs run again", "shop-killed")
    print(f"kill of the master to the first job again: {time.monotonic() - began:.1f} s")
    host.wait_until(lambda: set(records.ended()) == set(jids), PATIENCE_SECONDS, "all have run", "shop-killed")

    assert host.machine.show("shop-killed", "NRestarts") == "1"
    assert records.started() == dict.fromkeys(jids, 2)
    assert records.ended() == dict.fromkeys(jids, 1)
    host.systemctl("stop", "shop-killed")
    assert places(redis) == {}


def test_frozen_master_is_found_by_the_watchdog(host: Host, redis: redispy.Redis) -> None:
    """Only its own loop feeds it: children and keeper live on, and do not."""
    host.install("shop-frozen", "-P 1")
    limits = "WatchdogSec=4\nTimeoutAbortSec=1\nTimeoutStopSec=20"
    host.drop_in("shop-frozen.service", f"[Service]\n{limits}", "watchdog")
    host.systemctl("start", "shop-frozen")
    records = host.records("shop-frozen")
    master = host.master("shop-frozen")
    jid = push(redis, "record", [1, 60])
    host.wait_until(records.running, PATIENCE_SECONDS, "it runs", "shop-frozen")
    redis.brpop(["nothing"], 5)  # longer than the watchdog waits
    assert host.master("shop-frozen") == master, "a master that works is left alone"

    began = time.monotonic()
    host.machine.run("kill", "-STOP", str(master))
    host.wait_until(lambda: len(records.starts()) == 2, PATIENCE_SECONDS, "the job runs again", "shop-frozen")
    print(f"stop of the master to its job running again: {time.monotonic() - began:.1f} s")

    assert host.machine.show("shop-frozen", "NRestarts") == "1"
    assert records.started() == {jid: 2}
    assert homes(redis).keys() == {jid}


def test_hardened_service_runs_ordinary_jobs_and_children_die_first(host: Host, redis: redispy.Redis) -> None:
    host.install("shop-plain", "-P 1", app="support.ordinary")
    host.systemctl("start", "shop-plain")
    records = host.records("shop-plain")
    push(redis, "ordinary", ["/var/lib/shop-plain"], retry=False)
    host.wait_until(lambda: redis.get("stat:processed") == b"1", PATIENCE_SECONDS, "it has run", "shop-plain")
    assert records.ends(), host.machine.journal("shop-plain")
    assert "an ordinary line" in host.machine.journal("shop-plain")

    processes = host.machine.processes("shop-plain")
    scores = {
        title.split(" [")[0]: int(host.machine.path_of(pid, "oom_score_adj").read_text())
        for pid, title in processes.items()
    }
    assert scores == {
        "forkworker: master": 0, "forkworker: keeper": 0, "forkworker: forkserver": 0, "forkworker: child 0": 100,
    }  # fmt: skip


def test_words_reach_the_master_as_they_were_given(host: Host) -> None:
    host.install("shop-odd", "-P 1", """--tag 'a "b" $HOME %n c\\d'""")
    host.systemctl("start", "shop-odd")

    assert """master [a "b" $HOME %n c\\d] 1 children""" in host.machine.title(str(host.master("shop-odd")))
