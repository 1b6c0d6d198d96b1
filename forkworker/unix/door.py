"""The door: the address at which a tree tells of its health, a TCP port or a Unix socket.

The master opens it, so that what is wrong with it is said at the boot and it outlives a keeper; the keeper
serves it; the command line and others knock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

from forkworker import clock
from forkworker.errors import ConfigurationError
from forkworker.unix import control
from forkworker.values import split_place

if TYPE_CHECKING:
    from forkworker.values import Place

_BACKLOG = 64
#: the keeper of a master that was killed lets go of the address at once, but not before
_TRIES, _PAUSE_SECONDS = 40, 0.05


def listen(address: str) -> socket.socket:
    """Begin to listen, non-blocking; raises ConfigurationError with what to do about it."""
    place = split_place(address)
    for tries_left in reversed(range(_TRIES)):
        try:
            return _listen_unix(place.path) if place.path else _listen_tcp(place)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not tries_left:
                raise ConfigurationError([f"health address {address}: {_why(error)}"]) from error
        clock.sleep(_PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "something listens there already: stop it, or give another address with --health"
    return f"{error.strerror or error}: give another address with --health"


def _listen_tcp(place: Place) -> socket.socket:
    """Listen at a host's address, or at all of this machine's: those of both families, if it has both."""
    if not place.host and socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # IPv6 may be there and turned off
            return _bind(socket.AF_INET6, ("::", place.port), only_v6=False)
    found = socket.getaddrinfo(place.host or "0.0.0.0", place.port, type=socket.SOCK_STREAM)  # noqa: S104 - as asked
    family, _, _, _, where = found[0]
    return _bind(family, where)


def _bind(family: int, where: tuple[object, ...] | str, *, only_v6: bool = True) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_v6))
        listener.bind(where)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _listen_unix(path: str) -> socket.socket:
    if len(os.fsencode(path)) > control.LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, f"a socket's path may have {control.LONGEST_PATH} bytes")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "it is there and is not a socket")
        if control.is_listened_to(path):
            raise OSError(errno.EADDRINUSE, "in use")
        os.unlink(path)
    before = os.umask(0o117)  # for owner and group: a chmod afterwards would leave a moment for others
    try:
        return _bind(socket.AF_UNIX, path)
    finally:
        os.umask(before)


def remove(address: str) -> None:
    """Take a Unix socket's file away; a port needs nothing."""
    path = split_place(address).path
    if path:
        with contextlib.suppress(OSError):
            os.unlink(path)


def knock(address: str, seconds: float) -> socket.socket:
    """Connect to who listens there; raises OSError."""
    place = split_place(address)
    if not place.path:
        return socket.create_connection((place.host or "localhost", place.port), seconds)
    knocker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    knocker.settimeout(seconds)
    try:
        knocker.connect(place.path)
    except OSError:
        knocker.close()
        raise
    return knocker
