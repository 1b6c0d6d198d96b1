"""Imports the user's app: a module, ``module:attribute`` or a .py file.

Used in the forkserver (without preload in each child) and in ``forkworker check``.  Whatever the app does
wrong becomes an AppError that says what to do, with the traceback of the app's own code alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from traceback import TracebackException
from typing import TYPE_CHECKING

from forkworker.errors import ForkworkerError

if TYPE_CHECKING:
    from types import ModuleType

_NOT_THE_APPS = (
    __file__,
    importlib.__file__,
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
)


class AppError(ForkworkerError):
    """An app cannot be loaded; ``traceback`` is its own, or empty if none of its code has run."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


def prepare_path(directory: str) -> None:
    """Put the directory first on sys.path."""
    folder = os.path.abspath(directory)
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]


def load_app(spec: str, directory: str, source: str = "") -> None:
    """Import one app, as named by the user in this source; raises AppError."""
    said = f"{source}: app {spec!r}" if source else f"app {spec!r}"
    prepare_path(directory)
    try:
        if spec.endswith(".py"):
            _load_file(os.path.join(os.path.abspath(directory), spec))
        else:
            _load_module(spec)
    except _Unusable as error:
        raise AppError(f"{said} cannot be loaded: {error}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the app's code: anything can come out of it
        reason = _reason(error, spec, directory)
        raise AppError(f"{said} cannot be loaded: {reason}", _own_traceback(error)) from error


class _Unusable(Exception):
    """The app's name leads nowhere."""


def _load_module(spec: str) -> None:
    name, colon, attribute = spec.partition(":")
    if not all(part.isidentifier() for part in name.split(".")) or (colon and not attribute):
        hint = "; a file needs its ending .py" if "/" in spec else ""
        raise _Unusable(f"an app is named as package.module, module:attribute or file.py{hint}")
    module = importlib.import_module(name)
    if hasattr(module, "__path__") and getattr(module, "__file__", None) is None:
        raise _Unusable(f"{name!r} is a folder without __init__.py, which holds no code: name a module in it")
    target: object = module
    for part in attribute.split(".") if attribute else ():
        if not hasattr(target, part):
            raise _Unusable(f"module {name!r} has no {attribute!r}: check the name behind the colon")
        target = getattr(target, part)


def _load_file(path: str) -> None:
    """Import a file under its stem, so that its jobs are named as they are when another module imports it."""
    if not os.path.isfile(path):
        raise _Unusable(f"there is no file {path}: check the name, and the directory you start in")
    name = os.path.basename(path)[: -len(".py")]
    folder = os.path.dirname(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(1, folder)
    if not _is_loaded(name, path):
        _execute(name, path)


def _is_loaded(name: str, path: str) -> bool:
    """Tell whether the file has been imported; a file may not displace another module."""
    if name in sys.stdlib_module_names:
        raise _Unusable(f"its name hides Python's own module {name!r}: rename the file")
    if name not in sys.modules:
        return False
    where = getattr(sys.modules[name], "__file__", None) or "elsewhere"
    if not os.path.exists(where) or not os.path.samefile(where, path):
        raise _Unusable(f"a module {name!r} is already loaded from {where}: rename one, or name it as package.module")
    return True


def _execute(name: str, path: str) -> None:
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise _Unusable(f"{path} is not a Python file")
    module: ModuleType = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)  # as import does: half a module is none
        raise


def _reason(error: BaseException, spec: str, directory: str) -> str:
    """Say in one line what happened, and what to do."""
    match error:
        case SystemExit():
            code = f"sys.exit({error.code!r})"
            return f"it called {code} while it was imported: put that under if __name__ == '__main__'"
        case ModuleNotFoundError() if error.name and _is_or_holds(error.name, spec.partition(":")[0]):
            return f"there is no module {error.name!r}: check the name, and the directory you start in"
        case ModuleNotFoundError():
            return f"it imports the module {error.name!r}, which is not there: install it, or correct the import"
        case SyntaxError():
            place = f"{error.filename}, line {error.lineno}"
            return f"{type(error).__name__} in {place}: {error.msg}: correct that line"
    what = " ".join("".join(TracebackException.from_exception(error).format_exception_only()).split())
    return f"{what} ({_place(error, os.path.abspath(directory))}): correct the app, or what it needs at import"


def _is_or_holds(missing: str, name: str) -> bool:
    return name == missing or name.startswith(f"{missing}.")


def _place(error: BaseException, directory: str) -> str:
    """Name the last line of the user's own code; the very last is often one of the standard library."""
    stack = TracebackException.from_exception(error).stack
    here = [frame for frame in stack if frame.filename.startswith(directory + os.sep)]
    own = [frame for frame in here if "site-packages" not in frame.filename]
    frame = (own or stack)[-1]
    return f"{frame.filename}, line {frame.lineno}"


def _own_traceback(error: BaseException) -> str:
    """Return the traceback from the app's first line on."""
    report = TracebackException.from_exception(error)
    report.stack[:] = [frame for frame in report.stack if frame.filename not in _NOT_THE_APPS]
    none_has_run = not report.stack and not isinstance(error, SyntaxError)
    return "" if none_has_run else "".join(report.format())
