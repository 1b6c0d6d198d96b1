"""What operators take away: entries of queues and sorted sets, one, many or all.  By exact bytes only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkworker.store import batches, scripts
from forkworker.wire import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forkworker.store.connection import Commands

#: payloads taken out of a queue by one script
MOST_WITHDRAWN = 500
#: entries around the place where a payload of a queue was seen, among which it is looked for first
WINDOW = 2000

#: each payload, and the form in which it goes to the dead set, b"" if it is to go for good
Withdrawal = tuple[bytes, bytes]


def from_queue(
    access: Commands, queue: str, withdrawals: Sequence[Withdrawal], position: int, now: float
) -> list[bool]:
    """Take payloads out of a queue, seen from ``position`` on, to the dead set or away; say which were there."""
    named = [keys.queue(queue), keys.DEAD]
    flags: list[bool] = []
    start = max(0, position - WINDOW)
    while len(flags) < len(withdrawals):
        rest = withdrawals[len(flags) :]
        count = batches.how_many((len(payload) + len(form) for payload, form in rest), MOST_WITHDRAWN)
        args = [part for withdrawal in rest[:count] for part in withdrawal]
        reply = access.execute(*scripts.call("withdraw", named, [repr(now), start, count + 2 * WINDOW, *args]))
        flags += [flag == ord("1") for flag in reply]
    return flags


def from_set(access: Commands, key: str, payloads: Sequence[bytes]) -> int:
    """Delete entries of a sorted set; return how many were there."""
    removed = 0
    while payloads:
        count = batches.how_many(map(len, payloads), 1000)
        removed += int(access.execute("ZREM", key, *payloads[:count]))
        payloads = payloads[count:]
    return removed


def everything(access: Commands, key: str) -> int:
    """Delete a whole sorted set, or a whole queue and its name; return how many entries it had."""
    is_queue = key.startswith(keys.queue(""))
    name = key[len(keys.queue("")) :] if is_queue else ""
    return int(access.execute(*scripts.call("clear", [key, keys.QUEUES], [name])))
