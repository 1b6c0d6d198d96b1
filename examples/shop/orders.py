"""A program that enqueues, as a web application or a shell would: it imports no worker code and starts no thread."""

from __future__ import annotations

import shop


def main() -> None:
    """Place some orders."""
    for number in range(4711, 4716):
        print(f"order {number}: job {shop.charge.enqueue(number, cents=1999)}")
    print(f"order 4716, for the dead set: job {shop.charge.enqueue(4716, cents=0)}")
    print(f"stock: job {shop.count_stock.enqueue(0, shelves=20)}")


if __name__ == "__main__":
    main()
