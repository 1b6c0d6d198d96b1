"""The deploy tool, over a real sshd on the machine's loopback, as two hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.machine import APP, CHECKOUT
from support.tools import tool

if TYPE_CHECKING:
    import subprocess

    from support.host import Host

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(400)]

HOSTS = ("root@127.0.0.1", "root@127.0.0.2")


def fab(host: Host, *words: str, hosts: tuple[str, ...] = HOSTS) -> subprocess.CompletedProcess[str]:
    """Run Fabric inside, against addresses of the machine itself."""
    line = [f"{APP}/.venv/bin/python", "-m", "fabric", "-r", f"{CHECKOUT}/contrib/fabric", "-H", ",".join(hosts)]
    return host.machine.run(*line, *words, check=False)


@pytest.fixture
def reachable(host: Host) -> Host:
    """The machine, with an sshd that lets root in."""
    tool("sshd", "openssh-server")
    host.machine.shell(
        """
        ssh-keygen -A
        mkdir -p -m 700 /root/.ssh
        rm -f /root/.ssh/id_ed25519
        ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
        cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
        systemctl start ssh
        """
    )
    return host


def test_hosts_are_quieted_stopped_started_and_asked(reachable: Host) -> None:
    reachable.install("shop-fab", "-P 1", app="fabbed")
    reachable.machine.write(f"{APP}/fabbed.py", "")
    service = ("--service", "shop-fab")

    told = fab(reachable, "start", *service, "status", *service)
    running = "active, running: 1 children, 0 of 5 threads busy"
    assert told.stdout.splitlines() == [f"{host[5:]}: {running}" for host in HOSTS], told.stderr
    before = reachable.master("shop-fab")
    told = fab(reachable, "quiet", *service, "status", *service, "restart", *service, hosts=HOSTS[:1])
    assert told.stdout == "127.0.0.1: active, quiet: 1 children, 0 of 5 threads busy\n", told.stderr
    assert reachable.status("shop-fab").startswith("running: ")
    assert reachable.master("shop-fab") != before

    before = reachable.master("shop-fab")
    reachable.machine.write(f"{APP}/fabbed.py", "raised = True\n")
    rolled = fab(reachable, "rolling", *service, hosts=HOSTS[:1])
    assert rolled.returncode == 0, rolled.stderr
    reachable.machine.write(f"{APP}/fabbed.py", "a deploy that went wrong\n")
    failed = fab(reachable, "rolling", *service)
    assert failed.returncode != 0
    assert f"SyntaxError in {APP}/fabbed.py, line 1" in failed.stdout + failed.stderr
    assert "127.0.0.2" not in failed.stdout + failed.stderr, "the first host where it is bad ends it"
    assert reachable.master("shop-fab") == before, "the master of the first start, after both"

    told = fab(reachable, "stop", *service, "status", *service, hosts=HOSTS[:1])
    assert told.stdout.startswith("127.0.0.1: inactive"), told.stderr
