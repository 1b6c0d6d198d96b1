"""Telling systemd how the master is, by the protocol of sd_notify(3).  Used in the master."""

from __future__ import annotations

import contextlib
import socket


class Notifier:
    """Sends states to the socket that systemd named; to nobody if it named none."""

    def __init__(self, address: str, watchdog_seconds: float | None = None) -> None:
        # a leading @ stands for the zero byte of an abstract address
        self._address = "\0" + address[1:] if address.startswith("@") else address
        #: how often systemd wants to hear of us, None if it does not
        self.watchdog_seconds = watchdog_seconds if address else None

    def tell(self, **states: object) -> None:
        """Send states, such as ``READY=1``; systemd's absence is no trouble of ours."""
        if not self._address:
            return
        # the words of an app's error may be in a status, and a line end in them would begin another state
        values = {name: str(value).replace("\n", " ") for name, value in states.items()}
        text = "\n".join(f"{name}={value}" for name, value in values.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode("utf-8", "replace"), socket.MSG_DONTWAIT, self._address)
