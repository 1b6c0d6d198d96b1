"""An island: a network namespace on a bridge, which can be cut off without anybody there or here noticing."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from faults.machine import Network, run

if TYPE_CHECKING:
    from typing_extensions import Self


class Island(Network):
    """Packets vanish in both directions while it is cut off; all links stay up, and what is on it goes on."""

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            run("ip", "link", "add", self._bridge, "type", "bridge")
            run("ip", "addr", "del", f"{self.near}/30", "dev", self._cable)
            run("ip", "addr", "add", f"{self.near}/30", "dev", self._bridge)
            run("ip", "link", "set", self._bridge, "up")
            run("ip", "-n", self.name, "link", "set", "lo", "up")
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
        run("ip", "link", "set", self._cable, "nomaster")

    def plug(self) -> None:
        """Let packets pass."""
        run("ip", "link", "set", self._cable, "master", self._bridge)
