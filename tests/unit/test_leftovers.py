"""Who is named for what an import has left behind."""

from __future__ import annotations

import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from forkworker.apploader import load_app
from forkworker.leftovers import Leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit

LIBRARY = """
import socket, threading

class Odd(socket.socket):
    __hash__ = None

def start(wait):
    thread = threading.Thread(target=wait, name="poller", daemon=True)
    thread.start()
    return thread, (Odd(), Odd())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An app's folder, with a library installed below it."""
    installed = tmp_path / "lib/site-packages"
    installed.mkdir(parents=True)
    (installed / "fw_library.py").write_text(LIBRARY, "utf-8")
    path, modules = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(installed))
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_library_and_the_line_that_led_to_it_are_named(folder: Path) -> None:
    (folder / "fw_app.py").write_text(
        "import threading\nimport fw_library\nover = threading.Event()\nkept, (a, b) = fw_library.start(over.wait)\n"
    )
    before = (threading.Thread.start, socket.socket.__init__)
    leftovers = Leftovers(str(folder))
    with leftovers.watch():
        load_app("fw_app", str(folder))
    app: Any = sys.modules["fw_app"]
    threads, sockets = leftovers.lines()
    app.over.set()
    app.kept.join()
    app.a.close()
    app.b.close()

    assert "poller (by fw_library, for fw_app, line 4)" in threads
    assert sockets.count("(by fw_library, for fw_app, line 4)") == 2
    assert (threading.Thread.start, socket.socket.__init__) == before
    assert list(leftovers.lines()) == [], "what is over is not left"


def test_failing_import_leaves_nothing_of_ours(folder: Path) -> None:
    (folder / "fw_broken.py").write_text("raise KeyError('x')\n")
    before = (threading.Thread.start, socket.socket.__init__)

    with pytest.raises(Exception, match="KeyError"), Leftovers(str(folder)).watch():
        load_app("fw_broken", str(folder))

    assert (threading.Thread.start, socket.socket.__init__) == before
