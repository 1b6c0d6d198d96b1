"""Apps are imported as named, and what goes wrong in them is said in one line, with their own traceback."""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING

import pytest

from forkworker import apploader
from forkworker.apploader import AppError, load_app, prepare_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit

numbers = itertools.count()


@pytest.fixture(autouse=True)
def own_interpreter() -> Iterator[None]:
    """Leave sys.path and sys.modules as they were."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def name() -> str:
    """A module name that no other test has."""
    return f"app_of_a_test_{next(numbers)}"


def failure(spec: str, directory: Path) -> AppError:
    with pytest.raises(AppError) as caught:
        load_app(spec, str(directory))
    return caught.value


def test_the_directory_comes_first_and_once_on_the_path(tmp_path: Path) -> None:
    sys.path.append(str(tmp_path))

    prepare_path(str(tmp_path))
    prepare_path(str(tmp_path))

    assert sys.path[0] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_relative_directory_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    prepare_path(".")

    assert sys.path[0] == str(tmp_path)


def test_a_module_of_the_directory_is_imported(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "jobs.py").write_text("loaded = True")

    load_app(f"{name}.jobs", str(tmp_path))

    assert sys.modules[f"{name}.jobs"].loaded


@pytest.mark.parametrize("attribute", ["app", "app.real"])
def test_a_module_with_an_attribute_is_imported(tmp_path: Path, name: str, attribute: str) -> None:
    (tmp_path / f"{name}.py").write_text("app = complex(1, 2)")

    load_app(f"{name}:{attribute}", str(tmp_path))

    assert name in sys.modules


@pytest.mark.parametrize("attribute", ["nope", "app.nope"])
def test_a_missing_attribute_is_named(tmp_path: Path, name: str, attribute: str) -> None:
    (tmp_path / f"{name}.py").write_text("app = 1")

    error = failure(f"{name}:{attribute}", tmp_path)

    assert str(error) == (
        f"app '{name}:{attribute}' cannot be loaded: module '{name}' has no '{attribute}': "
        "check the name behind the colon"
    )
    assert error.traceback == ""


def test_a_folder_that_is_no_package_holds_no_jobs(tmp_path: Path, name: str) -> None:
    """Python imports it without a word, as a namespace."""
    (tmp_path / name).mkdir()

    assert str(failure(name, tmp_path)) == (
        f"app '{name}' cannot be loaded: '{name}' is a folder without __init__.py, which holds no code: "
        "name a module in it"
    )


def test_whatever_an_import_raises_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("class Odd(BaseException): pass\nraise Odd('not an Exception')")

    error = failure(name, tmp_path)

    assert "Odd: not an Exception" in str(error)
    assert error.traceback.startswith("Traceback")


def test_ctrl_c_while_an_app_is_imported_is_the_users(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        load_app(name, str(tmp_path))


def test_the_source_that_names_an_app_is_told(tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"^variable FORKWORKER_APP: app 'no_such' cannot be loaded: there is no"):
        load_app("no_such", str(tmp_path), "variable FORKWORKER_APP")


def test_a_file_is_imported_under_its_stem_with_its_folder_on_the_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / f"{name}.py").write_text(f"import {name}_helper as helper")
    (tmp_path / "sub" / f"{name}_helper.py").write_text(f"import {name}")

    load_app(f"sub/{name}.py", str(tmp_path))

    assert sys.modules[name].helper is sys.modules[f"{name}_helper"]
    assert sys.path[:2] == [str(tmp_path), str(tmp_path / "sub")]


def test_a_file_may_be_named_by_its_full_path_and_with_a_dash(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}-jobs.py"
    path.write_text("loaded = __name__")

    load_app(str(path), "/")

    assert sys.modules[f"{name}-jobs"].loaded == f"{name}-jobs"


def test_a_file_is_imported_once(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("runs = []")

    load_app(f"{name}.py", str(tmp_path))
    sys.modules[name].runs.append(1)
    load_app(f"{name}.py", str(tmp_path))
    load_app(name, str(tmp_path))

    assert sys.modules[name].runs == [1]


def test_two_files_of_one_name_are_not_mixed_up(tmp_path: Path, name: str) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text("")

    load_app(f"a/{name}.py", str(tmp_path))

    assert f"a module '{name}' is already loaded from {tmp_path}/a/{name}.py" in str(failure(f"b/{name}.py", tmp_path))


def test_a_file_may_not_hide_a_module_of_python(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("")

    assert "its name hides Python's own module 'queue': rename the file" in str(failure("queue.py", tmp_path))


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("missing.py", "there is no file {tmp}/missing.py: check the name, and the directory you start in"),
        ("no_such_module", "there is no module 'no_such_module': check the name, and the directory"),
        ("no_such_package.jobs", "there is no module 'no_such_package': check the name"),
        ("no_such_module:app", "there is no module 'no_such_module': check the name"),
        ("json.nothing", "there is no module 'json.nothing': check the name"),
        ("", "an app is named as package.module, module:attribute or file.py"),
        (".jobs", "an app is named as"),
        ("a..b", "an app is named as"),
        ("json:", "an app is named as"),
        ("app/jobs", "file.py; a file needs its ending .py"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_with_a_hint(tmp_path: Path, spec: str, hint: str) -> None:
    error = failure(spec, tmp_path)

    assert str(error).startswith(f"app {spec!r} cannot be loaded: ")
    assert hint.format(tmp=tmp_path) in str(error)
    assert error.traceback == ""


BROKEN = {
    "raise KeyError('DATABASE_URL')": "KeyError: 'DATABASE_URL' ({file}, line 1): correct the app",
    "import no_such_dependency": "it imports the module 'no_such_dependency', which is not there: install it",
    "from json import nope": "ImportError: cannot import name 'nope' from 'json'",
    "def f(:": "SyntaxError in {file}, line 1: ",
    "import sys; sys.exit(3)": "it called sys.exit(3) while it was imported: put that under if __name__",
    "exit()": "it called sys.exit(None) while it was imported",
    "raise ValueError('two\\nlines')": "ValueError: two lines ({file}, line 1)",
    "import os\nos.environ['NO_SUCH_VARIABLE']": "KeyError: 'NO_SUCH_VARIABLE' ({file}, line 2)",
    "class E(Exception):\n  def __str__(self): raise E\nraise E": "E: <exception str() failed> ({file}",
}


@pytest.mark.parametrize("code", BROKEN)
@pytest.mark.parametrize("form", ["{}", "{}.py"])
def test_an_app_that_fails_is_told_in_one_line(tmp_path: Path, name: str, code: str, form: str) -> None:
    file = tmp_path / f"{name}.py"
    file.write_text(code)

    error = failure(form.format(name), tmp_path)

    assert str(error).startswith(f"app {form.format(name)!r} cannot be loaded: ")
    assert BROKEN[code].format(file=file) in str(error)
    assert "\n" not in str(error)
    assert name not in sys.modules


@pytest.mark.parametrize("form", ["{}", "{}.py"])
def test_the_traceback_begins_with_the_apps_own_line(tmp_path: Path, name: str, form: str) -> None:
    (tmp_path / f"{name}.py").write_text("import importlib\n\nimportlib.import_module('" + name + "_inner')\n")
    (tmp_path / f"{name}_inner.py").write_text("1 / 0\n")

    lines = failure(form.format(name), tmp_path).traceback.splitlines()

    assert lines[0] == "Traceback (most recent call last):"
    assert [os.path.basename(line.split('"')[1]) for line in lines if '"' in line] == [
        f"{name}.py",
        f"{name}_inner.py",
    ]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert apploader.__file__ not in "\n".join(lines)


def test_a_syntax_error_keeps_its_line_in_the_traceback(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("def f(:\n")

    assert "def f(:" in failure(name, tmp_path).traceback


def test_ctrl_c_during_the_import_is_not_the_apps_fault(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        load_app(f"{name}.py", str(tmp_path))
