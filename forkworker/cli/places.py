"""Looks at the files and folders that settings name, before a master is started in vain.

Runs in what becomes the master process, and in ``forkworker check``.  A pidfile or socket that a running master
holds is no trouble here: to check beside it is what ``check`` is for.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from forkworker import address
from forkworker.settings import EMBEDDED_SOCKET
from forkworker.unix import control, folders
from forkworker.values import split_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forkworker.settings import Settings

_LARGEST_PID = 4_194_304
_TOO_LONG = f"the socket's path has more than {control.LONGEST_PATH} bytes, which Unix does not allow"


def problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """Say what cannot be used, as pairs of a field and a line."""
    if settings.pidfile:
        yield from (("pidfile", line) for line in _wrong_pidfile(settings.pidfile))
        if settings.control and os.path.abspath(settings.control) == os.path.abspath(settings.pidfile):
            yield "control", f"{settings.control} is to be the pidfile: name another"
    yield from (("control", line) for line in _wrong_control(settings))
    if settings.health and (path := split_place(settings.health).path):
        yield from (("health", line) for line in _wrong_socket(path))
    if settings.embedded_directory:
        yield from (("redis_url", line) for line in _wrong_store(settings.embedded_directory))
    elif settings.redis_url.startswith("rediss"):
        yield from (("redis_url", line) for line in _wrong_certificates(settings.redis_url))


def _wrong_pidfile(path: str) -> Iterator[str]:
    if os.path.isdir(path):
        yield f"{path} is a folder: name a file"
    else:
        yield from _wrong_folder(path)


def _wrong_control(settings: Settings) -> Iterator[str]:
    if settings.control:
        yield from _wrong_socket(settings.control)
    elif _is_too_long(path := control.path_for(_LARGEST_PID, settings.control_folder)):
        yield f"{_TOO_LONG}: give a shorter one with --control ({path})"


def _wrong_socket(path: str) -> Iterator[str]:
    if _is_too_long(path):
        yield f"{_TOO_LONG}: name a shorter one ({path})"
    elif _is_other(path):
        yield f"{path} is there and is not a socket: name another"
    else:
        yield from _wrong_folder(path)


def _wrong_folder(path: str) -> Iterator[str]:
    """Say why no file can be made at this path."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.exists(folder):
        yield f"there is no folder {folder}: make it, or name another"
    elif not os.path.isdir(folder):
        yield f"{folder} is not a folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield f"the folder {folder} cannot be written to by this user"


def _is_other(path: str) -> bool:
    try:
        return not stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_too_long(path: str) -> bool:
    return len(os.fsencode(path)) > control.LONGEST_PATH


def _wrong_store(folder: str) -> Iterator[str]:
    """An embedded server makes its folder, and those above it."""
    if _is_too_long(os.path.join(folder, EMBEDDED_SOCKET)):
        yield f"the path of {folder} is too long for a Unix socket: use a shorter one"
        return
    if os.path.isdir(folder) and (trouble := folders.why_not_private(folder, may_be_link=True)):
        yield f"the folder {folder} {trouble}: {folders.REMEDY}"
        return
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        yield f"{folder} is not a folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield f"the folder {folder} cannot be written to by this user"


def _wrong_certificates(url: str) -> Iterator[str]:
    for name, value in address.options(url).items():
        if name in address.TLS_FILES and not (os.path.isfile(value) and os.access(value, os.R_OK)):
            yield f"{name} of the Redis address: the file {value} cannot be read"
