"""Deploys with Fabric 3, for services that were installed as contrib/systemd says.

    pip install fabric
    fab -H web1,web2 status
    fab -H web1,web2 quiet          before the new code is put in place: early, so that much ends by itself
    fab -H web1,web2 restart        after it, host after host
    fab -H web1,web2 rolling        or so: no job is interrupted, and the first host where the code is bad ends it

The service is "shop" unless --service names another: a target such as shop.target for several masters of a host, but
for rolling, which wants one master.  Hosts, users and keys may stand in fabric.yaml and ~/.ssh/config.  Who is not
root needs sudo without a password, or fab --prompt-for-sudo-password.  Tasks for one's own deploy import these:

    from forkworker_fabfile import quiet, rolling       after a copy of this file under that name
"""

from __future__ import annotations

import re
import shlex

from fabric import Connection, task

SERVICE = "shop"
#: what systemd says of a service's command, up to the word "run"
COMMAND = re.compile(r"argv\[\]=(.*?) run\b")


def as_root(c: Connection, *words: str, hide: bool = False) -> str:
    """Run a command as root; a failure ends the whole of it, before the next host has its turn."""
    line = shlex.join(words)
    done = c.run(line, hide=hide) if c.user == "root" else c.sudo(line, hide=hide)
    return str(done.stdout)


@task
def status(c: Connection, service: str = SERVICE) -> None:
    """Say how it stands, in the master's own words."""
    told = as_root(c, "systemctl", "show", "--property=ActiveState,StatusText", "--", service, hide=True)
    found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    print(f"{c.host}: {', '.join(found[name] for name in ('ActiveState', 'StatusText') if found.get(name))}")


@task
def quiet(c: Connection, service: str = SERVICE) -> None:
    """Take no job any more; returns when that is in force.  Running jobs go on."""
    as_root(c, "systemctl", "reload", service)


@task
def stop(c: Connection, service: str = SERVICE) -> None:
    """Stop; what does not end in time goes back to its queue."""
    as_root(c, "systemctl", "stop", service)


@task
def start(c: Connection, service: str = SERVICE) -> None:
    """Start; returns when every child is ready."""
    as_root(c, "systemctl", "start", service)


@task
def restart(c: Connection, service: str = SERVICE) -> None:
    """Stop and start."""
    as_root(c, "systemctl", "restart", service)


@task
def rolling(c: Connection, service: str = SERVICE) -> None:
    """Bring up new code, child by child; returns when all of it runs, and fails if it does not."""
    told = as_root(c, "systemctl", "show", "--property=ExecStart", "--value", "--", service, hide=True)
    command = COMMAND.search(told)
    if not command:
        raise SystemExit(f"{c.host}: there is no service {service} that runs a forkworker")
    where = f"/run/{service.removesuffix('.service')}/control.sock"
    as_root(c, *command[1].split(" "), "rolling-restart", "--wait", "--control", where)
