"""forkworker.testing: users' tests see what was pushed, and run it, without a Redis."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import forkworker
from forkworker import client, config, jobs, middleware, testing
from forkworker.jobs import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from forkworker.testing import Collected

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Redis, no jobs and no middleware but those of the test."""

    def refuse() -> str:
        raise AssertionError("Redis was looked for")

    monkeypatch.setattr(config, "redis_url", refuse)
    monkeypatch.setattr(jobs, "registry", Registry())
    monkeypatch.setattr(middleware, "client", middleware.Chain())
    monkeypatch.setattr(middleware, "server", middleware.Chain())


@pytest.fixture
def pushed() -> Iterator[Collected]:
    with testing.collect() as collected:
        yield collected


@pytest.fixture
def ran() -> list[Any]:
    return []


@pytest.fixture
def add(ran: list[Any]) -> forkworker.Job[..., str]:
    @forkworker.job(name="add", queue="sums", tags=["a"])
    def add(one: Any, other: Any = 2, *, key: Any = None) -> str:
        ran.append((one, other, key))
        return f"{one} {other}"

    return add


# Collecting


def test_what_is_pushed_is_collected_as_a_worker_would_read_it(
    pushed: Collected, add: forkworker.Job[..., str], ran: list[Any]
) -> None:
    jid = add.enqueue((1, 2), key={"a": (3,)})

    (job,) = pushed
    assert (job.name, job.args, job.kwargs) == ("add", [[1, 2]], {"key": {"a": [3]}})
    assert (job.queue, job.jid, job.at, job.fields["tags"]) == ("sums", jid, None, ["a"])
    assert ran == []


def test_what_is_pushed_for_later_tells_when(pushed: Collected, add: forkworker.Job[..., str]) -> None:
    when = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1)
    add.enqueue_at(when, 1)
    add.enqueue_in(-5, 2)

    assert [job.at for job in pushed] == [when.timestamp(), None]
    assert "enqueued_at" not in pushed[0].fields


def test_every_client_and_thread_is_collected(pushed: Collected, add: forkworker.Job[..., str]) -> None:
    thread = threading.Thread(target=add.enqueue, args=(1,))
    thread.start()
    thread.join()
    forkworker.Client("redis://localhost:1").push("HardJob", ["a"])
    add.enqueue_many([(2,), (3,)])

    assert [(job.name, job.args) for job in pushed] == [
        ("add", [1]),
        ("HardJob", ["a"]),
        ("add", [2]),
        ("add", [3]),
    ]
    assert [job.args for job in pushed.of(add)] == [[1], [2], [3]]
    assert pushed.of("HardJob") == [pushed[1]]
    assert pushed[-2:] == [*pushed][2:]
    assert len(pushed) == 4
    assert "HardJob('a',)" in repr(pushed)


def test_wrong_calls_and_wrong_arguments_are_refused_as_ever(pushed: Collected, add: forkworker.Job[..., str]) -> None:
    with pytest.raises(TypeError, match="'one'"):
        add.enqueue({1})
    with pytest.raises(TypeError):
        add.enqueue()
    assert len(pushed) == 0


def test_client_middleware_runs(pushed: Collected, add: forkworker.Job[..., str]) -> None:
    @middleware.client.add
    def odd_only(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        job["tenant"] = 7
        return call_next() if job["args"][0] % 2 else None

    assert add.enqueue(2) is None
    assert add.enqueue(1) == pushed[0].jid
    assert pushed[0].fields["tenant"] == 7


# Running what was collected


def test_a_collected_job_can_be_run_and_gives_its_value(
    pushed: Collected, add: forkworker.Job[..., str], ran: list[Any]
) -> None:
    add.enqueue(1, key="k")

    assert pushed[0].run() == "1 2"
    assert ran == [(1, 2, "k")]
    assert len(pushed) == 1


def test_run_runs_all_also_what_the_jobs_push(pushed: Collected, ran: list[Any]) -> None:
    @forkworker.job(name="count")
    def count(number: int) -> None:
        ran.append(number)
        if number:
            count.enqueue_in(60, number - 1)

    count.enqueue(3)

    assert pushed.run() == 4
    assert ran == [3, 2, 1, 0]
    assert len(pushed) == 0


def test_what_a_job_raises_is_the_tests_and_the_job_stays(pushed: Collected, ran: list[Any]) -> None:
    @forkworker.job(name="divide")
    def divide(by: int) -> None:
        ran.append(1 / by)

    divide.enqueue_many([[1], [0], [2]])

    with pytest.raises(ZeroDivisionError):
        pushed.run()
    assert [job.args for job in pushed] == [[0], [2]]
    pushed.clear()
    assert pushed.run() == 0


@pytest.mark.parametrize("error", [forkworker.Bury("no"), forkworker.RetryIn(5)], ids=repr)
def test_verdicts_are_raised_but_for_drop(pushed: Collected, error: Exception) -> None:
    @forkworker.job(name="verdict")
    def verdict(drop: bool) -> None:
        raise forkworker.Drop if drop else error

    verdict.enqueue(True)
    verdict.enqueue(False)

    assert pushed[0].run() is None
    with pytest.raises(type(error)):
        pushed[1].run()


def test_a_job_knows_itself_and_server_middleware_runs(pushed: Collected, ran: list[Any]) -> None:
    @middleware.server.add
    def around(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        ran.append(job["class"])
        return call_next()

    @forkworker.job(name="about", queue="low", tags=["a"])
    def about() -> None:
        job = forkworker.current_job()
        ran.append((job.jid, job.name, job.queue, job.tags, job.retry_count, job.recoveries, job.stopping))

    jid = about.enqueue()
    pushed.run()

    assert ran == ["about", (jid, "about", "low", ("a",), 0, 0, False)]


def test_an_unknown_job_is_collected_and_cannot_be_run(pushed: Collected, add: forkworker.Job[..., str]) -> None:
    forkworker.Client().push("HardJob")

    with pytest.raises(forkworker.UnknownJob, match="known are: add; is its module imported"):
        pushed.run()
    assert add.name == "add"


def test_a_run_leaves_the_collected_job_as_it_was(pushed: Collected) -> None:
    @forkworker.job(name="consume")
    def consume(items: list[int]) -> int:
        items.pop()
        return len(items)

    consume.enqueue([1, 2])

    assert [pushed[0].run(), pushed[0].run()] == [1, 1]


# Inline


def test_inline_runs_at_once_through_real_json(add: forkworker.Job[..., str], ran: list[Any]) -> None:
    with testing.inline():
        jid = add.enqueue((1, 2))
        assert jid
        assert ran == [([1, 2], 2, None)]
        add.enqueue_in(3600, 3)
        add.enqueue_many([(4,), (5,)])

    assert [one for one, _, _ in ran] == [[1, 2], 3, 4, 5]


def test_inline_raises_what_the_job_raises() -> None:
    @forkworker.job(name="divide")
    def divide(by: int) -> float:
        return 1 / by

    with testing.inline(), pytest.raises(ZeroDivisionError):
        divide.enqueue(0)


def test_modes_can_be_nested_and_end_also_after_an_error(add: forkworker.Job[..., str], ran: list[Any]) -> None:
    with testing.collect() as outer:
        with contextlib.suppress(KeyError), testing.inline():
            add.enqueue(1)
            raise KeyError
        add.enqueue(2)
        with testing.collect() as inner:
            add.enqueue(3)
        add.enqueue(4)

    assert [one for one, _, _ in ran] == [1]
    assert [job.args for job in outer] == [[2], [4]]
    assert [job.args for job in inner] == [[3]]
    with pytest.raises(AssertionError, match="Redis was looked for"):
        add.enqueue(5)


@testing.inline()
def test_a_mode_can_decorate_a_test() -> None:
    called: list[int] = []
    forkworker.job(name="call")(called.append).enqueue(1)
    assert called == [1]


def test_testing_is_public() -> None:
    assert forkworker.testing is testing
    assert client.divert(None) is None


def test_the_example_in_the_documents_passes(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "docs" / "jobs.md").read_text("utf-8")
    *_, example = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_example.py").write_text(example)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "test_example.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "2 passed" in done.stdout, done.stdout + done.stderr
