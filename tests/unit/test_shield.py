"""A forced stop reaches the body of a job, and nothing else of its thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from forkworker.errors import JobInterrupted
from forkworker.runtime.shield import Shield

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit

PATIENCE_SECONDS = 5.0


class Runner:
    """A thread that runs a body under a shield, and notes how it went."""

    def __init__(self, body: Callable[[], None]) -> None:
        self.shield = Shield()
        self.inside = threading.Event()
        self.over = threading.Event()
        self.leave = threading.Event()
        self.seen: list[str] = []
        self._body = body
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Runner:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with self.shield:
                self.inside.set()
                self._body()
                self.seen.append("done")
        except JobInterrupted:
            self.seen.append("interrupted")
        self.over.set()
        # Python code after the body, in which an interruption that came too late would strike
        while not self.leave.wait(0.001):
            pass
        self.seen.append("left")


def spin() -> None:
    """Run Python code until interrupted."""
    while True:
        pass


def stubborn() -> None:
    """Swallow whatever ``except Exception`` swallows."""
    while True:
        try:
            spin()
        except Exception:  # noqa: BLE001 - what users write
            pass


@pytest.mark.parametrize("body", [spin, stubborn])
def test_a_body_is_interrupted(body: Callable[[], None]) -> None:
    with Runner(body) as runner:
        assert runner.inside.wait(PATIENCE_SECONDS)
        assert runner.shield.interrupt() is True
        assert runner.over.wait(PATIENCE_SECONDS)

    assert runner.seen == ["interrupted", "left"]


def test_after_the_body_it_is_too_late() -> None:
    with Runner(lambda: None) as runner:
        assert runner.over.wait(PATIENCE_SECONDS)
        assert runner.shield.interrupt() is False

    assert runner.seen == ["done", "left"]


def test_before_the_body_it_is_too_early() -> None:
    shield = Shield()

    assert shield.interrupt() is False
    with shield:
        pass


def test_a_body_that_has_failed_is_not_interrupted_any_more() -> None:
    shield = Shield()

    with pytest.raises(ValueError, match="boom"), shield:
        raise ValueError("boom")

    assert shield.interrupt() is False


def test_a_shield_serves_one_job_after_the_other() -> None:
    shield = Shield()
    ended: list[str] = []
    inside = threading.Semaphore(0)

    def run() -> None:
        for _ in range(3):
            try:
                with shield:
                    inside.release()
                    spin()
            except JobInterrupted:
                ended.append("interrupted")

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(3):
        assert inside.acquire(timeout=PATIENCE_SECONDS)
        assert shield.interrupt() is True
    thread.join(PATIENCE_SECONDS)

    assert ended == ["interrupted"] * 3


def test_only_the_thread_of_the_shield_is_interrupted() -> None:
    with Runner(spin) as one, Runner(spin) as other:
        assert one.inside.wait(PATIENCE_SECONDS)
        assert other.inside.wait(PATIENCE_SECONDS)
        one.shield.interrupt()
        assert one.over.wait(PATIENCE_SECONDS)
        assert not other.over.is_set()
        other.shield.interrupt()
        assert other.over.wait(PATIENCE_SECONDS)
