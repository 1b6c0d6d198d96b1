"""An app that has much in memory from its import on.  Runs in the children of the trial of sharing."""

from __future__ import annotations

import os
import random

import forkworker
from forkworker.unix.process import anonymous_bytes

MEGABYTE = 1024 * 1024
SIZE_MEGABYTES = int(os.environ.get("FORKWORKER_TEST_CATALOGUE", "200"))
BASKET = 200


def _articles(first: int, megabytes: float) -> list[dict[str, object]]:
    """Make articles until the process has grown by so much."""
    until = anonymous_bytes(os.getpid()) + megabytes * MEGABYTE
    made: list[dict[str, object]] = []
    while anonymous_bytes(os.getpid()) < until:
        made += [
            {"number": number, "name": f"article {number}", "cents": float(number), "tags": [f"tag {number}"]}
            for number in range(first + len(made), first + len(made) + 1000)
        ]
    return made


#: read by jobs, and not
SOLD = _articles(0, SIZE_MEGABYTES / 10)
DISCONTINUED = _articles(10_000_000, SIZE_MEGABYTES * 9 / 10)


@forkworker.job(name="price_basket")
def price_basket(seed: int) -> None:
    """Read some of the articles that are sold."""
    basket = random.Random(seed).sample(SOLD, BASKET)
    total = sum(article["cents"] for article in basket)  # type: ignore[misc]
    assert total >= 0
    assert all(str(article["name"]).startswith("article") and article["tags"] for article in basket)
