"""What type checkers say of users' code: right calls pass, wrong ones do not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import forkworker

pytest.importorskip("mypy")

pytestmark = pytest.mark.unit

#: each line with a comment is wrong, in the way that the comment tells; all others are right
PROGRAM = """\
from datetime import datetime, timedelta, timezone
from typing import Any, Callable

import forkworker


@forkworker.job
def plain(path: str) -> None: ...


@forkworker.job(queue="high", retry=3, retry_in=lambda count, error: 5.0, tags=["a"], aliases=("old",))
def resize(path: str, width: int, *, sharp: bool = False) -> int:
    return width


resize.enqueue("a.jpg", 200)
resize.enqueue("a.jpg", width=200, sharp=True)
resize.enqueue_in(60, "a.jpg", 200)
resize.enqueue_in(timedelta(minutes=1), "a.jpg", width=200)
resize.enqueue_at(datetime.now(timezone.utc), "a.jpg", 200)
resize.enqueue_at(1764000000.5, "a.jpg", 200)
resize.options(queue="low", retry=False).enqueue("a.jpg", 200)
jids: list[str | None] = resize.enqueue_many([("a.jpg", 200), ["b.jpg", 300]])
number: int = resize("a.jpg", 200)
jid: str | None = plain.enqueue("a.jpg")
name: str = resize.name
resize.options(retry_in=timedelta(minutes=1), backtrace=False, dead=True, tags=("a",)).enqueue_in(60, "a.jpg", width=2)


@forkworker.job(on_exhausted=lambda job, error: print(job["jid"], error), retry_in=timedelta(minutes=1))
def report(*days: int, language: str) -> list[str]:
    return [language, *map(str, days)]


report.enqueue(1, 2, 3, language="de")
lines: list[str] = report(1, language="de")

resize.enqueue("a.jpg")  # call-arg
resize.enqueue("a.jpg", "200")  # arg-type
resize.enqueue("a.jpg", 200, True)  # call-arg
resize.enqueue("a.jpg", 200, blunt=True)  # call-arg
resize.enqueue_in(60)  # call-arg
resize.enqueue_in("60", "a.jpg", 200)  # arg-type
resize.enqueue_at(datetime.now(timezone.utc), 200, "a.jpg")  # arg-type
resize.options(queue="low").enqueue("a.jpg", None)  # arg-type
resize.options(speed=3)  # call-arg
resize("a.jpg")  # call-arg
text: str = resize("a.jpg", 200)  # assignment
plain.enqueue()  # call-arg
plain.enqueue_in(timedelta(minutes=1), 7)  # arg-type
plain.enqueue_in(timedelta(minutes=1), "a.jpg", "b.jpg")  # call-arg
resize.enqueue_in(60, "a.jpg", width="200")  # arg-type
resize.enqueue_in(60, "a.jpg", 200, blunt=True)  # call-arg
resize.enqueue_at("tomorrow", "a.jpg", 200)  # arg-type
resize.enqueue_at(1764000000.5, "a.jpg")  # call-arg
resize.enqueue_at(1764000000.5, "a.jpg", 200, blunt=True)  # call-arg
resize.enqueue_many(7)  # arg-type
resize.options(retry="often")  # arg-type
report.enqueue(1)  # call-arg
report.enqueue("1", language="de")  # arg-type
report.enqueue(language=None)  # arg-type
words: dict[str, str] = report(1, language="de")  # assignment
plain.enqueue(1)  # arg-type
forkworker.job(retires=3)  # call-overload
forkworker.job(retry="often")  # call-overload
forkworker.job(tags=7)  # call-overload
forkworker.on("start")  # call-overload


@forkworker.on("startup")
def connect() -> None: ...


@forkworker.on("exhausted")
def complain(job: dict[str, Any], error: BaseException) -> None: ...


@forkworker.on("exhausted")  # type-var
def mute() -> None: ...


connect()
complain({}, ValueError())


def timing(job: dict[str, Any], call_next: Callable[[], Any]) -> Any:
    forkworker.current_job().jid.upper()
    forkworker.current_job().jid + 1  # operator
    return call_next()


forkworker.middleware.server.add(timing)
forkworker.middleware.client.add(timing)
forkworker.middleware.server.add(connect)  # arg-type
forkworker.Client().push("HardJob", [1, "a"], queue="low", at=datetime.now(timezone.utc), cattr={})
forkworker.Client("redis://localhost").push(1)  # arg-type
forkworker.configure(redis_url="redis://localhost")
forkworker.Client().push("HardJob", "text")
forkworker.Client().push("HardJob", at="tomorrow")  # arg-type

with forkworker.testing.collect() as jobs:
    jobs.of(resize)[0].args
    jobs.of("HardJob")[0].at
    jobs[0].speed  # attr-defined
    ran: int = jobs.run()
with forkworker.testing.inline():
    resize.enqueue("a.jpg", 200)
try:
    resize.enqueue("a.jpg", 200)
except (forkworker.PushFailed, forkworker.PushInDoubt) as error:
    again: list[str] = list(error.accepted)
if jid:
    raise forkworker.Bury("no use")
if name:
    raise forkworker.RetryIn(timedelta(minutes=1))
raise forkworker.RetryIn(60)
"""

CONFIGURATION = """\
[mypy]
strict = True
show_error_codes = True
follow_imports = silent
[mypy-redis.*]
follow_imports = skip
"""


def test_right_calls_pass_and_each_wrong_one_is_found(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mypy.ini").write_text(CONFIGURATION)
    # once mypy has read Python's own types it is quick; `make clean` removes it
    cache = pytestconfig.rootpath / ".mypy_cache" / "of-test-typing"

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", str(cache), "program.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(forkworker.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    found = {
        int(line): code
        for line, code in re.findall(r"^program\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    }
    wanted = {
        number: line.rpartition("  # ")[2] for number, line in enumerate(PROGRAM.splitlines(), 1) if "  # " in line
    }
    assert found == wanted, done.stdout + done.stderr
