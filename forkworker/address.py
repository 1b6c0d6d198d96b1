"""The address of Redis: which are accepted, and what is wrong with the others.

Used by config, in the master and in client programs.  The words of an error never repeat what may be a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

#: of addresses that name sentinels, which know where the master is
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
SCHEMES = ("redis", "rediss", *SENTINEL_SCHEMES, "unix", "embedded")
SENTINEL_PORT = 26379
#: how a certificate may be asked for
CERT_REQS = ("none", "optional", "required")
SWITCH = ("true", "false", "yes", "no", "1", "0")
#: of rediss://: files that must be there
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_COMMON = ("db", "username", "password", "client_name", "wait_replicas")
#: for the sentinels themselves; the user and password of the URL are for Redis
SENTINEL_LOGIN = ("sentinel_username", "sentinel_password")
_TLS = (*TLS_FILES, "ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_path", "ssl_password", "ssl_ciphers")
#: Others, such as time limits and retries, would break the promises: a command that is sent twice takes two jobs.
OPTIONS: dict[str, tuple[str, ...]] = {
    "redis": _COMMON,
    "rediss": (*_COMMON, *_TLS),
    "redis+sentinel": (*_COMMON, *SENTINEL_LOGIN),
    "rediss+sentinel": (*_COMMON, *SENTINEL_LOGIN, *_TLS),
    "unix": _COMMON,
    "embedded": (),
}

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_DATABASE = re.compile(r"/?|/[0-9]{1,9}/?")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SENTINEL = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:\s]+))(?::([0-9]{1,5}))?")
#: the letters that a sentinel takes; a number alone is that of a database, and the service was forgotten
_SERVICE = re.compile(r"/(?![0-9]+/?$)([A-Za-z0-9._-]+)(?:/([0-9]{0,9})/?)?")
_MOST_PORT = 65535
_UNREADABLE = "has a host or port that cannot be read: HOST:PORT is needed, and a password with %2F for / and so on"


class Group(NamedTuple):
    """What an address with sentinels says."""

    #: host and port of each
    sentinels: tuple[tuple[str, int], ...]
    #: the name under which they know the master
    service: str
    #: how the master is talked to: an address without host
    master: str


def read(text: str) -> str:
    """Return the address, its scheme in small letters; raises ValueError with a line for each thing that is wrong."""
    text = text.strip()
    scheme = _scheme(text)
    address = scheme + text[len(scheme) :]
    if wrong := list(_problems(scheme, address)):
        raise ValueError(*(f"the Redis address {line}" for line in wrong))
    return address


def options(address: str) -> dict[str, str]:
    """Return what stands behind the question mark."""
    from urllib.parse import parse_qsl

    return dict(parse_qsl(address.partition("?")[2], keep_blank_values=True))


def without(address: str, *names: str) -> str:
    """Return the address without some of its options."""
    from urllib.parse import urlencode

    head = address.partition("?")[0]
    left = {name: value for name, value in options(address).items() if name not in names}
    return f"{head}?{urlencode(left)}" if left else head


def group(address: str) -> Group:
    """Take an address with sentinels, as ``read`` returns it, apart."""
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    user, at, places = parts.netloc.rpartition("@")
    found = _SERVICE.fullmatch(parts.path)
    assert found, "read has seen to it"
    query = without(f"?{parts.query}", *SENTINEL_LOGIN)
    return Group(
        sentinels=tuple(place for text in places.split(",") if (place := _sentinel(text))),
        service=found[1],
        master=f"{parts.scheme.partition('+')[0]}://{user}{at}/{found[2] or ''}{query}",
    )


def _scheme(text: str) -> str:
    found = _SCHEME.match(text)
    known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    if not found:
        raise ValueError(f"the Redis address is not a URL: it must begin with one of {known}")
    if found[0].lower() not in SCHEMES:
        raise ValueError(f"the Redis address begins with {found[0]}://, which is not known: use one of {known}")
    return found[0].lower()


def _problems(scheme: str, address: str) -> Iterator[str]:
    if _UNSEEN.search(address):
        yield "has a control character in it"
        return
    if scheme == "embedded":
        if not address.partition("://")[2].strip():
            yield "embedded:// names no folder"
        return
    from urllib.parse import urlsplit  # a third of the time that config takes to load

    has_sentinels = scheme in SENTINEL_SCHEMES
    try:
        parts = urlsplit(address)
        _ = None if has_sentinels else parts.port
    except ValueError:  # its text repeats the address
        yield _UNREADABLE
        return
    if scheme == "unix":
        yield from _wrong_socket(parts)
    else:
        yield from _wrong_sentinels(parts) if has_sentinels else _wrong_place(parts)
        yield from _wrong_letters(parts)
    for name, value in options(address).items():
        yield from _wrong_option(scheme, name, value)


def _wrong_socket(parts: SplitResult) -> Iterator[str]:
    if parts.path.strip("/") == "" and not parts.hostname:
        yield "unix:// names no socket"
    elif parts.hostname:
        yield "unix:// needs the whole path of the socket: three slashes, as in unix:///run/redis.sock"


def _wrong_place(parts: SplitResult) -> Iterator[str]:
    if parts.port == 0:
        yield "has the port 0: there is no such port"
    if not _DATABASE.fullmatch(parts.path):
        yield "must end with the number of a database, such as /0, or with nothing; that of a socket is unix:///PATH"


def _wrong_sentinels(parts: SplitResult) -> Iterator[str]:
    places = parts.netloc.rpartition("@")[2]
    if not places:
        yield "names no sentinel: HOST:PORT,HOST:PORT must stand before the service"
    elif not all(_sentinel(place.strip()) for place in places.split(",")):
        yield _UNREADABLE
    if not _SERVICE.fullmatch(parts.path):
        yield "must end with the name that the sentinels have for the master, such as /mymaster or /mymaster/0"


def _sentinel(text: str) -> tuple[str, int] | None:
    found = _SENTINEL.fullmatch(text)
    port = int(found[3] or SENTINEL_PORT) if found else 0
    return (found[1] or found[2], port) if found and 0 < port <= _MOST_PORT else None


def _wrong_letters(parts: SplitResult) -> Iterator[str]:
    if " " in parts.netloc:
        yield "has a space in it"
    if parts.fragment or "#" in parts.geturl():
        yield "has a # in it: a password needs %23 for it"


def _wrong_option(scheme: str, name: str, value: str) -> Iterator[str]:
    allowed = OPTIONS[scheme]
    homes = [f"{home}://" for home in OPTIONS if name in OPTIONS[home]]
    if homes and name not in allowed:
        yield f"has the option {name}, which is for {' and '.join(homes)} only"
    elif name not in allowed:
        from difflib import get_close_matches

        near = get_close_matches(name, allowed, n=1, cutoff=0.6)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(allowed)}"
        # what is no name may be the end of a password with a question mark
        shown = repr(name) if re.fullmatch(r"[a-z_]{1,30}", name) else "that"
        yield f"has an option, {shown}, which is not supported: {advice}"
    elif not _fits(name, value):
        wanted = {
            "db": "a number",
            "wait_replicas": "a number from 1 to 99",
            "ssl_cert_reqs": f"one of {', '.join(CERT_REQS)}",
        }
        yield f"has the option {name}, which must be {wanted.get(name, 'true or false')}"


def _fits(name: str, value: str) -> bool:
    if name == "db":
        return re.fullmatch(r"[0-9]{1,9}", value) is not None
    if name == "wait_replicas":
        return re.fullmatch(r"[1-9][0-9]?", value) is not None
    if name == "ssl_cert_reqs":
        return value in CERT_REQS
    return name != "ssl_check_hostname" or value.lower() in SWITCH
