"""The examples, run as their README says, each in a copy of its folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError

import pytest
from support.servers import connect, free_port
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.daemon import Daemon

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parents[2] / "examples"
READY_SECONDS = 30
#: the address in each example's forkworker.toml
URL = "embedded://./redis-data"


@pytest.fixture
def running(daemon: MakeDaemon) -> Iterator[Callable[..., Daemon]]:
    """Run a copy of an example's folder; it ends in order."""
    trees: list[Daemon] = []

    def run(example: str, app: str, children: int) -> Daemon:
        tree = daemon(app=app, children=children, url=URL, client=None, start=False)
        shutil.copytree(EXAMPLES / example, tree.directory, dirs_exist_ok=True)
        tree.start()
        trees.append(tree)
        tree.wait_until(lambda: len(tree.log_lines("is ready")) == children, READY_SECONDS, "all children are ready")
        return tree

    yield run
    for tree in trees:
        tree.signal(SIGTERM)
        tree.assert_clean_exit(0)


def python(tree: Daemon, *words: str) -> str:
    """Run Python in the example's folder, as a second terminal would; return what it printed."""
    done = subprocess.run(
        [sys.executable, *words], cwd=tree.directory, env=tree.environment(), capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{tree.describe()}"
    return done.stdout


@pytest.mark.parametrize("example", ["shop", "flask"])
def test_check_finds_nothing_wrong_with_an_example(example: str, tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLES / example, tmp_path / example)
    done = subprocess.run(
        [sys.executable, "-m", "forkworker", "check"], cwd=folder, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert URL in done.stdout


def test_the_shop_charges_retries_buries_and_counts(running: Callable[..., Daemon]) -> None:
    tree = running("shop", app="shop", children=2)
    outbox = tree.directory / "outbox"
    assert python(tree, "orders.py").count("job ") == 7

    def written() -> set[str]:
        return {path.name for path in outbox.glob("*.txt") if path.stat().st_size}

    wanted = {f"{number}.txt" for number in range(4711, 4716)} | {"stock.txt"}
    tree.wait_until(lambda: written() == wanted, 30, "every receipt is written, each at the second try")
    assert (outbox / "4711.txt").read_text("utf-8") == "receipt for order 4711 (de)\n"
    with connect(unix_socket_path=str(tree.directory / "redis-data/redis.sock")) as redis:
        tree.wait_until(lambda: redis.zcard("dead") == 1, 15, "the order that cannot be paid is in the dead set")
        (buried,) = redis.zrange("dead", 0, -1)
        assert json.loads(buried)["error_message"] == "order 4716 is about 0 cents"
        assert redis.zcard("retry") == 0


def test_a_flask_application_enqueues_and_its_jobs_have_its_context(running: Callable[..., Daemon]) -> None:
    tree = running("flask", app="worker", children=1)
    port = free_port()
    web = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "web", "run", "--port", str(port)],
        cwd=tree.directory, env=tree.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        greetings = f"http://127.0.0.1:{port}/greetings"
        wait_until(lambda: get(f"{greetings}/nobody") == "404", READY_SECONDS, "Flask answers", poll=0.1)
        order = urllib.request.Request(
            greetings, data=b'{"name": "Ada"}', headers={"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(order, timeout=10) as answer:
            assert answer.status == 202
            assert len(json.load(answer)["job"]) == 24
        tree.wait_until(lambda: get(f"{greetings}/Ada") == "Good day, Ada!\n", 30, "the greeting is there")
    finally:
        web.terminate()
        web.wait(10)


def get(url: str) -> str:
    """Return the text of a page, or the code of a refusal; '' as long as nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except HTTPError as refused:
        refused.close()
        return str(refused.code)
    except URLError:
        return ""
