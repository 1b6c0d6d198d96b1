"""An island: a network namespace on a bridge, which can be cut off without anybody there or here noticing."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from faults.machine import Network

if TYPE_CHECKING:
    from typing_extensions import Self


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Island(Network):
    """Packets vanish in both directions while it is cut off; all links stay up, and what is on it goes on."""

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            _run("ip", "link", "add", self._bridge, "type", "bridge")
            _run("ip", "addr", "del", f"{self.near}/30", "dev", self._cable)
            _run("ip", "addr", "add", f"{self.near}/30", "dev", self._bridge)
            _run("ip", "link", "set", self._bridge, "up")
            _run("ip", "-n", self.name, "link", "set", "lo", "up")
            self.plug()
        except subprocess.CalledProcessError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        subprocess.run(["ip", "link", "delete", self._bridge], check=False, capture_output=True)

    @property
    def _bridge(self) -> str:
        return f"b{self.name}"

    def pull(self) -> None:
        """Cut it off."""
        _run("ip", "link", "set", self._cable, "nomaster")

    def plug(self) -> None:
        """Let packets pass."""
        _run("ip", "link", "set", self._cable, "master", self._bridge)
