"""What the documents say is true, where a machine can tell."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest
from support.documents import DOCUMENTS, ROOT, blocks, name

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


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


def test_every_decision_is_in_the_list() -> None:
    listed = LINK.findall((ROOT / "docs/adr/README.md").read_text("utf-8"))
    assert listed == sorted(path.name for path in ROOT.glob("docs/adr/0*.md"))


def test_glossary_is_sorted_and_says_each_word_once() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE)
    assert words == sorted(set(words))


def test_readme_example_uses_names_that_are_there() -> None:
    import forkworker

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
