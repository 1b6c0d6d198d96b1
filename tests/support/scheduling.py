"""Which tests go together, and in which order, when they run in parallel.  Runs in all of pytest's processes."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest

#: folders in the order in which they begin: what takes long comes first, lest one worker be left with it at the end
ORDER = ("faults", "systemd", "sidekiq", "integration", "store", "unit")
#: folders whose tests share what is slow to start: one after the other, in one worker
FOLDERS = ("systemd", "sidekiq")
#: folders whose tests are too quick to be handed out one by one: file by file
FILES = ("store", "unit")


class Scheduling(LoadScopeScheduling):
    """Hands out a folder, a file or a single test at a time."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # by their number, which says nothing of their time
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        if _folder(nodeid) in FOLDERS:
            return _folder(nodeid)
        return nodeid.partition("::")[0] if _folder(nodeid) in FILES else nodeid


def put_in_order(items: list[pytest.Item]) -> None:
    """Sort tests by folder; within a folder they stay as they are."""
    rank = {folder: number for number, folder in enumerate(ORDER)}
    items.sort(key=lambda item: rank.get(_folder(item.nodeid), rank["integration"]))


def _folder(nodeid: str) -> str:
    return PurePath(nodeid.partition("::")[0]).parent.name
