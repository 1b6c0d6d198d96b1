"""What a machine can do to its processes: other networks, clocks, disks and limits.  Runs in the harness's process.

Most of it needs root; what cannot be made raises OSError or CalledProcessError.
"""

from __future__ import annotations

import os
import secrets
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

CGROUPS = Path("/sys/fs/cgroup")
SHARED = Path("/dev/shm")


def run(*words: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True, capture_output=True)


class Network:
    """A network namespace with one cable to ours, which can be pulled."""

    def __init__(self) -> None:
        self.name = f"fw{secrets.token_hex(4)}"
        net = 4 * secrets.randbelow(1 << 14)  # of 198.18.0.0/15, which is for such tests; others have cables, too
        self.near, self.far = (f"198.18.{net >> 8}.{(net & 255) + end}" for end in (1, 2))

    def __enter__(self) -> Self:
        run("ip", "netns", "add", self.name)
        try:
            run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            run("ip", "addr", "add", f"{self.near}/30", "dev", self._cable)
            run("ip", "link", "set", self._cable, "up")
            for words in (["addr", "add", f"{self.far}/30", "dev", "eth0"], ["link", "set", "eth0", "up"]):
                run("ip", "-n", self.name, *words)
        except subprocess.CalledProcessError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self._cable], check=False, capture_output=True)

    @property
    def _cable(self) -> str:
        return f"v{self.name}"

    @property
    def prefix(self) -> list[str]:
        """What runs a command inside."""
        return ["ip", "netns", "exec", self.name]

    def pull(self) -> None:
        """Pull the cable on the far side: packets vanish, in both directions."""
        run("ip", "-n", self.name, "link", "set", "eth0", "down")

    def plug(self) -> None:
        """Put it back."""
        run("ip", "-n", self.name, "link", "set", "eth0", "up")


class ServerClock:
    """A wall clock that can be set, for a server started with its environment; the monotonic one stays true."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        if not found:
            raise FileNotFoundError("libfaketime is not installed: apt install faketime")
        self._library = found[0]
        self.step(0)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what faketime leaves of servers that were killed."""
        for path in [*SHARED.glob("faketime_shm_*"), *SHARED.glob("sem.faketime_sem_*")]:
            if not Path("/proc", path.name.rpartition("_")[2]).exists():
                path.unlink(missing_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process use it."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: float) -> None:
        """Set it to so much more than the true time."""
        other = self._path.with_suffix(".new")
        other.write_text(f"{seconds:+.0f}\n")
        other.rename(self._path)


class HostClock:
    """A wall clock that can be set, for Python processes started with its environment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(bytes(8))

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process use it; its folder must be on PYTHONPATH, too."""
        return {"FAULTS_CLOCK": str(self._path)}

    @property
    def folder(self) -> Path:
        """The folder with the module that Python imports at its start."""
        return Path(__file__).parent / "shifted"

    def step(self, seconds: float) -> None:
        """Set it to so much more than the true time."""
        with self._path.open("r+b") as file:
            file.write(struct.pack("=d", seconds))


class Disk:
    """A small disk of its own that can be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        self.path.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=16m", "faults", str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)

    def fill(self) -> bool:
        """Write until nothing more can be written."""
        with (self.path / "filler").open("ab", buffering=0) as filler:
            for size in (1 << 20, 4096, 1):
                with suppress(OSError):
                    while True:
                        filler.write(b"x" * size)
        return not os.statvfs(self.path).f_bavail

    def empty(self) -> None:
        """Make room again."""
        (self.path / "filler").unlink(missing_ok=True)


class Cgroup:
    """A control group of version 1."""

    def __init__(self, controller: str) -> None:
        self.path = CGROUPS / controller / f"fw-{secrets.token_hex(4)}"

    def __enter__(self) -> Self:
        self.path.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:  # it is busy until its last process is reaped
            with suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.05)

    def set(self, name: str, value: object) -> None:
        """Set a limit."""
        (self.path / name).write_text(str(value))

    def get(self, name: str, key: str = "") -> int:
        """Read a number, or the number after a key."""
        words = (self.path / name).read_text().split()
        return int(words[words.index(key) + 1] if key else words[0])
