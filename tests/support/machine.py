"""A Debian of its own with a real systemd: this machine's files under an overlay, booted as a container.

Runs in the test process, as root.  Nothing on the machine itself is changed: what is written goes to a tmpfs,
in a mount namespace that ends with the test process; so does a PID namespace with all that runs inside.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING

from support.documents import ROOT
from support.waiting import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

#: where the machine sees this interpreter, the packages of its environment, and this checkout
PYTHON, PACKAGES, CHECKOUT = "/opt/python", "/opt/packages", "/opt/checkout"
#: a folder of the test process that the machine sees, too, and everybody may write to
SHARED = "/mnt/shared"
APP = "/srv/shop"
_CGROUPS = ("systemd", "unified")
_ENVIRONMENT = ("/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")

_MOUNT = """
set -e
mount --make-rprivate /
mount -t tmpfs -o size=1g tmpfs {here}
mkdir {here}/upper {here}/work {here}/root
mount -t overlay overlay -o lowerdir=/,upperdir={here}/upper,workdir={here}/work {here}/root
cd {here}/root
rm -rf run srv/shop etc/systemd/system/multi-user.target.wants etc/systemd/system/shop* etc/default/shop* var/lib/shop*
mkdir -p run srv/shop {mounts}
ln -sf /lib/systemd/system/multi-user.target etc/systemd/system/default.target
echo {id} > etc/machine-id
echo ready
exec cat
"""

_BOOT = """
for hierarchy in {cgroups}; do
  if [ -d /sys/fs/cgroup/$hierarchy ]; then
    mkdir -p /sys/fs/cgroup/$hierarchy/{name}
    echo $$ > /sys/fs/cgroup/$hierarchy/{name}/cgroup.procs
  fi
done
exec setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc systemd-nspawn "$@"
"""


class Machine:
    """One container; its disk outlives power-offs, until ``close``."""

    def __init__(self) -> None:
        self.name = f"fw-{secrets.token_hex(4)}"
        self.shared = Path(tempfile.mkdtemp(prefix="fw-machine-"))
        self.shared.chmod(0o777)
        self._here = Path(tempfile.mkdtemp(prefix="fw-disk-"))
        self._log = self._here.with_suffix(".log")
        self._holder: subprocess.Popen[str] | None = None
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Self:
        try:
            self._mount()
            self.boot()
            self._install_python()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Power

    def _mount(self) -> None:
        """Make the disk, in a mount namespace that ends with a process at our pipe."""
        places = (PYTHON, PACKAGES, CHECKOUT, SHARED)
        mounts = " ".join(place.lstrip("/") for place in places)
        script = _MOUNT.format(here=self._here, mounts=mounts, id=secrets.token_hex(16))
        line = ["unshare", "--mount", "sh", "-c", script]
        self._holder = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "ready\n", "the disk cannot be mounted"

    def boot(self) -> None:
        """Start systemd, and return when it is up."""
        assert self._holder
        seen = {PYTHON: sys.base_prefix, PACKAGES: sysconfig.get_path("platlib"), CHECKOUT: str(ROOT)}
        binds = [f"--bind-ro={there}:{here}" for here, there in seen.items()]
        nspawn = ["-q", "-D", str(self._here / "root"), "-M", self.name, "--private-network", "--console=pipe",
                  "--register=no", "--keep-unit", *binds, f"--bind={self.shared}:{SHARED}", "-b"]  # fmt: skip
        script = _BOOT.format(cgroups=" ".join(_CGROUPS), name=self.name)
        enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--wdns=/"]
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                [*enter, "sh", "-c", script, "sh", *nspawn],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_until(self._is_up, 60, "systemd is up", self._describe, poll=0.1)

    def _is_up(self) -> bool:
        assert self._nspawn
        assert self._nspawn.poll() is None, self._describe()
        self._leader = _child(_child(self._nspawn.pid))  # below unshare, below nspawn
        if not self._leader:
            return False
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def power_off(self) -> None:
        """Shut down in order; returns when all is off."""
        assert self._nspawn
        self.run("systemctl", "poweroff", check=False)
        self._nspawn.wait(60)
        self._leader = 0

    def close(self) -> None:
        """End everything, and remove what it has left."""
        if self._nspawn and self._nspawn.poll() is None:
            with suppress(ProcessLookupError):
                if self._leader:
                    os.kill(self._leader, SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(10)
            self._nspawn.kill()
            self._nspawn.wait()
        if self._holder:
            self._holder.communicate()
        for hierarchy in _CGROUPS:
            _remove_cgroup(Path("/sys/fs/cgroup", hierarchy, self.name))
        shutil.rmtree(self.shared)
        self._here.rmdir()
        self._log.unlink(missing_ok=True)

    # Inside

    def run(self, *words: str, check: bool = True, seconds: float = 150) -> subprocess.CompletedProcess[str]:
        """Run a program inside, as root."""
        line = ["nsenter", "--target", str(self._leader), "--all", "--wdns=/", *_ENVIRONMENT, *words]
        done = subprocess.run(
            line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert not check or done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
        return done

    def shell(self, script: str, *, check: bool = True, seconds: float = 150) -> subprocess.CompletedProcess[str]:
        """Run lines of shell inside, as root; the first one that fails ends it."""
        return self.run("bash", "-e", "-c", script, check=check, seconds=seconds)

    def path(self, name: str) -> Path:
        """Return a path of the machine's disk, as the test process sees it; also while the machine is off."""
        assert self._holder
        return Path(f"/proc/{self._holder.pid}/root{self._here}/root", name.lstrip("/"))

    def write(self, name: str, text: str) -> None:
        """Write a file of the disk."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def show(self, unit: str, name: str) -> str:
        """Return what systemd says of a property of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", "--", unit).stdout.strip()

    def journal(self, unit: str) -> str:
        """Return what a unit has written."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def title(self, pid: str) -> str:
        """Return the command line of a process of the machine."""
        return self.run("cat", f"/proc/{pid}/cmdline", check=False).stdout.replace("\0", " ").strip()

    def path_of(self, pid: int, name: str) -> Path:
        """Return a file of a process of the machine, below /proc."""
        return Path(f"/proc/{self._leader}/root/proc/{pid}/{name}")

    def processes(self, unit: str) -> dict[int, str]:
        """Return pid -> title of every process of a unit."""
        listed = self.run("systemctl", "show", "--property=ControlGroup", "--value", "--", unit).stdout.strip()
        processes = f"$(cat /sys/fs/cgroup/systemd{listed}/cgroup.procs)"
        script = f"for p in {processes}; do echo $p $(tr '\\0' ' ' </proc/$p/cmdline); done"
        lines = self.shell(script, check=False).stdout.splitlines() if listed else []
        return {int(pid): title for pid, _, title in (line.partition(" ") for line in lines)}

    def _install_python(self) -> None:
        """Make a virtual environment in the app's folder, with forkworker and the packages that the tests have."""
        self.write("/etc/ld.so.conf.d/python.conf", f"{PYTHON}/lib\n")  # its own path is below /root, say
        version = "python{}.{}".format(*sys.version_info)
        self.shell(
            f"""
            ldconfig
            useradd --system shop
            {PYTHON}/bin/{version} -m venv --without-pip {APP}/.venv
            cd {APP}/.venv/lib/{version}/site-packages
            # without the byte code, which other tests are writing just now
            tar -c --exclude=__pycache__ -C {CHECKOUT} forkworker -C tests support | tar -x
            echo {PACKAGES} > packages.pth
            {APP}/.venv/bin/python -m compileall -q forkworker support  # a service could not keep what it compiles
            """
        )
        command = f"#!{APP}/.venv/bin/python\nimport sys\nfrom forkworker.cli.main import main\nsys.exit(main())\n"
        self.write(f"{APP}/.venv/bin/forkworker", command)
        self.path(f"{APP}/.venv/bin/forkworker").chmod(0o755)

    def _describe(self) -> str:
        return self._log.read_text("utf-8", "replace")


def _child(pid: int) -> int:
    """Return the first child of a process, 0 if it has none."""
    with suppress(OSError):
        return int((Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or ["0"])[0])
    return 0


def _remove_cgroup(path: Path) -> None:
    """Remove a cgroup without processes, and those in it; systemd leaves its own behind."""
    if path.is_dir():
        folders = [Path(folder) for folder, _, _ in os.walk(path, topdown=False)]
        for folder in folders:
            wait_until(lambda folder=folder: _is_removed(folder), 10, f"{folder} is removed")


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:  # its last process is still on its way out
        return False
    return True
