"""What Redis was sent, command by command, as its own MONITOR tells it.  Runs in the test process."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from typing import TYPE_CHECKING

from forkworker.store import scripts

if TYPE_CHECKING:
    import redis
    from typing_extensions import Self

SCRIPTS = ("beat", "clear", "due", "fetch", "promote", "restore", "settle", "signal", "take", "unregister")


class Traffic:
    """A context manager: counts what all clients send while it is open; a script goes by its own name."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._names = {scripts.get(name).sha1: name for name in SCRIPTS}
        self._begin, self._end = secrets.token_hex(8), secrets.token_hex(8)
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.sent: Counter[str] = Counter()
        #: by scripts, from within
        self.inner: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._began.wait(0.01):  # MONITOR answers at once, but in its own thread
            self._client.echo(self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.echo(self._end)
        self._thread.join(10)
        assert not self._thread.is_alive(), "MONITOR has not told of the last command"

    def _listen(self) -> None:
        with self._client.monitor() as monitor:
            for line in monitor.listen():
                name, *words = line["command"].split(" ", 2)
                if words[:1] == [self._begin]:
                    self.sent.clear()
                    self._began.set()
                elif words[:1] == [self._end]:
                    return
                elif line["client_type"] == "lua":
                    self.inner[name.upper()] += 1
                else:
                    self.sent[self._named(name.upper(), words)] += 1

    def _named(self, name: str, words: list[str]) -> str:
        if name == "CLIENT":
            return f"CLIENT {words[0]}"
        return self._names.get(words[0], name) if name == "EVALSHA" else name
