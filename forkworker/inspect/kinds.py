"""What a place is full of: entries counted by the name of the job and the class of its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forkworker.inspect.entry import Entry

#: what is beyond is counted as one
MOST_KINDS = 1000
OTHERS = ("(others)", "")
_MOST_CHARACTERS = 300


@dataclass(slots=True)
class Kind:
    """Entries of one name that failed with one class of error; of those that have not failed the class is ''."""

    name: str
    error_class: str
    count: int
    #: between which instants they are, see ``Entry.time``; None if none of them says
    oldest: float | None
    newest: float | None
    #: of the newest
    jid: str
    error_message: str

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` shows."""
        return {name: getattr(self, name) for name in self.__slots__}


class Kinds:
    """Adds entries up."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], Kind] = {}

    def add(self, entry: Entry) -> None:
        """Count one."""
        key = (entry.name[:_MOST_CHARACTERS], entry.error_class[:_MOST_CHARACTERS])
        if key not in self._kinds and len(self._kinds) >= MOST_KINDS:
            key = OTHERS
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(*key, 0, None, None, "", "")
        kind.count += 1
        time = entry.time
        if not kind.jid or (time is not None and (kind.newest is None or time > kind.newest)):
            kind.jid, kind.error_message = entry.jid, entry.error_message[:_MOST_CHARACTERS]
            kind.newest = time
        if time is not None and (kind.oldest is None or time < kind.oldest):
            kind.oldest = time

    def sorted(self) -> list[Kind]:
        """Return them, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: (-kind.count, kind.name, kind.error_class))
