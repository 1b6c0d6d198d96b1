"""Row 5 of the jobs' side: every flag, variable and key, right and wrong, made from the definition of the settings.

A new setting is tried here by itself; a new kind of value needs samples below.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from forkworker import config, values
from forkworker.cli import main as cli
from forkworker.cli import places, run
from forkworker.config import CONFIG, OPTIONS, REDIS, Option
from forkworker.settings import Queue, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    Capture = pytest.CaptureFixture[str]
    Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.unit


class Sample(NamedTuple):
    """One right value: as text, as TOML, and as it is read."""

    text: str
    toml: str
    value: Any


def quoted(*texts: str) -> list[Sample]:
    return [Sample(text, f'"{text}"', text) for text in texts]


def bare(*numbers: float) -> list[Sample]:
    return [Sample(str(number), str(number), number) for number in numbers]


#: kind -> a right value for flag, variable and file, all different; wrong texts; wrong TOML
KINDS: dict[values.Kind, tuple[list[Sample], list[str], list[str]]] = {
    values.APPS: (
        [Sample("a", '["a"]', ("a",)), Sample("b c", '["b", "c"]', ("b", "c")), Sample("d.py", '"d.py"', ("d.py",))],
        ["\x1b"],
        ["5", "[5]", "true", '""'],
    ),
    values.WHOLE: (bare(7, 8, 9), ["", "x", "1.5", "1e3", "0x10", "-1", "9" * 30], ['"7"', "7.0", "true", "-1", "[7]"]),
    values.SIZE: (
        [Sample("200M", '"200M"', 200 * 2**20), Sample("1G", '"1G"', 2**30), Sample("4096", "4096", 4096)],
        ["", "x", "-1", "1Q", "9" * 30],
        ["true", "-1", '"x"', "[1]"],
    ),
    values.SECONDS: (
        bare(6.5, 7.0, 8.25),
        ["", "x", "-1", "nan", "inf", "-inf", "1e300", "1s"],
        ['"7"', "true", "-1", "nan", "inf", "1e300", "[7]", "1979-05-27"],
    ),
    values.SWITCH: (
        [Sample("", "", False), Sample("yes", "true", True), Sample("no", "false", False)],
        ["maybe", "2"],
        ['"yes"', "1", "[]"],
    ),
    values.WORDS: (quoted("one", "two", "three"), ["", " ", "a\x1bb"], ['""', "5", "true", "[]", '"a\\u0000b"']),
    values.QUEUES: (
        [
            Sample("a", '["a"]', (Queue("a"),)),
            Sample("b,2", '["b,2"]', (Queue("b", 2),)),
            Sample("c,3", '[["c", 3]]', (Queue("c", 3),)),
        ],
        ["a/b", "a,x", "a,0", "a,-1", "a,", ",3", "ä"],
        ['"a,0"', "5", "[5]", "[]", '[["a", 0]]', '[["a", true]]', '["a", "a"]', '["a b"]'],
    ),
    values.PLACE: (
        quoted(":8080", "localhost:8081", "unix:/run/health.sock"),
        ["", "x", "h:", ":0", ":65536", "h:x", "::1:80", "unix:", "unix:/"],
        ["8080", '""', '"h"', "true"],
    ),
    values.ADDRESS: (
        quoted("redis://flag", "redis://variable", "redis://file"),
        ["", "h:1", "http://h", "redis://h:0", "redis://h/x", "unix://", "redis://h?x=1"],
        ["5", '""', '"h"', "true"],
    ),
}
CHOICES = {
    "log_level": (quoted("debug", "warning", "error"), ["", "loud"], ['"loud"', "5"]),
    "log_format": (quoted("json", "text", "json"), ["", "xml"], ['"xml"', "5"]),
}


def samples(option: Option) -> tuple[list[Sample], list[str], list[str]]:
    return CHOICES.get(option.field) or KINDS[option.kind]


def words(option: Option, text: str, flag: str = "") -> list[str]:
    """Return what is written on the command line."""
    if option.kind is values.SWITCH:
        return [flag or option.flag]
    if not option.flag.startswith("-") and not flag:
        return ["--", text]
    return [flag or option.flag, text]


def load(words: Sequence[str], environ: Mapping[str, str], directory: Path) -> Settings:
    args = cli._parse(["run", *words])
    assert args.unknown == []
    return config.load(run.flags(args), environ, directory)


def write(directory: Path, lines: Iterable[str]) -> None:
    (directory / "forkworker.toml").write_text("\n".join(lines), "utf-8")


# Right values


@pytest.mark.parametrize("option", OPTIONS, ids=[option.field for option in OPTIONS])
def test_a_flag_goes_before_a_variable_before_the_file_before_the_default(option: Option, tmp_path: Path) -> None:
    """For every combination of sources; the address of Redis has an order of its own, below."""
    by_flag, by_variable, by_file = samples(option)[0]
    default = getattr(load([], {}, tmp_path), option.field)
    assert default != by_flag.value
    for flag, variable, key in itertools.product((True, False), repeat=3):
        has_flag, has_key = flag and option.flag, key and option.key
        write(tmp_path, [f"{option.key} = {by_file.toml}"] if has_key else [])

        settings = load(
            words(option, by_flag.text) if has_flag else [],
            {option.variable: by_variable.text} if variable else {},
            tmp_path,
        )

        order = [(has_flag, by_flag), (variable, by_variable), (has_key, by_file)]
        if option is REDIS:
            order[1:] = [(has_key, by_file), (variable, by_variable)]
        expected = next((sample.value for is_set, sample in order if is_set), default)
        assert getattr(settings, option.field) == expected, (flag, variable, key)


REDIS_SOURCES = ("flag", "file", "REDIS_PROVIDER", "FORKWORKER_REDIS_URL", "REDIS_URL")


@pytest.mark.parametrize("is_set", [*itertools.product((True, False), repeat=len(REDIS_SOURCES))], ids=str)
def test_the_address_of_redis_is_the_first_that_is_set(is_set: tuple[bool, ...], tmp_path: Path) -> None:
    addresses = [f"redis://{number}" for number in range(len(REDIS_SOURCES))]
    flag, file, provider, *variables = (url if there else "" for url, there in zip(addresses, is_set, strict=True))
    environ = dict(zip(REDIS_SOURCES[3:], variables, strict=True))
    environ |= {"REDIS_PROVIDER": "HEROKU_URL", "HEROKU_URL": provider} if provider else {}
    write(tmp_path, [f'redis.url = "{file}"'] if file else [])

    first = next((url for url, there in zip(addresses, is_set, strict=True) if there), "redis://localhost:6379/0")
    assert load(["--redis", flag] if flag else [], environ, tmp_path).redis_url == first
    assert config.redis_url(environ, tmp_path, flag or None) == first, "clients look in the same order"


def test_every_spelling_of_a_flag_is_the_same_flag(tmp_path: Path) -> None:
    spellings = {option.flag: words for option in OPTIONS for words in spelled(option.flag)}
    assert len(spellings) == len([option for option in OPTIONS if option.flag])
    for option in OPTIONS:
        text = samples(option)[0][0].text
        for flag in spelled(option.flag):
            assert load(words(option, text, flag), {}, tmp_path) == load(words(option, text), {}, tmp_path), flag


def spelled(flag: str) -> list[str]:
    """Return all ways to write a flag, as ``run --help`` tells them."""
    if flag == "APP":
        return ["-r", "--require"]
    return next((spellings for spellings in helped() if flag in spellings), [])


def helped() -> list[list[str]]:
    args = cli._parse(["run"])
    return [re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", line) for line in flag_lines(args.parser.format_help())]


def flag_lines(text: str) -> list[str]:
    """Return the part of each line of help that has the flags: what comes after is set far off."""
    return [re.split(r" {2,}", line.strip())[0] for line in text.splitlines() if line.startswith("  -")]


# Wrong values


class Case(NamedTuple):
    """One wrong value in one source, and how the line about it must begin."""

    words: list[str]
    environ: dict[str, str]
    file: list[str]
    beginning: str

    def __str__(self) -> str:
        told = [*map(repr, self.words), *(f"{name}={text!r}" for name, text in self.environ.items()), *self.file]
        return " ".join(told)[:60]


def cases(option: Option, source: str) -> list[Case]:
    """Return every wrong value that this source can have."""
    _, texts, tomls = samples(option)
    if source == "flags" and option.flag.startswith("-") and option.kind is not values.SWITCH:
        return [Case(written(option.flag, text), {}, [], f"flag {option.flag}: ") for text in texts]
    if source == "variables":  # an empty variable counts as not set
        beginning = f"variable {option.variable}: "
        return [Case([], {option.variable: text}, [], beginning) for text in texts if text.strip()]
    if source == "file" and option.key:
        return [
            Case([], {}, [f"{option.key} = {t}"], f"file forkworker.toml, key {option.key}: ") for t in [*tomls, "{}"]
        ]
    return []


def written(flag: str, text: str) -> list[str]:
    """Return the words; a value that looks like a flag needs the sign."""
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


SOURCES = ("flags", "variables", "file")


@pytest.mark.parametrize("case", [case for o in OPTIONS for source in SOURCES for case in cases(o, source)], ids=str)
def test_a_wrong_value_is_one_plain_line_that_names_its_source(
    case: Case, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    alone(monkeypatch, tmp_path, case.environ)
    write(tmp_path, case.file)

    assert cli.main(["check", *case.words]) == 78

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"forkworker: {case.beginning}"), line


def alone(monkeypatch: Patch, directory: Path, environ: Mapping[str, str]) -> None:
    """Be in a folder, and have an environment, in which nothing else is set."""
    monkeypatch.chdir(directory)
    for known in (*[option.variable for option in (CONFIG, *OPTIONS)], "REDIS_URL", "REDIS_PROVIDER", "PWD"):
        monkeypatch.delenv(known, raising=False)
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("command", ["run", "check"])
def test_all_that_is_wrong_is_told_at_once(
    tmp_path: Path, monkeypatch: Patch, capsys: Capture, source: str, command: str
) -> None:
    """One wrong value of every setting, in one source: as many lines, and no master is started."""
    chosen = [wrong[0] for option in OPTIONS if (wrong := cases(option, source))]
    alone(monkeypatch, tmp_path, {name: text for case in chosen for name, text in case.environ.items()})
    write(tmp_path, [line for case in chosen for line in case.file])

    assert cli.main([command, *(word for case in chosen for word in case.words)]) == 78

    lines = capsys.readouterr().err.splitlines()
    for case in chosen:
        assert [line for line in lines if line.startswith(f"forkworker: {case.beginning}")], case
    assert len(lines) == len(chosen) > 9


# What documents and help tell


def test_every_flag_is_told_by_help_and_help_tells_no_other() -> None:
    told = {flag for spellings in helped() for flag in spellings}
    known = {option.flag for option in (CONFIG, *OPTIONS) if option.flag.startswith("-")}

    assert known <= told
    long = {spelling for flag in known for spelling in spelled(flag)}
    assert told - long == {"-h", "--help", "-r", "--require", "-v", "--verbose"}


def test_defaults_in_help_are_those_of_the_settings() -> None:
    text = " ".join(cli._parse(["run"]).parser.format_help().split())
    settings = Settings()

    for flag, default in (
        ("--concurrency N", f"{settings.concurrency}"),
        ("--queue QUEUE", settings.queues[0].name),
        ("--timeout SECONDS", f"{settings.timeout:g}"),
        ("--log-level LEVEL", settings.log_level),
        ("--log-format FORMAT", settings.log_format),
    ):
        told = re.search(rf"{re.escape(flag)} .*?\(default: ([^)]*)\)", text)
        assert told
        assert told[1] == default, flag


def test_places_are_looked_at_by_both_commands() -> None:
    """``run`` and ``check`` load the settings by the same function, which looks at files and folders."""
    assert places.problems.__name__ in run.load_settings.__code__.co_names
