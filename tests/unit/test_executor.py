"""Every way a job can end is a value; nothing escapes into the job thread."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from forkworker import context, middleware
from forkworker.errors import Bury, Drop, JobInterrupted, RetryIn
from forkworker.hooks import Hooks
from forkworker.jobs import Job, Registry
from forkworker.options import Options
from forkworker.runtime import executor
from forkworker.runtime.executor import Executor
from forkworker.runtime.hand import Unit
from forkworker.runtime.outcome import Interrupted, Outcome
from forkworker.runtime.shield import Shield

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit

NOW = 1_764_000_000.5
JID = "0f" * 12


class FakeClock:
    """Stands still, unless a job lets time pass."""

    def __init__(self) -> None:
        self.instant = 50.0

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return self.instant


class World:
    """An executor, and jobs that tests register."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registry = Registry()
        self.shield = Shield()
        self.stopping = False
        self.recoveries: dict[bytes, int] = {}
        self.executor = Executor(
            self.registry,
            self.clock,
            apps=("shop.jobs", "mail.py"),
            is_stopping=lambda: self.stopping,
            count_recoveries=lambda payload: self.recoveries.get(payload, 0),
        )

    def register(self, function: Callable[..., Any], name: str = "work", **options: Any) -> None:
        self.registry.add(Job(function, name, Options(**options)))

    def run_bytes(self, payload: bytes, queue: str = "default") -> Outcome | Interrupted:
        unit = Unit(payload=payload, queue=queue, working="w", entry=0, permit=0, taken_at=0.0)
        try:
            ended = self.executor.run(unit, self.shield)
        except (KeyboardInterrupt, SystemExit) as error:  # these would end pytest, too
            raise AssertionError(f"{type(error).__name__} escaped into the job thread") from error
        assert ended.unit is unit
        return ended

    def run(self, *args: Any, name: str = "work", queue: str = "default", **fields: Any) -> Outcome:
        job = {"class": name, "args": list(args), "jid": JID, **fields}
        ended = self.run_bytes(json.dumps(job).encode(), queue)
        assert isinstance(ended, Outcome)
        return ended


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def server_chain(monkeypatch: pytest.MonkeyPatch) -> middleware.Chain:
    chain = middleware.Chain()
    monkeypatch.setattr(middleware, "server", chain)
    return chain


@pytest.fixture(autouse=True)
def _nothing_of_a_job_is_left_in_the_thread() -> Iterator[None]:
    yield
    with pytest.raises(LookupError):
        context.current_job()


def nothing() -> None: ...


def raiser(error: BaseException | type[BaseException]) -> Callable[..., None]:
    def function(*_: Any, **__: Any) -> None:
        raise error

    return function


# Done


def test_a_job_gets_its_arguments_and_its_end_is_told(world: World) -> None:
    calls: list[Any] = []

    def function(*args: Any, **kwargs: Any) -> str:
        calls.append((args, kwargs))
        world.clock.instant += 1.5
        return "ignored"

    world.register(function)
    outcome = world.run(1, [2], {"3": 4}, kwargs={"key": None})

    assert calls == [((1, [2], {"3": 4}), {"key": None})]
    assert (outcome.kind, outcome.name, outcome.jid, outcome.seconds) == ("done", "work", JID, 1.5)
    assert (outcome.error, outcome.new_payload, outcome.score) == ("", b"", 0.0)


def test_a_payload_without_args_jid_and_kwargs_runs(world: World) -> None:
    calls: list[int] = []
    world.register(lambda: calls.append(1))

    outcome = world.run_bytes(b'{"class":"work"}')

    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.jid, calls) == ("done", "", [1])


def test_a_job_is_found_by_its_alias(world: World) -> None:
    world.registry.add(Job(nothing, "new", Options()), aliases=["old"])

    assert world.run(name="old").kind == "done"


def test_drop_ends_a_job_as_if_done(world: World) -> None:
    world.register(raiser(Drop("enough")))

    outcome = world.run()

    assert (outcome.kind, outcome.error) == ("done", "")


# Failures


def recurse() -> None:
    recurse()


class Group(Exception):
    """An error that is falsy, whatever that is good for."""

    def __bool__(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("function", "error_class"),
    [
        (raiser(ValueError("boom")), "ValueError"),
        (lambda: sys.exit(3), "SystemExit"),
        (lambda: sys.exit("words"), "SystemExit"),
        (raiser(KeyboardInterrupt), "KeyboardInterrupt"),
        (raiser(GeneratorExit), "GeneratorExit"),
        (raiser(MemoryError), "MemoryError"),
        (recurse, "RecursionError"),
        (raiser(StopIteration("x")), "StopIteration"),
        (raiser(BaseException("bare")), "BaseException"),
        (raiser(Group()), f"{__name__}.Group"),
        (lambda _missing: None, "TypeError"),
    ],
    ids=[
        *("error", "sys.exit", "sys.exit with words", "KeyboardInterrupt", "GeneratorExit", "MemoryError"),
        *("RecursionError", "StopIteration", "BaseException", "falsy error", "wrong arguments"),
    ],
)
def test_whatever_a_job_raises_is_that_jobs_failure(
    world: World, function: Callable[..., Any], error_class: str
) -> None:
    world.register(function)

    outcome = world.run()

    assert (outcome.kind, outcome.name, outcome.jid) == ("retry", "work", JID)
    assert outcome.error.startswith(f"{error_class}: ")
    fields = json.loads(outcome.new_payload)
    assert (fields["error_class"], fields["retry_count"], fields["queue"]) == (error_class, 0, "default")
    assert NOW + 15 <= outcome.score < NOW + 25


def test_the_registered_options_count_for_what_the_payload_leaves_out(world: World) -> None:
    world.register(raiser(ValueError("boom")), retry=0, backtrace=False)

    outcome = world.run()

    assert outcome.kind == "bury"
    assert outcome.score == NOW
    assert "error_backtrace" not in json.loads(outcome.new_payload)


@pytest.mark.parametrize(
    ("error", "kind", "score"),
    [(Bury("no use"), "bury", NOW), (RetryIn(90), "retry", NOW + 90)],
    ids=["Bury", "RetryIn"],
)
def test_a_job_may_decide_for_itself(world: World, error: Exception, kind: str, score: float) -> None:
    world.register(raiser(error))

    outcome = world.run()

    assert (outcome.kind, outcome.score) == (kind, score)


def test_a_job_without_retries_is_dropped(world: World) -> None:
    world.register(raiser(ValueError("boom")))

    assert world.run(retry=False).kind == "failed"


def test_a_forced_stop_is_no_failure(world: World) -> None:
    world.stopping = True
    world.register(raiser(JobInterrupted))

    assert isinstance(world.run_bytes(b'{"class":"work"}'), Interrupted)


def test_except_exception_does_not_swallow_a_forced_stop(world: World) -> None:
    def stubborn() -> None:
        try:
            raise JobInterrupted
        except Exception:  # noqa: BLE001 - what users write
            pass

    world.stopping = True
    world.register(stubborn)

    assert isinstance(world.run_bytes(b'{"class":"work"}'), Interrupted)


class Hostile(Exception):
    """Its message ends the process, if one lets it."""

    def __str__(self) -> str:
        raise SystemExit("from __str__")


def test_an_error_whose_message_exits_is_a_failure_like_any_other(world: World) -> None:
    world.register(raiser(Hostile()))

    assert world.run().kind == "retry"


def test_interrupted_without_a_stop_is_a_failure_like_any_other(world: World) -> None:
    """Else the payload would stay in the working list for as long as the process lives."""
    world.register(raiser(JobInterrupted))

    assert world.run().kind == "retry"


def test_a_retry_gets_the_arguments_as_they_were(world: World, server_chain: middleware.Chain) -> None:
    """Not as the job, or a middleware with something that is no JSON, has left them."""

    @server_chain.add
    def lend(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        job["session"] = object()
        job["queue"] = None
        return call_next()

    def consume(items: list[int], *, options: dict[str, Any]) -> None:
        items.clear()
        options["seen"] = {1, 2}
        raise ValueError("boom")

    world.register(consume)
    outcome = world.run([1, 2, 3], kwargs={"options": {}}, queue="low")

    assert outcome.kind == "retry"
    fields = json.loads(outcome.new_payload)
    assert (fields["args"], fields["kwargs"]) == ([[1, 2, 3]], {"options": {}})
    assert fields["queue"] == "low"
    assert "session" not in fields


def test_a_coroutine_that_a_job_returns_is_a_failure(world: World) -> None:
    """Nobody would run it, and the job would end as done."""

    async def later() -> None: ...

    world.register(later)

    outcome = world.run()

    assert outcome.kind == "retry"
    assert "asyncio.run()" in outcome.error


class OddMeta(type):
    """Not even the module of its classes can be had."""

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise SystemExit("from a metaclass")


class Odd(Exception, metaclass=OddMeta):
    """Nothing about it can be told."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


class OddText(str):
    """A text that lets nobody cut it."""

    __slots__ = ()

    def __getitem__(self, _key: Any) -> str:
        raise GeneratorExit


class OddlyTold(Exception):
    """Its message is such a text."""

    def __str__(self) -> str:
        return OddText("x")


@pytest.mark.parametrize("error", [Odd(), OddlyTold()], ids=["class", "message"])
def test_an_error_that_defends_itself_is_a_failure_like_any_other(world: World, error: Exception) -> None:
    world.register(raiser(error))

    outcome = world.run()

    assert outcome.kind == "retry"
    assert "cannot be shown" in outcome.error


def test_where_no_verdict_can_be_reached_the_payload_is_buried_as_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather that than a job thread that ends, or a payload that stays in the working list."""
    monkeypatch.setattr(executor.retry, "decide", raiser(MemoryError()))
    world.register(raiser(ValueError("boom")))

    outcome = world.run_bytes(b'{"class": "work"}')

    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.new_payload, outcome.score) == ("bury", b'{"class": "work"}', NOW)


def test_a_failed_job_that_cannot_be_written_again_is_buried_as_it_is(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A number that is too large is read as infinite, which JSON does not have."""
    world.register(raiser(ValueError("boom")))

    outcome = world.run_bytes(b'{"class": "work", "args": [1e400]}')

    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.new_payload) == ("bury", b'{"class": "work", "args": [1e400]}')
    assert [record.message for record in caplog.records] == [
        "work: its failure cannot be noted in it; it goes to the dead set as it is"
    ]


# The last failure


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Hooks:
    events = Hooks()
    monkeypatch.setattr(executor, "hooks", events)
    return events


def test_a_last_failure_is_told_to_the_job_and_then_to_everybody(world: World, events: Hooks) -> None:
    told: list[Any] = []
    error = ValueError("boom")
    world.register(
        raiser(error), retry=0, on_exhausted=lambda job, error: told.append(("job", job["jid"], job["args"], error))
    )
    events.on("exhausted")(lambda job, error: told.append(("all", job["error_message"], job["retry_count"], error)))

    outcome = world.run()

    assert outcome.kind == "bury"
    assert told == [("job", JID, [], error), ("all", "boom", 0, error)]


def test_only_a_last_failure_is_told(world: World, events: Hooks) -> None:
    def complain(*_: object) -> None:
        raise AssertionError("told")

    events.on("exhausted")(complain)
    for name, function, retries in (
        ("fails", raiser(ValueError()), True),
        ("drops", raiser(Drop()), 0),
        ("is dropped", raiser(ValueError()), False),
        ("is done", nothing, 0),
    ):
        world.register(function, name, retry=retries, on_exhausted=complain)
    world.stopping = True
    world.register(raiser(JobInterrupted), "is interrupted", retry=0, on_exhausted=complain)

    kinds = [world.run(name=name).kind for name in ("fails", "drops", "is dropped", "is done")]

    assert kinds == ["retry", "done", "failed", "done"]
    assert isinstance(world.run_bytes(b'{"class":"is interrupted"}'), Interrupted)


def test_a_name_unknown_to_the_end_is_told_to_everybody(world: World, events: Hooks) -> None:
    told: list[str] = []
    events.on("exhausted")(lambda job, _error: told.append(job["class"]))

    assert world.run(name="who", retry=False, retry_count=24).kind == "bury"
    assert told == ["who"]


@pytest.mark.parametrize("hook", [lambda: None, lambda _job, _error: sys.exit(1), raiser(KeyboardInterrupt)])
def test_what_is_told_of_a_last_failure_may_fail_itself(world: World, events: Hooks, hook: Any) -> None:
    told: list[int] = []
    world.register(raiser(ValueError("boom")), retry=0, on_exhausted=hook)
    events.on("exhausted")(hook)
    events.on("exhausted")(lambda _job, _error: told.append(1))

    outcome = world.run()

    assert (outcome.kind, told) == ("bury", [1])


def test_what_is_told_of_a_last_failure_cannot_change_what_is_kept(world: World, events: Hooks) -> None:
    events.on("exhausted")(lambda job, _error: job.clear())
    world.register(raiser(ValueError("boom")), retry=0)

    assert json.loads(world.run().new_payload)["error_message"] == "boom"


# Unknown names


def test_an_unknown_name_is_retried_and_the_error_says_what_is_known(world: World) -> None:
    world.register(lambda: None, "b")
    world.registry.add(Job(nothing, "a", Options()), aliases=["c"])

    outcome = world.run(name="os.system", retry=False)

    assert outcome.kind == "retry"
    message = json.loads(outcome.new_payload)["error_message"]
    assert "'os.system'" in message
    assert "known are: a, b, c;" in message
    assert "shop.jobs, mail.py" in message


def test_a_name_of_a_megabyte_leaves_room_for_the_known_ones(world: World) -> None:
    world.register(nothing, "known")

    outcome = world.run(name="x" * 1_000_000)

    message = json.loads(outcome.new_payload)["error_message"]
    assert "known are: known;" in message
    assert len(message) < 1000


def test_of_many_known_names_only_some_are_told(world: World) -> None:
    for number in range(100):
        world.register(lambda: None, f"job{number:03}")

    message = world.run(name="x").error

    assert "job019 and 80 more;" in message
    assert "job020" not in message


def test_nothing_in_a_payload_can_name_a_function(world: World) -> None:
    outcome = world.run("touch /tmp/x", name="os:system", wrapped="os.system", display_class="os.system")

    assert outcome.error.startswith("forkworker.errors.UnknownJob")


# Malformed payloads


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"hello",
        b"{",
        b"\xff\xfe{",
        b"null",
        b"[]",
        b"{}",
        b'{"class":null}',
        b'{"class":7,"args":[]}',
        b'{"class":"work","args":{}}',
        b'{"class":"work","args":null}',
        b'{"class":"work","args":"text"}',
        b"[" * 200_000,
        b'{"class":"work","args":' + b"[" * 200_000,
        b'{"class":"\xff"}',
    ],
    ids=lambda payload: repr(payload[:30]),
)
def test_what_is_no_job_is_rejected_byte_for_byte(world: World, payload: bytes) -> None:
    world.register(lambda *_args: None)

    outcome = world.run_bytes(payload)

    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.new_payload, outcome.score) == ("reject", payload, NOW)
    assert outcome.error


@pytest.mark.parametrize(
    "fields",
    [
        {"kwargs": [1]},
        {"kwargs": "text"},
        {"kwargs": {"unknown": 1}},
        {"retry": "often"},
        {"retry_count": "x"},
        {"retry_count": 10**400},
        {"retry_count": 10**400, "retry_for": 60},
        {"retry_count": 10**400, "retry": 10**401},
        {"retry_for": 10**400, "retry_count": 1, "failed_at": 1.5},
        {"retry_for": 60, "retry_count": 1, "failed_at": 10**400},
        {"retry_for": 60, "retry_count": 1, "failed_at": [1]},
        {"retry_queue": 7},
        {"retry_queue": ["a"]},
        {"backtrace": "all"},
        {"backtrace": -3},
        {"dead": "yes"},
        {"jid": 17},
        {"jid": None},
        {"tags": 3},
        {"queue": []},
        {"failed_at": "x"},
        {"failed_at": {}, "retry_count": 3},
        {"retry_in": "x"},
        {"retry_in": 10**400},
        {"created_at": None, "enqueued_at": []},
    ],
    ids=lambda fields: json.dumps(fields).replace("0" * 400, "e400"),
)
def test_odd_fields_of_a_failing_job_harm_nobody(world: World, fields: dict[str, Any]) -> None:
    """Whoever can push can write these; if one escaped, it would take the job thread along."""
    world.register(raiser(ValueError("boom")))

    outcome = world.run(**fields)

    assert outcome.kind in ("retry", "bury")
    json.loads(outcome.new_payload)
    assert NOW <= outcome.score < float("inf")


# The hook retry_in


@pytest.mark.parametrize(
    "hook",
    [
        lambda _count, _error: 1 / 0,
        lambda _count, _error: None,
        lambda _count, _error: "soon",
        lambda _count, _error: float("nan"),
        lambda _count, _error: float("inf"),
        lambda: 1,
        lambda _count, _error: sys.exit(1),
        lambda _count, _error: raiser(KeyboardInterrupt)(),
    ],
    ids=["raises", "None", "text", "NaN", "inf", "wrong signature", "sys.exit", "KeyboardInterrupt"],
)
def test_a_retry_in_hook_that_fails_leaves_the_ordinary_delay(world: World, hook: Any) -> None:
    world.register(raiser(ValueError("boom")), retry_in=hook)

    outcome = world.run()

    assert outcome.kind == "retry"
    assert NOW + 15 <= outcome.score < NOW + 25
    assert outcome.error == "ValueError: boom"


def test_what_is_kept_of_a_failure_is_the_jobs_error_not_its_hooks(world: World) -> None:
    world.register(raiser(ValueError("boom")), retry_in=lambda _count, _error: 1 / 0)

    fields = json.loads(world.run().new_payload)

    assert (fields["error_class"], fields["error_message"]) == ("ValueError", "boom")


# Middleware and context


def test_server_middleware_goes_around_the_job(world: World, server_chain: middleware.Chain) -> None:
    steps: list[Any] = []

    @server_chain.add
    def around(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        steps.append((job["class"], job["cattr"]))
        value = call_next()
        steps.append(value)
        return value

    world.register(lambda: "value")
    outcome = world.run(cattr={"user": 1})

    assert outcome.kind == "done"
    assert steps == [("work", {"user": 1}), "value"]


def test_an_error_of_middleware_is_the_jobs_failure(world: World, server_chain: middleware.Chain) -> None:
    ran: list[int] = []

    @server_chain.add
    def refuse(_job: dict[str, Any], _call_next: Callable[[], Any]) -> None:
        raise PermissionError("no")

    world.register(lambda: ran.append(1))
    outcome = world.run()

    assert (outcome.kind, outcome.error, ran) == ("retry", "PermissionError: no", [])


def test_middleware_may_leave_a_job_out(world: World, server_chain: middleware.Chain) -> None:
    ran: list[int] = []
    server_chain.add(lambda _job, _call_next: None)
    world.register(lambda: ran.append(1))

    assert (world.run().kind, ran) == ("done", [])


@pytest.mark.parametrize(("fields", "count"), [({}, 0), ({"retry_count": 0}, 1), ({"retry_count": -1}, 0)], ids=str)
def test_a_job_can_ask_about_itself(world: World, fields: dict[str, Any], count: int) -> None:
    seen: list[context.CurrentJob] = []
    world.register(lambda: seen.append(context.current_job()))

    world.run(queue="low", **fields)

    (current,) = seen
    assert (current.jid, current.name, current.queue, current.retry_count) == (JID, "work", "low", count)


def test_a_job_sees_a_stop_when_it_begins(world: World) -> None:
    seen: list[bool] = []

    def function() -> None:
        current = context.current_job()
        seen.append(current.stopping)
        world.stopping = True
        seen.append(current.stopping)

    world.register(function)
    world.run()

    assert seen == [False, True]


def test_recoveries_are_those_of_this_very_payload(world: World) -> None:
    payload = b'{"class":"work", "args":[]}'
    world.recoveries[payload] = 2
    seen: list[int] = []
    world.register(lambda: seen.append(context.current_job().recoveries))

    world.run_bytes(payload)
    world.run_bytes(payload + b" ")

    assert seen == [2, 0]


def test_outside_of_a_job_there_is_no_current_job() -> None:
    with pytest.raises(LookupError, match="inside a job"):
        context.current_job()


def test_middleware_knows_the_current_job(world: World, server_chain: middleware.Chain) -> None:
    seen: list[str] = []

    @server_chain.add
    def look(_job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
        seen.append(context.current_job().jid)
        return call_next()

    world.register(lambda: None)
    world.run()

    assert seen == [JID]


# The shield


@pytest.mark.parametrize("error", [None, ValueError("boom"), SystemExit()], ids=["done", "failed", "exited"])
def test_the_shield_is_down_only_while_the_body_runs(world: World, error: BaseException | None) -> None:
    """An interruption asked for outside of the body is refused, and so can never hit what comes after it."""

    def function() -> None:
        seen.append(bool(world.shield._body_of))
        if error:
            raise error

    seen: list[bool] = []
    world.register(function)
    world.run()

    assert seen == [True]
    assert world.shield.interrupt() is False


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # another test may have left a thread
def test_a_copy_that_a_job_forks_never_gets_to_settle(world: World, events: Hooks, tmp_path: Path) -> None:
    """It ends where it comes back from the job, with 0 or, after an error, 1; nothing is told of it."""
    told = tmp_path / "told"
    events.on("exhausted")(lambda _job, _error: told.touch())
    codes: list[int] = []

    def fork(copy_fails: bool) -> None:
        pid = os.fork()
        if pid == 0 and copy_fails:
            raise ValueError("in the copy")
        if pid:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    world.register(fork, retry=0)

    assert [world.run(False).kind, world.run(True).kind] == ["done", "done"]
    assert codes == [0, 1]
    assert not told.exists()
