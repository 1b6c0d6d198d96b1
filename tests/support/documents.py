"""The code in documents: which blocks there are, and running them as a reader would.  Runs in the test process.

A Python block whose first line is ``# NAME.py`` is that file, and is imported; one that defines tests is given to
pytest.  The others are run in order, as one program for each document.  ``<!-- not run: why -->`` before a block
makes it a fragment, which must be Python and no more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")], key=str)
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
FILE = re.compile(r"# (\w+)\.py\n")


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    text: str
    #: of its first line in the document
    line: int
    #: why it is not run; '' if it is
    why_not: str

    @property
    def module(self) -> str:
        """The module that this block is the file of; '' if it is none."""
        match = FILE.match(self.text)
        return match[1] if match else ""

    @property
    def holds_tests(self) -> bool:
        """Whether it is for pytest."""
        return "\ndef test_" in self.text


def blocks(document: Path, language: str) -> list[Block]:
    """Return the blocks of one language, in order."""
    text = document.read_text("utf-8")
    return [
        Block(match["language"], match["text"], text.count("\n", 0, match.start("text")) + 1, match["why"] or "")
        for match in BLOCK.finditer(text)
        if match["language"] == language
    ]


def name(document: object) -> str:
    """Name a document in a test's title."""
    return document.relative_to(ROOT).as_posix() if isinstance(document, Path) else str(document)


def write_modules(document: Path, folder: Path) -> list[str]:
    """Write those blocks that are files; return the names of the modules."""
    files = [block for block in blocks(document, "python") if block.module and not block.why_not]
    for block in files:
        (folder / f"{block.module}.py").write_text(block.text, "utf-8")
    return [block.module for block in files]


def run(document: Path, folder: Path, redis_url: str) -> None:
    """Run a document's Python in a folder; fails with what it printed."""
    write_modules(document, folder)
    wanted = [block for block in blocks(document, "python") if not block.why_not]
    program = [block for block in wanted if not block.holds_tests]
    for number, block in enumerate(program):
        (folder / f"part{number}.txt").write_text(f"import {block.module}" if block.module else _padded(block), "utf-8")
    _python(folder, redis_url, "-c", _RUNNER, name(document), str(len(program)))
    for block in wanted:
        if block.holds_tests:
            (folder / "test_block.py").write_text(_padded(block), "utf-8")
            _python(folder, redis_url, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_block.py")


def _python(folder: Path, redis_url: str, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env={**os.environ, "FORKWORKER_REDIS_URL": redis_url},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def _padded(block: Block) -> str:
    """Return the text at its own line, so that a traceback names the document's."""
    return "\n" * (block.line - 1) + block.text


# One namespace for all parts; not __main__, where jobs need names of their own.
_RUNNER = """
import sys
from pathlib import Path
document, parts = sys.argv[1], int(sys.argv[2])
namespace = {"__name__": "document"}
for number in range(parts):
    exec(compile(Path(f"part{number}.txt").read_text("utf-8"), document, "exec"), namespace)
"""
