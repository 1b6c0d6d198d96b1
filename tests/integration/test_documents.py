"""The code in documents does what they say: blocks are run, shell lines are tried, worked examples have children."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import documents
from support.documents import DOCUMENTS, ROOT
from support.payloads import push

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis as redispy
    from support.daemon import Daemon
    from support.servers import RedisServer

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

WITH_PYTHON = [document for document in DOCUMENTS if documents.blocks(document, "python")]
FORK_SAFETY = ROOT / "docs/fork-safety.md"
README = ROOT / "README.md"


def django_site(folder: Path) -> None:
    """Write the settings that the example for Django names."""
    site = folder / "mysite"
    site.mkdir()
    (site / "__init__.py").touch()
    database = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db"}}
    (site / "settings.py").write_text(f"SECRET_KEY = 'x'\nDATABASES = {database}\n", "utf-8")


@pytest.mark.parametrize("document", WITH_PYTHON, ids=documents.name)
def test_python_in_a_document_runs(document: Path, redis_server: RedisServer, tmp_path: Path) -> None:
    django_site(tmp_path)
    documents.run(document, tmp_path, redis_server.url)


def test_worked_examples_of_fork_safety_hold_in_two_children(daemon: MakeDaemon, redis: redispy.Redis) -> None:
    tree = daemon(app="stock", start=False, arguments=["-r", "prices", "-r", "worker", "-r", "audit"])
    assert set(documents.write_modules(FORK_SAFETY, tree.directory)) == {"stock", "prices", "worker", "audit"}
    django_site(tree.directory)
    tree.start()
    tree.wait_ready(seconds=30)
    runs: dict[str, list[Any]] = {
        "stock.sell": ["apple"], "prices.set_price": ["apple", 99], "worker.count_tables": [], "audit.note": ["sold"],
    }  # fmt: skip
    for job, args in runs.items():
        for _ in range(10):
            push(redis, job, args)
    tree.wait_until(lambda: redis.get("stat:processed") == b"40", 30, "all have run")
    assert redis.get("stat:failed") is None
    assert "while it was imported" not in tree.log()
    tree.stop()

    lines = (tree.directory / "audit.log").read_text("utf-8").splitlines()
    assert sorted(lines) == [*["sold"] * 10, "the app was loaded"]


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
