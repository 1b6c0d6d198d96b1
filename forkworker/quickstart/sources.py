"""The quickstart's input: the source files of the standard library that this interpreter came with."""

from __future__ import annotations

import os
import sysconfig

#: packages installed beside the standard library are not part of it
LEFT_OUT = {"site-packages", "dist-packages", "__pycache__"}


def standard_library() -> list[str]:
    """Return the path of each ``.py`` file of the standard library, sorted."""
    return python_files(sysconfig.get_path("stdlib"))


def python_files(root: str) -> list[str]:
    """Return the path of each ``.py`` file below ``root``, sorted."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        paths = (os.path.join(folder, name) for name in names if name.endswith(".py"))
        found += [path for path in paths if os.path.isfile(path)]
    return sorted(found)
