"""How one value of the configuration is read: from text (flags, environment) and from TOML.

Used by config, in the master and in client programs.  Every reader raises ValueError; each of its arguments is a
line that fits behind "SOURCE: ", and never repeats a Redis address: it may hold a password.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from forkworker import address
from forkworker.settings import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")

_DIGITS = re.compile(r"[+-]?[0-9]{1,15}")
_WEIGHT = re.compile(r"[1-9][0-9]{0,8}")
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?([KMG]?)i?B?", re.IGNORECASE)
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_SHOWN = 60
_Value = TypeVar("_Value")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MOST_PORT = 65535


class Place(NamedTuple):
    """Where something listens: a Unix socket's path, or host and port; the host '' is every address."""

    host: str
    port: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """The two readers of one kind of value."""

    from_text: Callable[[str], Any]
    from_toml: Callable[[object], Any]


def shown(value: object) -> str:
    """Return a value as an error line may show it: quoted, on one line, not too long."""
    text = str(value)
    return repr(text) if len(text) <= _LONGEST_SHOWN else repr(text[:_LONGEST_SHOWN]) + "..."


def _refuse(wanted: str, value: object) -> NoReturn:
    names = {
        bool: "true or false",
        str: "text",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a table",
    }
    raise ValueError(f"must be {wanted}, not {names.get(type(value), 'a date or time')}")


def _whole(text: str) -> int:
    if not _DIGITS.fullmatch(text.strip()):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


def _toml_whole(value: object) -> int:
    if type(value) is not int:  # bool is an int, too
        _refuse("a whole number", value)
    return _whole(str(value))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a number of seconds") from None
    if not math.isfinite(seconds):
        raise ValueError(f"{shown(text)} is not a number of seconds: it must have an end")
    return seconds


def _toml_seconds(value: object) -> float:
    if type(value) not in (int, float):
        _refuse("a number of seconds", value)
    return _seconds(str(value))


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{shown(text)} is not a size in bytes such as 200M or 1.5G")
    return int(float(match[1]) * 1024 ** " KMG".index(match[2].upper() or " "))


def _toml_size(value: object) -> int:
    return _toml_whole(value) if type(value) is int else _size(_toml_words(value))


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE + FALSE:
        raise ValueError(f"{shown(text)} is neither yes ({', '.join(TRUE)}) nor no ({', '.join(FALSE)})")
    return word in TRUE


def _toml_switch(value: object) -> bool:
    if not isinstance(value, bool):
        _refuse("true or false", value)
    return value


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if _UNSEEN.search(text.strip()):
        raise ValueError(f"{shown(text.strip())} has a control character in it")
    return text.strip()


def _toml_words(value: object) -> str:
    if not isinstance(value, str):
        _refuse("text in quotes", value)
    return _words(value)


def choice(*allowed: str) -> Kind:
    """Return the kind of value that is one of a few words, in capitals or not."""

    def read(text: str) -> str:
        if text.strip().lower() not in allowed:
            raise ValueError(f"{shown(text)} is not one of {', '.join(allowed)}")
        return text.strip().lower()

    return Kind(read, lambda value: read(_toml_words(value)))


def _apps(text: str) -> tuple[str, ...]:
    return _toml_apps(text.split())


def _toml_apps(value: object) -> tuple[str, ...]:
    """Return the apps, each once: naming one twice imports it once."""
    apps = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(_read_all(_app, apps)))


def _app(value: object) -> str:
    app = _toml_words(value)
    if ":/" in app:  # with a password, perhaps: not shown
        raise ValueError("an address is no app: give that of Redis with --redis")
    return app


def _read_all(read: Callable[[Any], _Value], entries: Iterable[object]) -> list[_Value]:
    """Read each, and complain of all that are wrong at once."""
    right: list[_Value] = []
    wrong: list[str] = []
    for entry in entries:
        try:
            right.append(read(entry))
        except ValueError as error:
            wrong += error.args
    if wrong:
        raise ValueError(*dict.fromkeys(wrong))
    return right


def _queue(name: str, weight: str = "") -> Queue:
    if weight and not _WEIGHT.fullmatch(weight):
        raise ValueError(f"queue {shown(name)}: the weight {shown(weight)} is not a whole number from 1")
    return Queue(name, int(weight or 0))


def _toml_queue(entry: object) -> Queue:
    match entry:
        case str():
            name, comma, weight = entry.partition(",")
            return _queue(name.strip(), weight.strip() or comma)
        case [str() as name]:
            return _queue(name)
        case [str() as name, int() as number] if not isinstance(number, bool):
            return _queue(name, str(number))
    raise ValueError('each queue must be "NAME", "NAME,WEIGHT" or ["NAME", WEIGHT]')


def _toml_queues(value: object) -> tuple[Queue, ...]:
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list):
        _refuse('a list such as ["high,6", "default"]', value)
    queues = _read_all(_toml_queue, value)
    if not any(queue.weight for queue in queues):
        return tuple(queues)
    return tuple(Queue(queue.name, queue.weight or 1) for queue in queues)


def split_place(text: str) -> Place:
    """Read ``HOST:PORT``, ``:PORT``, ``[IPv6]:PORT`` or ``unix:/PATH``; raises ValueError."""
    scheme, _, path = text.partition(":")
    if scheme == "unix":
        path = "/" + path.lstrip("/") if path.startswith("//") else path
        if not path.strip("/"):
            raise ValueError(f"{shown(text)} names no socket: unix:/PATH is needed")
        return Place("", 0, path)
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > _MOST_PORT or (":" in host and not host.startswith("[")):
        raise ValueError(f"{shown(text)} is not an address: HOST:PORT, :PORT or unix:/PATH is needed")
    return Place(host.strip("[]"), int(port))


def _place(text: str) -> str:
    split_place(text.strip())
    return text.strip()


WHOLE = Kind(_whole, _toml_whole)
SIZE = Kind(_size, _toml_size)
SECONDS = Kind(_seconds, _toml_seconds)
SWITCH = Kind(_switch, _toml_switch)
WORDS = Kind(_words, _toml_words)
APPS = Kind(_apps, _toml_apps)
QUEUES = Kind(lambda text: _toml_queues(text.split()), _toml_queues)
PLACE = Kind(_place, lambda value: _place(_toml_words(value)))
ADDRESS = Kind(address.read, lambda value: address.read(_toml_words(value)))
