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
plain.enqueue(1)  # arg-type
forkworker.job(retires=3)  # call-overload
forkworker.on("start")  # arg-type


@forkworker.on("startup")
def connect() -> None: ...


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
