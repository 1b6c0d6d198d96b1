"""The rules of the house that no linter knows: duties, sizes, contracts of scripts, lean imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import forkworker

pytestmark = pytest.mark.unit

PACKAGE = Path(forkworker.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((PACKAGE / "store" / "lua").glob("*.lua"))

#: a module beyond this has two nouns
MOST_LINES = 360
MOST_SCRIPT_LINES = 55


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def text(path: Path) -> str:
    return path.read_text("utf-8")


# Modules


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_its_duty_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(text(path)))

    assert docstring
    first = docstring.splitlines()[0]
    assert first[0].isupper() or first.startswith(("``", "forkworker"))
    assert "." in docstring


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_not_too_long(path: Path) -> None:
    assert len(text(path).splitlines()) <= MOST_LINES


def test_time_and_redis_each_have_one_door() -> None:
    """As the style card says; what is imported for the type checker only does not count."""
    doors = {
        re.compile(r"\btime\.(time|monotonic|sleep|clock_gettime)\("): ("clock.py",),
        re.compile(r"^\s*(import redis|from redis)\b", re.MULTILINE): ("store/",),
    }
    wrong = [
        f"{name(path)}: {match[0].strip()}"
        for path in MODULES
        for pattern, allowed in doors.items()
        for match in pattern.finditer(re.sub(r"if TYPE_CHECKING:\n(?:    .*\n|\n)+", "", text(path)))
        if not name(path).startswith(allowed)
    ]

    assert wrong == []


# Scripts


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_begins_with_its_contract(path: Path) -> None:
    header = re.match(r"(?:--.*\n)+", text(path))

    assert header, "a script begins with comments"
    contract = header[0]
    assert re.match(r"-- [A-Z].*\n", contract), "the first line says what it does"
    for word in ("KEYS", "ARGV", "Returns"):
        assert re.search(rf"^-- {word}\b", contract, re.MULTILINE), f"no line on {word}"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_every_key_that_a_script_names_is_in_its_contract(path: Path) -> None:
    header = re.split(r"\n(?!--)", text(path), maxsplit=1)[0]
    numbers = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", text(path))}

    told = {int(number) for number in re.findall(r"\b(\d+)(?:\.\.\d+)?: ", header)}
    told |= {n for low, high in re.findall(r"\b(\d+)\.\.(\d+): ", header) for n in range(int(low), int(high) + 1)}
    assert numbers <= told


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_is_short(path: Path) -> None:
    assert len(text(path).splitlines()) <= MOST_SCRIPT_LINES


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_has_its_method_in_the_store(path: Path) -> None:
    calls = re.compile(rf'scripts\.call\(\s*"{path.stem}"')

    assert [name(module) for module in MODULES if calls.search(text(module))], f"nobody calls {path.stem}"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_names_no_key_by_itself(path: Path) -> None:
    """Every key comes from wire/keys.py, by KEYS."""
    literal = re.compile(r"redis\.call\('[A-Z]+', *'")

    assert not literal.search(text(path))


def test_every_script_that_is_called_is_there() -> None:
    called = {found for path in MODULES for found in re.findall(r'scripts\.call\(\s*"([^"]+)"', text(path))}

    assert called == {path.stem for path in SCRIPTS}


# What a process loads


def loaded_by(statements: str) -> set[str]:
    """Return the modules that a fresh interpreter has after some statements."""
    program = f"{statements}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return set(done.stdout.split())


def within(modules: set[str], *packages: str) -> list[str]:
    return sorted(
        module for module in modules if module.startswith(tuple(f"{p}." for p in packages)) or module in packages
    )


def test_the_master_loads_no_redis_no_user_code_and_no_threads_to_start() -> None:
    modules = loaded_by("import forkworker.supervisor.master")

    forbidden = (
        "forkworker.client",
        "forkworker.jobs",
        "forkworker.store",
        "forkworker.runtime",
        "forkworker.keeper",
    )
    assert within(modules, "redis", "hiredis", "psutil", "subprocess", "concurrent", "asyncio", *forbidden) == []
    assert within(modules, "forkworker.supervisor.master")


def test_a_program_that_enqueues_loads_nothing_of_the_daemon() -> None:
    modules = loaded_by("import forkworker; forkworker.Client; forkworker.job")

    daemon = [
        f"forkworker.{part}" for part in ("runtime", "supervisor", "keeper", "unix", "cli", "child", "forkserver")
    ]
    assert within(modules, *daemon, "forkworker.apploader", "psutil", "setproctitle") == []
    assert within(modules, "forkworker.client")


def test_the_package_alone_loads_next_to_nothing() -> None:
    modules = loaded_by("import forkworker")

    assert within(modules, "forkworker") == ["forkworker", "forkworker.version"]


def test_the_keeper_loads_no_user_code() -> None:
    modules = loaded_by("import forkworker.keeper.keeper")

    assert within(modules, "forkworker.jobs", "forkworker.client", "forkworker.runtime", "forkworker.apploader") == []


STARTED = """
import os, threading
before = set(os.listdir('/proc/self/fd'))
import forkworker
forkworker.job, forkworker.Client('redis://localhost:1')
print(threading.active_count(), len(set(os.listdir('/proc/self/fd')) - before))
"""


def test_importing_starts_no_thread_and_opens_no_file() -> None:
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True, timeout=30)

    assert done.stdout.split() == ["1", "0"]


def test_every_public_name_is_there() -> None:
    assert [public for public in forkworker.__all__ if not hasattr(forkworker, public)] == []
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        forkworker.Nothing  # noqa: B018 - the case
