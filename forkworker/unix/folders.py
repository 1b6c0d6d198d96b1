"""Whether a folder is safe to have a socket or data in: in a shared place, such as /tmp, anybody may have made it."""

from __future__ import annotations

import os
import stat

#: what to do about one
REMEDY = "use one that is yours alone (chmod 700)"


def why_not_private(folder: str, *, may_be_link: bool = False) -> str:
    """Say why a folder is not ours alone to write to, '' if it is; raises OSError if it cannot be looked at.

    A link counts if it is ours, or root's: others could let it lead elsewhere later.
    """
    found = os.lstat(folder)
    us = (0, os.geteuid())
    if may_be_link and stat.S_ISLNK(found.st_mode) and found.st_uid in us:
        found = os.stat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return "is not a directory"
    if found.st_uid != os.geteuid():
        return f"belongs to user {found.st_uid}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written to by others"
    return ""
