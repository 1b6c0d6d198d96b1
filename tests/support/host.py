"""Services on a machine with a real systemd: installed, looked at, asked.  Runs in the test process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.machine import APP, SHARED
from support.records import Records
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.machine import Machine
    from support.servers import RedisServer


class Host:
    """The machine, with a Redis for this test alone."""

    def __init__(self, machine: Machine, server: RedisServer) -> None:
        self.machine = machine
        self.url = f"unix://{SHARED}/{server.directory.name}/redis.sock"

    def install(self, name: str, *flags: str, app: str = "support.jobs", file: str = "") -> None:
        """Install a service, or a template, as the README says; it is not started."""
        unit = f"{name}@.service" if file == "--template" else f"{name}.{file.removeprefix('--') or 'service'}"
        self.machine.write(f"/etc/default/{name}", f"FORKWORKER_REDIS_URL={self.url}\n")
        words = f"systemd-unit {file} --user shop -c 5 {' '.join(flags)} {app}"
        self.machine.shell(f"cd {APP}; .venv/bin/forkworker {words} > /etc/systemd/system/{unit}")
        if file != "--target":
            self.drop_in(unit, "[Service]\nEnvironment=FORKWORKER_TEST_RECORD=/var/lib/%N/records")

    def drop_in(self, unit: str, text: str, name: str = "test") -> None:
        """Add settings to a unit."""
        self.machine.write(f"/etc/systemd/system/{unit}.d/{name}.conf", f"{text}\n")
        self.machine.run("systemctl", "daemon-reload")

    def records(self, name: str) -> Records:
        """Return what the jobs of a service have written."""
        return Records(self.machine.path(f"/var/lib/{name}/records"))

    def status(self, unit: str) -> str:
        """Return the line that the master has given systemd."""
        return self.machine.show(unit, "StatusText")

    def master(self, unit: str) -> int:
        """Return the pid, inside the machine, of a service's master."""
        return int(self.machine.show(unit, "MainPID"))

    def wait_until(self, predicate: Callable[[], object], seconds: float, what: str, unit: str) -> None:
        """Wait for a fact; show the unit's journal if it does not come true."""
        wait_until(predicate, seconds, what, lambda: self.machine.journal(unit), poll=0.1)

    def systemctl(self, *words: str) -> str:
        """Do something that has to succeed."""
        return self.machine.run("systemctl", *words).stdout
