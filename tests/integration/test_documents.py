"""The code in documents does what they say: blocks are run, shell lines are tried, worked examples have children."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from support import documents
from support.documents import DOCUMENTS, ROOT
from support.payloads import push_many
from support.postgres import DATABASE, postgres, query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis as redispy
    from support.daemon import Daemon
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

FORK_SAFETY = ROOT / "docs/fork-safety.md"  # its examples need servers, and children
WITH_PYTHON = [one for one in DOCUMENTS if documents.blocks(one, "python") and one != FORK_SAFETY]
README = ROOT / "README.md"


@pytest.mark.parametrize("document", WITH_PYTHON, ids=documents.name)
def test_python_in_a_document_runs(document: Path, redis_server: RedisServer, tmp_path: Path) -> None:
    documents.run(document, tmp_path, redis_server.url)


# What fork-safety.md tells to do at import and after the fork, on real servers

RUNS: dict[str, list[Any]] = {
    "stock.sell": ["apple"], "rates.fetch_rate": ["EUR"], "prices.set_price": ["apple", 99], "ledger.book": [99],
    "worker.count_tables": [], "watched.misprint": ["pear"], "audit.note": ["sold"],
}  # fmt: skip
TIMES = 10


class Peer(BaseHTTPRequestHandler):
    """Says a number, and keeps what it is sent: path, port of the connection, body."""

    protocol_version = "HTTP/1.1"
    sent: ClassVar[list[tuple[str, int, bytes]]] = []

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.sent.append((self.path, self.client_address[1], body))
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"1.17")

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def peer() -> Iterator[str]:
    """The address of an HTTP server."""
    Peer.sent.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Peer) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="peer")
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def django_site(folder: Path) -> None:
    """Write the settings that the example for Django names."""
    site = folder / "mysite"
    site.mkdir()
    (site / "__init__.py").touch()
    database = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE}}
    (site / "settings.py").write_text(f"SECRET_KEY = 'x'\nDATABASES = {database}\n", "utf-8")


def test_worked_examples_of_fork_safety_hold_in_two_children(
    daemon: MakeDaemon, redis: redispy.Redis, peer: str
) -> None:
    first, *others = modules = [job.partition(".")[0] for job in RUNS]
    servers = {"RATES_URL": f"http://{peer}/rates", "SENTRY_DSN": f"http://key@{peer}/1"}
    with postgres() as database:
        query("CREATE TABLE entries (cents INTEGER)", database)
        arguments = [word for module in others for word in ("-r", module)]
        tree = daemon(app=first, start=False, arguments=arguments, environment=servers | database, timeout=8)
        assert documents.write_modules(FORK_SAFETY, tree.directory) == modules
        assert len(documents.blocks(FORK_SAFETY, "python")) == len(modules), "all of them are run"
        django_site(tree.directory)
        tree.start().wait_ready(seconds=60)
        for job, args in RUNS.items():
            push_many(redis, job, [args] * TIMES)
        total = str(TIMES * len(RUNS)).encode()
        tree.wait_until(lambda: redis.get("stat:processed") == total, 60, "all have run")
        assert redis.get("stat:failed") == str(TIMES).encode(), "but for those that are to fail"
        assert "while it was imported" not in tree.log(), "nothing was left open"
        tree.stop(seconds=20)
        counts = [query(f"SELECT count(*) FROM {table}", database) for table in ("prices", "entries")]

    assert counts == [str(TIMES)] * 2
    ports = [port for path, port, _ in Peer.sent if path == "/rates/EUR"]
    assert len(set(ports)) < len(ports) == TIMES, "sessions were used again"
    errors = [body for path, _, body in Peer.sent if path.startswith("/api/1/") and b"no price for pear" in body]
    assert len(errors) == TIMES
    lines = (tree.directory / "audit.log").read_text("utf-8").splitlines()
    assert sorted(lines) == [*["sold"] * TIMES, "the app was loaded"]


# The README's first app, word for word


def commands(document: Path, holding: str) -> list[str]:
    """Return the commands of the console block that holds a text, without comments."""
    (block,) = [block for block in documents.blocks(document, "console") if holding in block.text]
    return [re.sub(r"\s+#.*", "", line[2:]) for line in block.text.splitlines() if line.startswith("$ ")]


class Terminal:
    """A shell in the reader's folder, after the virtual environment was entered."""

    def __init__(self, tree: Daemon, exports: list[str]) -> None:
        self._tree = tree
        self._exports = exports

    def words(self, command: str) -> list[str]:
        here = command.replace("/path/to/this/checkout", str(ROOT))
        path = f"PATH={Path(sys.executable).parent}:$PATH"
        return ["bash", "-c", "\n".join([path, *self._exports, here])]

    def run(self, command: str) -> str:
        """Run a command to its end; return what it printed."""
        done = subprocess.run(
            self.words(command), cwd=self._tree.directory, env=self._tree.environment(), capture_output=True,
            text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self._tree.describe()}"
        return done.stdout


def test_the_first_app_of_the_readme_runs_word_for_word(daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    venv, install, export, check, run = commands(README, "forkworker check")
    enqueue, fail, status, failed, retry, stop = commands(README, "jobs list")
    assert (venv.split()[:3], install.split()[:2]) == (["python3", "-m", "venv"], ["pip", "install"])
    tree = daemon(client=None, start=False)
    terminal = Terminal(tree, [export])
    documents.write_modules(README, tree.directory)
    (toml,) = documents.blocks(README, "toml")
    (tree.directory / "forkworker.toml").write_text(toml.text, "utf-8")

    assert "ok: loaded shop" in terminal.run(check)
    monkeypatch.setattr(tree, "command", lambda: terminal.words(f"exec {run}"))
    tree.start()
    tree.wait_until(lambda: tree.log_lines("is ready"), 30, "a child is ready")
    terminal.run(enqueue)
    tree.wait_until(lambda: tree.log_lines("shop.send_receipt queue=mail done"), 30, "the first job has run")
    jid = terminal.run(fail).strip()
    tree.wait_until(lambda: len(tree.log_lines(f"{jid} shop.send_receipt queue=mail will be retried")) == 1, 30)
    assert "mail, default" in terminal.run(status)
    assert jid in terminal.run(failed)
    terminal.run(retry)
    tree.wait_until(lambda: len(tree.log_lines(f"{jid} shop.send_receipt queue=mail will be retried")) == 2, 30)
    terminal.run(stop)
    assert tree.wait_exit(10) == 0
    tree.assert_gone()
    assert tree.log_lines("receipt for order 4711 in de")  # what is printed to a file waits for the end
