"""What the documents say is true, where a machine can tell."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, get_args

import pytest
from support.documents import DOCUMENTS, ROOT, blocks, name

import forkworker
from forkworker import config, hooks
from forkworker.errors import ExitCode
from forkworker.store import processes
from forkworker.wire import keys

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#]+)[^)]*\)")
PATH_IN_CODE = re.compile(r"`((?:forkworker|tests|docs|contrib|examples)/[\w./@-]+\.(?:py|lua|md|toml|service|conf))`")

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text("utf-8")
    linked = [document.parent / target for target in LINK.findall(text)]
    named = [ROOT / target for target in PATH_IN_CODE.findall(text) if "NAME" not in target]
    assert [name(path) for path in (*linked, *named) if not path.exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_python_in_documents_compiles(document: Path) -> None:
    """Also what is not run; tests/integration/test_documents.py runs the rest."""
    for block in blocks(document, "python"):
        ast.parse(block.text)


def rows(document: str, first: str) -> list[list[str]]:
    """Return the cells of the table whose heading begins with a word."""
    text = (ROOT / document).read_text("utf-8")
    found = re.search(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, f"no table {first}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found[1].splitlines()]


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if blocks(path, "toml")], ids=name)
def test_a_configuration_file_in_a_document_is_right(document: Path, tmp_path: Path) -> None:
    for block in blocks(document, "toml"):
        (tmp_path / "forkworker.toml").write_text(block.text, "utf-8")
        for environment in (None, *re.findall(r"^\[environment\.(\w+)\]", block.text, re.MULTILINE)):
            assert config.load({"environment": environment}, {}, tmp_path).apps


def test_every_setting_stands_in_the_table() -> None:
    table = rows("docs/operations.md", "flag")
    for option in (config.CONFIG, *config.OPTIONS):
        (row,) = [row for row in table if f"`{option.variable}`" in row[1]]
        assert row[0].startswith(f"`{option.flag}") if option.flag else not row[0]
        assert row[2] == (f"`{option.key}`" if option.key else "")
    assert len(table) == len(config.OPTIONS) + 1


def test_every_exit_code_of_run_stands_in_the_table() -> None:
    codes = {int(row[0]) for row in rows("docs/operations.md", "code")}
    assert codes == set(ExitCode) - {ExitCode.USAGE, ExitCode.INTERRUPTED}


def test_every_event_stands_in_the_table() -> None:
    told = {event for row in rows("docs/jobs.md", "event") for event in re.findall(r"`(\w+)`", row[0])}
    assert told == {*get_args(hooks.Event), *get_args(hooks.JobEvent)}


def test_every_signal_that_the_master_obeys_stands_in_the_table() -> None:
    from forkworker.supervisor import master

    told = {f"SIG{signal}" for row in rows("docs/signals.md", "signal") for signal in row[0].split(", ")}
    assert told == {number.name for number in master._SIGNALS} - {"SIGCHLD"}


def test_every_key_stands_in_a_document() -> None:
    text = (ROOT / "docs/wire-format.md").read_text("utf-8")
    plain = [value for key, value in vars(keys).items() if key.isupper() and isinstance(value, str)]
    made = [keys.work("IDENTITY"), keys.workers("IDENTITY"), keys.signals("IDENTITY"), keys.queue("NAME")]
    made += [
        keys.settled("IDENTITY"),
        keys.taken("IDENTITY"),
        keys.working("IDENTITY", "QUEUE"),
        keys.recovered("SHA1"),
    ]
    assert [key for key in [*plain, *made] if f"`{key}`" not in text] == []


#: who talks to a Redis of somebody's
PARTS = ("store", "keeper", "runtime", "inspect", "doctor", "cli")


def commands() -> set[str]:
    """Return the commands of Redis that forkworker sends, and those of its scripts, as an ACL has them."""
    found = set()
    for path in (file for part in PARTS for file in (ROOT / "forkworker" / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            sends = isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("execute", "ask", "send_command")
            parts = node.args if sends else node.elts if isinstance(node, ast.Tuple) else []
            words = [part.value for part in parts[:2] if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            if words and re.fullmatch(r"[A-Z]{3,}", words[0]) and words[0] not in processes.SIGNALS:
                found.add("|".join(words[: 1 + (words[0] in ("CLIENT", "SCRIPT", "CONFIG"))]).lower())
    for path in (ROOT / "forkworker").rglob("*.lua"):
        found |= {name.lower() for name in re.findall(r"(?:pcall|call|try)\('([A-Z]+)'", path.read_text("utf-8"))}
    return found


def test_every_command_stands_in_the_rights_and_no_other() -> None:
    """For those whose names are put together, or chosen, the source must at least have the word."""
    (block,) = blocks(ROOT / "docs/access.md", "acl")
    told = {word[1:] for word in block.text.split() if word[0] == "+"}
    assert commands() - told == set()
    files = [path for kind in ("*.py", "*.lua") for path in (ROOT / "forkworker").rglob(kind)]
    source = "".join(path.read_text("utf-8") for path in files)
    assert [name for name in told if not re.search(rf"\b{name.split('|')[-1].upper()}\b", source)] == []


def test_every_public_name_is_told_of() -> None:
    text = "".join(path.read_text("utf-8") for path in DOCUMENTS)
    unknown = [public for public in forkworker.__all__ if not re.search(rf"\b{public}\b", text) and public[0] != "_"]
    assert unknown == []


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 140


def test_every_decision_is_in_the_list() -> None:
    listed = LINK.findall((ROOT / "docs/adr/README.md").read_text("utf-8"))
    assert listed == sorted(path.name for path in ROOT.glob("docs/adr/0*.md"))


def test_glossary_is_sorted_and_says_each_word_once() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE)
    assert words == sorted(set(words))


def test_readme_example_uses_names_that_are_there() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    used = set(re.findall(r"\bforkworker\.([a-z]\w*)\(", text))
    assert used
    assert [each for each in used if not hasattr(forkworker, each)] == []


def test_targets_named_in_documents_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {
        target
        for path in DOCUMENTS
        for target in re.findall(r"(?:^\$ |`)make ([a-z-]+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert named - targets == set()
