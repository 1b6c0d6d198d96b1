"""The address of Redis: which are accepted, and what is wrong with the others.

Used by config, in the master and in client programs.  The words of an error never repeat what may be a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

SCHEMES = ("redis", "rediss", "unix", "embedded")
#: how a certificate may be asked for
CERT_REQS = ("none", "optional", "required")
SWITCH = ("true", "false", "yes", "no", "1", "0")
#: of rediss://: files that must be there
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_LOGIN = ("db", "username", "password", "client_name")
_TLS = (*TLS_FILES, "ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_path", "ssl_password", "ssl_ciphers")
#: Others, such as time limits and retries, would break the promises: a command that is sent twice takes two jobs.
OPTIONS = {"redis": _LOGIN, "rediss": (*_LOGIN, *_TLS), "unix": _LOGIN, "embedded": ()}

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_DATABASE = re.compile(r"/?|/[0-9]{1,9}/?")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]")


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

    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:  # its text repeats the address
        yield "has a host or port that cannot be read: HOST:PORT is needed, and a password with %2F for / and so on"
        return
    yield from _wrong_socket(parts) if scheme == "unix" else _wrong_place(parts)
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
    if " " in parts.netloc:
        yield "has a space in it"
    if parts.fragment or "#" in parts.geturl():
        yield "has a # in it: a password needs %23 for it"
    if not _DATABASE.fullmatch(parts.path):
        yield "must end with the number of a database, such as /0, or with nothing; that of a socket is unix:///PATH"


def _wrong_option(scheme: str, name: str, value: str) -> Iterator[str]:
    allowed = OPTIONS[scheme]
    if name in OPTIONS["rediss"] and name not in allowed:
        yield f"has the option {name}, which is for rediss:// only"
    elif name not in allowed:
        from difflib import get_close_matches

        near = get_close_matches(name, allowed, n=1, cutoff=0.6)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(allowed)}"
        # what is no name may be the end of a password with a question mark
        shown = repr(name) if re.fullmatch(r"[a-z_]{1,30}", name) else "that"
        yield f"has an option, {shown}, which is not supported: {advice}"
    elif not _fits(name, value):
        wanted = {"db": "a number", "ssl_cert_reqs": f"one of {', '.join(CERT_REQS)}"}
        yield f"has the option {name}, which must be {wanted.get(name, 'true or false')}"


def _fits(name: str, value: str) -> bool:
    if name == "db":
        return re.fullmatch(r"[0-9]{1,9}", value) is not None
    if name == "ssl_cert_reqs":
        return value in CERT_REQS
    return name != "ssl_check_hostname" or value.lower() in SWITCH
