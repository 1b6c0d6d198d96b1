"""Debian's real Sidekiq: its worker, its Web UI and Ruby programs that use its client.  Runs in the test process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.pages import Page
from support.servers import free_port
from support.tools import tool
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis
    from typing_extensions import Self

HERE = Path(__file__).parent


def require() -> None:
    """Ask for the programs that all of this needs."""
    for name in ("sidekiq", "rackup"):
        tool(name, "ruby-sidekiq ruby-webrick")


class RubyProcess:
    """One process that runs until the ``with`` block ends; its output is in a file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fw-ruby-"))
        self._command = list(command)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "LANG": "C.UTF-8", **environment}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.directory / "log").read_text(errors="replace")

    def __enter__(self) -> Self:
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self.directory, env=self._environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    def stop(self) -> None:
        """End it in order; kill it if it does not go."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            finally:
                self.process.kill()
                self.process.wait(15)

    def wait_shown(self, client: redis.Redis) -> str:
        """Return the identity of this worker, once it stands in Redis."""
        assert self.process is not None
        pid = str(self.process.pid)

        def shown() -> list[str]:
            members: Any = client.smembers("processes")
            return [who.decode() for who in members if who.decode().split(":")[1] == pid]

        return wait_until(shown, 30, "the worker is shown", lambda: self.log)[0]


def worker(redis_url: str, records: Path, *queues: str) -> RubyProcess:
    """Return a Sidekiq worker of the jobs in worker.rb."""
    flags = [word for queue in queues or ("default",) for word in ("-q", queue)]
    command = ["sidekiq", "-r", str(HERE / "worker.rb"), "-c", "5", "-t", "2", *flags]
    return RubyProcess(command, {"REDIS_URL": redis_url, "FORKWORKER_TEST_RECORD": str(records)})


def run(redis_url: str, program: str) -> Any:
    """Run a program beside Sidekiq's client; return what it printed, as JSON."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "REDIS_URL": redis_url}
    line = ["ruby", "-W0", "-r", "json", "-r", "sidekiq", "-r", "sidekiq/api", "-e", program]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class WebUi(RubyProcess):
    """Sidekiq's Web UI on a local port, and a browser of it."""

    def __init__(self, redis_url: str) -> None:
        self.port = free_port()
        where = ["-s", "webrick", "-o", "127.0.0.1", "-p", str(self.port), "-E", "production"]
        super().__init__(["rackup", *where, str(HERE / "web.ru")], {"REDIS_URL": redis_url})
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def __enter__(self) -> Self:
        super().__enter__()
        wait_until(self._answers, 30, "the Web UI answers", lambda: self.log)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            return self.get("/").status == 200
        except urllib.error.URLError:
            return False

    def get(self, path: str) -> Page:
        """Open a page."""
        return self._open(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def press(self, path: str, button: str, *, only: str = "", **where: str) -> Page:
        """Open a page and press a button of the one form that has it; return the page that this leads to.

        All boxes of the form are ticked, or ``only`` this.  ``where`` tells one form from others: its
        ``action``, or the value of a hidden field.
        """
        form = self.get(path).form(button, **where)
        address = f"http://127.0.0.1:{self.port}{form.action or path}"
        answer = self._open(urllib.request.Request(address, data=form.pressed(button, only)))
        assert answer.status == 200, f"{path} {button}: {answer.status}\n{self.log[-3000:]}"
        return answer

    def _open(self, request: urllib.request.Request) -> Page:
        try:
            with self._browser.open(request, timeout=30) as answer:
                return Page(answer.status, answer.geturl(), answer.read().decode("utf-8", "replace"))
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.code, request.full_url, error.read().decode("utf-8", "replace"))
