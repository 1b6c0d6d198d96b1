"""Walking through a queue or a sorted set in pieces, however large it is, while others push and take.

Each piece is read together with the last entry of the one before.  If that is no longer where it was, its
place is looked up again, so what stands still is neither missed nor met twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from forkworker.store.access import Access

#: of one reply: what is read at once is bounded by number, and, as far as past entries tell, by bytes
MOST_ENTRIES, MOST_BYTES = 1000, 4 * 1024 * 1024
#: the first piece has one entry, the next at most so many times as many: nobody knows yet how large they are
GROWTH = 8
#: how far beyond its old place an entry of a queue is looked for: jobs may have been given back before it
_SLACK = 1000
_TRIES = 3


class Found(NamedTuple):
    """One entry: its bytes, and its score where it has one."""

    payload: bytes
    score: float | None


class Walk:
    """A walk from a position on; ``read`` returns [] at the end."""

    def __init__(self, access: Access, key: str, start: int = 0) -> None:
        self._access = access
        self._key = key
        #: the position of the next entry, and the entry before it if that is known
        self.position = start
        self._anchor: Found | None = None
        self._piece: list[Found] = []
        self._size = 1

    def read(self, most: int = MOST_ENTRIES) -> list[Found]:
        """Return the next entries, at most so many."""
        count = min(most, self._size)
        for _ in range(_TRIES):
            if self._anchor is None:
                return self._step(self._range(self.position, count))
            piece = self._range(self.position - 1, count + 1)
            if piece[:1] == [self._anchor]:
                return self._step(piece[1:])
            self._find_again(self._anchor)
        return self._step(self._range(self.position, count))

    def pieces(self, most: int) -> Iterator[list[Found]]:
        """Return all pieces up to so many entries."""
        while most > 0 and (piece := self.read(most)):
            most -= len(piece)
            yield piece

    def leave_out(self, removed: Iterable[Found]) -> None:
        """Take note that these, of the last piece, have been taken away."""
        gone = set(removed)
        kept = [found for found in self._piece if found not in gone]
        self.position -= len(self._piece) - len(kept)
        self._anchor = kept[-1] if kept and self._anchor in gone else None if self._anchor in gone else self._anchor
        self._piece = kept

    def _step(self, piece: list[Found]) -> list[Found]:
        self._piece = piece
        if piece:
            self.position += len(piece)
            self._anchor = piece[-1]
            average = sum(len(found.payload) for found in piece) // len(piece)
            self._size = max(1, min(MOST_ENTRIES, GROWTH * len(piece), MOST_BYTES // max(1, average)))
        return piece

    def _range(self, start: int, count: int) -> list[Found]:
        raise NotImplementedError

    def _find_again(self, anchor: Found) -> None:
        """Set the position behind the anchor, or where it would be, and then let the anchor go."""
        raise NotImplementedError


class QueueWalk(Walk):
    """Through a queue, from its head: the next to be taken comes first."""

    def _range(self, start: int, count: int) -> list[Found]:
        payloads = self._access.execute("LRANGE", self._key, -(start + count), -(start + 1))
        return [Found(payload, None) for payload in reversed(payloads)]

    def _find_again(self, anchor: Found) -> None:
        look = ("LPOS", self._key, anchor.payload, "RANK", -1, "MAXLEN", self.position + _SLACK)
        length, place = self._access.pipeline([("LLEN", self._key), look])
        if place is None:  # it was taken, and so were all before it
            self.position, self._anchor = 0, None
        else:
            self.position = max(1, length - place)


class SetWalk(Walk):
    """Through a sorted set, the lowest score first, or with ``falling`` the highest."""

    def __init__(self, access: Access, key: str, start: int = 0, *, falling: bool = False) -> None:
        super().__init__(access, key, start)
        self._falling = falling

    def _range(self, start: int, count: int) -> list[Found]:
        command = "ZREVRANGE" if self._falling else "ZRANGE"
        flat = self._access.execute(command, self._key, start, start + count - 1, "WITHSCORES")
        return [Found(payload, float(score)) for payload, score in zip(flat[::2], flat[1::2], strict=True)]

    def _find_again(self, anchor: Found) -> None:
        rank = ("ZREVRANK" if self._falling else "ZRANK", self._key, anchor.payload)
        score, place = self._access.pipeline([("ZSCORE", self._key, anchor.payload), rank])
        if score is not None and place is not None and float(score) == anchor.score:
            self.position = place + 1
            return
        self._anchor = None
        self.position = self._place_of(anchor)

    def _place_of(self, gone: Found) -> int:
        """Return how many entries come before one that is not there any more."""
        score: Any = gone.score
        below, up_to, size = self._access.pipeline(
            [
                ("ZCOUNT", self._key, "-inf", f"({score!r}"),
                ("ZCOUNT", self._key, "-inf", repr(score)),
                ("ZCARD", self._key),
            ]
        )
        while below < up_to:  # among those of the same score the bytes decide
            middle = (below + up_to) // 2
            entry = self._access.execute("ZRANGE", self._key, middle, middle)
            if entry and entry[0] < gone.payload:
                below = middle + 1
            else:
                up_to = middle
        return int(size - below if self._falling else below)


def size_command(key: str) -> tuple[str, str]:
    """Return the command that tells how many entries there are."""
    return ("LLEN", key) if key.startswith(keys.queue("")) else ("ZCARD", key)
