"""A shop whose slow work is done by forkworker: what the workers import, and what enqueues."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import forkworker

DATABASE = Path("shop.db")
OUTBOX = Path("outbox")


def connect() -> sqlite3.Connection:
    """Open the database; each job has a connection of its own, as threads must not share one."""
    return sqlite3.connect(DATABASE, timeout=10)


@forkworker.on("startup")
def prepare() -> None:
    """In every child, before its first job: nothing like this is done at import, which happens before the fork."""
    OUTBOX.mkdir(exist_ok=True)
    with closing(connect()) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS payments (number INTEGER PRIMARY KEY, cents INTEGER)")


@forkworker.job(queue="payments", retry=10)
def charge(number: int, cents: int) -> None:
    """May run twice, as any job whose process died in the middle: the number makes the second run harmless."""
    if cents <= 0:
        raise forkworker.Bury(f"order {number} is about {cents} cents")  # no retry would mend it
    with closing(connect()) as database, database:
        database.execute("INSERT OR IGNORE INTO payments VALUES (?, ?)", (number, cents))
    send_receipt.enqueue(number, language="de")


@forkworker.job(queue="mail")
def send_receipt(number: int, *, language: str = "en") -> None:
    """Fails at first, as mail servers do.  Any error is retried, after 15 to 25 seconds; RetryIn says when."""
    if forkworker.current_job().retry_count == 0:
        raise forkworker.RetryIn(0.5) from ConnectionError("the mail server is busy")
    (OUTBOX / f"{number}.txt").write_text(f"receipt for order {number} ({language})\n", "utf-8")


@forkworker.job
def count_stock(shelf: int, shelves: int) -> None:
    """Long: at a stop it leaves the rest to a job of its own, instead of being interrupted."""
    while shelf < shelves:
        if forkworker.current_job().stopping:
            count_stock.enqueue(shelf, shelves)
            return
        time.sleep(0.05)  # counting
        shelf += 1
    (OUTBOX / "stock.txt").write_text(f"{shelves} shelves counted\n", "utf-8")
