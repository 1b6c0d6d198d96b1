"""Flags, variables and the file become Settings, or one list of everything that is wrong."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from forkworker import config
from forkworker.errors import ConfigurationError
from forkworker.settings import DEFAULT_REDIS_URL, Queue, Settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

SECRET = "hunter2"
URL = f"redis://user:{SECRET}@example.net:6379/3"


def problems(flags: dict[str, Any], environ: dict[str, str], directory: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        config.load(flags, environ, directory)
    return caught.value.problems


def write(directory: Path, text: str, name: str = "forkworker.toml") -> None:
    (directory / name).write_text(text, "utf-8")


# Defaults


def test_without_any_source_the_machine_and_the_contract_decide(tmp_path: Path) -> None:
    settings = config.load({}, {"TMPDIR": "/var/tmp"}, tmp_path)

    assert settings == Settings(
        directory=str(tmp_path),
        processes=len(os.sched_getaffinity(0)),
        tag=tmp_path.name,
        control_folder=f"/var/tmp/forkworker-{os.getuid()}",
        hostname=socket.gethostname(),
    )


def test_on_heroku_the_dyno_is_the_host(tmp_path: Path) -> None:
    assert config.load({}, {"DYNO": "worker.1"}, tmp_path).hostname == "worker.1"


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/1"}, "/run/a"),
        ({"XDG_RUNTIME_DIR": "/run/user/1", "TMPDIR": "/t"}, "/run/user/1/forkworker"),
        ({"TMPDIR": "/t"}, f"/t/forkworker-{os.getuid()}"),
        ({}, f"/tmp/forkworker-{os.getuid()}"),
    ],
)
def test_the_control_folder_is_the_first_private_place_there_is(environ: dict[str, str], folder: str) -> None:
    assert config.control_folder(environ) == folder


# Every flag, variable and key: the right values

RIGHT = [
    ("apps", ["a.b", "c:d"], "FORKWORKER_APP", "a.b c:d", 'app = ["a.b", "c:d"]', ("a.b", "c:d")),
    ("apps", ["jobs.py"], "FORKWORKER_APP", "jobs.py", 'app = "jobs.py"', ("jobs.py",)),
    ("processes", "3", "FORKWORKER_PROCESSES", "3", "processes = 3", 3),
    ("concurrency", "7", "FORKWORKER_CONCURRENCY", " 7 ", "concurrency = 7", 7),
    ("timeout", "25", "FORKWORKER_TIMEOUT", "25", "timeout = 25", 25.0),
    ("timeout", "0.5", "FORKWORKER_TIMEOUT", "0.5", "timeout = 0.5", 0.5),
    ("tag", "shop", "FORKWORKER_TAG", "shop", 'tag = "shop"', "shop"),
    ("pidfile", "/run/p", "FORKWORKER_PIDFILE", "/run/p", 'pidfile = "/run/p"', "/run/p"),
    ("control", "/run/c", "FORKWORKER_CONTROL", "/run/c", 'control = "/run/c"', "/run/c"),
    ("health", ":9100", "FORKWORKER_HEALTH", ":9100 ", 'health = ":9100"', ":9100"),
    ("health", "unix:/h", "FORKWORKER_HEALTH", "unix:/h", 'health = "unix:/h"', "unix:/h"),
    ("log_level", "DEBUG", "FORKWORKER_LOG_LEVEL", "debug", 'log.level = "debug"', "debug"),
    ("log_format", "json", "FORKWORKER_LOG_FORMAT", "JSON", 'log.format = "json"', "json"),
    ("drain_timeout", "90", "FORKWORKER_DRAIN_TIMEOUT", "90", "drain_timeout = 90", 90.0),
    ("max_memory", "200M", "FORKWORKER_MAX_MEMORY", "209715200", 'max_memory = "204800 KiB"', 200 * 1024**2),
    ("max_memory", "1.5g", "FORKWORKER_MAX_MEMORY", "1536MB", "max_memory = 1610612736", 3 * 512 * 1024**2),
    ("max_jobs", "1000", "FORKWORKER_MAX_JOBS", "1000", "max_jobs = 1000", 1000),
    ("max_age", "3600", "FORKWORKER_MAX_AGE", "3600", "max_age = 3600", 3600.0),
    ("boot_timeout", "90", "FORKWORKER_BOOT_TIMEOUT", "90", "boot_timeout = 90", 90.0),
    ("hang_timeout", "120", "FORKWORKER_HANG_TIMEOUT", "120", "hang_timeout = 120", 120.0),
    ("lease", "5", "FORKWORKER_LEASE", "5", "lease = 5", 5.0),
    ("preload", False, "FORKWORKER_PRELOAD", "no", "preload = false", False),
    (
        "redis_url",
        "unix:///r.sock",
        "REDIS_URL",
        "unix:///r.sock",
        'redis.url = "unix:///r.sock"',
        "unix:///r.sock",
    ),
    (
        "queues",
        ["high,6", "default"],
        "FORKWORKER_QUEUES",
        "high,6 default",
        'queues = ["high,6", "default"]',
        (Queue("high", 6), Queue("default", 1)),
    ),
    ("queues", ["b", "a"], "FORKWORKER_QUEUES", "b  a", 'queues = ["b", "a"]', (Queue("b"), Queue("a"))),
]


@pytest.mark.parametrize(("field", "flag", "variable", "text", "toml", "value"), RIGHT)
def test_each_source_gives_the_same_value(  # noqa: PLR0917 - the columns of the table
    tmp_path: Path, field: str, flag: Any, variable: str, text: str, toml: str, value: Any
) -> None:
    by_flag = config.load({field: flag}, {}, tmp_path)
    by_variable = config.load({}, {variable: text}, tmp_path)
    write(tmp_path, toml)
    by_file = config.load({}, {}, tmp_path)

    assert [getattr(settings, field) for settings in (by_flag, by_variable, by_file)] == [value] * 3


def test_the_table_above_has_every_option() -> None:
    assert {row[0] for row in RIGHT} | {"environment"} == {option.field for option in config.OPTIONS}


def test_every_option_is_a_field_of_settings() -> None:
    assert {option.field for option in config.OPTIONS} <= set(Settings.__slots__)


def test_queues_can_be_written_as_in_the_variable(tmp_path: Path) -> None:
    write(tmp_path, 'queues = "high,6  low"')

    assert config.load({}, {}, tmp_path).queues == (Queue("high", 6), Queue("low", 1))


def test_queues_can_be_written_as_in_sidekiqs_yaml(tmp_path: Path) -> None:
    write(tmp_path, 'queues = [["high", 6], "low", ["default"]]')

    assert config.load({}, {}, tmp_path).queues == (Queue("high", 6), Queue("low", 1), Queue("default", 1))


@pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
def test_words_for_yes(tmp_path: Path, word: str) -> None:
    assert config.load({}, {"FORKWORKER_PRELOAD": word}, tmp_path).preload is True


@pytest.mark.parametrize("word", ["0", "False", "no", "OFF"])
def test_words_for_no(tmp_path: Path, word: str) -> None:
    assert config.load({}, {"FORKWORKER_PRELOAD": word}, tmp_path).preload is False


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    environ = {option.variable: "" for option in config.OPTIONS if option.variable} | {"REDIS_PROVIDER": " "}

    assert config.load({}, environ, tmp_path) == config.load({}, {}, tmp_path)


def test_an_empty_list_of_flags_is_not_given(tmp_path: Path) -> None:
    settings = config.load({"apps": [], "queues": None}, {"FORKWORKER_APP": "jobs"}, tmp_path)

    assert settings.apps == ("jobs",)


# Every flag, variable and key: wrong values

WRONG_TEXT = [
    ("processes", "-P", "FORKWORKER_PROCESSES", "many", "'many' is not a whole number"),
    ("processes", "-P", "FORKWORKER_PROCESSES", "2.5", "'2.5' is not a whole number"),
    ("processes", "-P", "FORKWORKER_PROCESSES", "0", "processes is 0: it must be from 1 to 500"),
    ("concurrency", "-c", "FORKWORKER_CONCURRENCY", "1_0", "'1_0' is not a whole number"),
    ("concurrency", "-c", "FORKWORKER_CONCURRENCY", "9" * 5000, "is not a whole number"),
    ("concurrency", "-c", "FORKWORKER_CONCURRENCY", "1001", "concurrency is 1001: it must be from 1 to 1000"),
    ("timeout", "-t", "FORKWORKER_TIMEOUT", "soon", "'soon' is not a number of seconds"),
    ("timeout", "-t", "FORKWORKER_TIMEOUT", "inf", "'inf' is not a number of seconds: it must have an end"),
    ("timeout", "-t", "FORKWORKER_TIMEOUT", "nan", "'nan' is not a number of seconds"),
    ("timeout", "-t", "FORKWORKER_TIMEOUT", "-1", "timeout is -1: it must be from 0 to 31622400"),
    (
        "log_level",
        "--log-level",
        "FORKWORKER_LOG_LEVEL",
        "loud",
        "'loud' is not one of debug, info, warning, error",
    ),
    ("log_format", "--log-format", "FORKWORKER_LOG_FORMAT", "xml", "'xml' is not one of text, json"),
    (
        "preload",
        "--no-preload",
        "FORKWORKER_PRELOAD",
        "maybe",
        "'maybe' is neither yes (1, true, yes, on) nor no",
    ),
    ("queues", "-q", "FORKWORKER_QUEUES", "a,b", "queue 'a': the weight 'b' is not a whole number from 1"),
    ("queues", "-q", "FORKWORKER_QUEUES", "a,0", "queue 'a': the weight '0' is not a whole number from 1"),
    ("queues", "-q", "FORKWORKER_QUEUES", "a,-2", "queue 'a': the weight '-2' is not a whole number from 1"),
    ("queues", "-q", "FORKWORKER_QUEUES", "a,", "queue 'a': the weight ',' is not a whole number from 1"),
    ("queues", "-q", "FORKWORKER_QUEUES", "a/b", "queue 'a/b': a name may have letters"),
    ("queues", "-q", "FORKWORKER_QUEUES", "a b,2 a", "queue 'a' is named twice"),
]


@pytest.mark.parametrize(("field", "flag", "variable", "text", "complaint"), WRONG_TEXT)
def test_a_wrong_flag_or_variable_is_named(
    tmp_path: Path, field: str, flag: str, variable: str, text: str, complaint: str
) -> None:
    (by_flag,) = problems({field: text}, {}, tmp_path)
    (by_variable,) = problems({}, {variable: text}, tmp_path)

    assert by_flag.startswith(f"flag {flag}: ")
    assert by_variable.startswith(f"variable {variable}: ")
    assert complaint in by_flag
    assert complaint in by_variable


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ('processes = "4"', "processes: must be a whole number, not text"),
        ("processes = 4.0", "processes: must be a whole number, not a number"),
        ("processes = true", "processes: must be a whole number, not true or false"),
        ("concurrency = 100000000000000000000", "concurrency: '100000000000000000000' is not a whole number"),
        ("concurrency = 2000", "concurrency: concurrency is 2000: it must be from 1 to 1000"),
        ('timeout = "8"', "timeout: must be a number of seconds, not text"),
        ("timeout = inf", "timeout: 'inf' is not a number of seconds: it must have an end"),
        (f"timeout = 1{'0' * 400}", "is not a number of seconds: it must have an end"),
        ("timeout = false", "timeout: must be a number of seconds, not true or false"),
        ("lease = 1", "lease: lease is 1: it must be from 5 to 31622400"),
        ("lease = 2020-01-01", "lease: must be a number of seconds, not a date or time"),
        ("tag = 1", "tag: must be text in quotes, not a number"),
        ('tag = " "', "tag: must not be empty"),
        ("pidfile = []", "pidfile: must be text in quotes, not a list"),
        ("control = true", "control: must be text in quotes, not true or false"),
        ('preload = "false"', "preload: must be true or false, not text"),
        ("app = 5", "app: must be text in quotes, not a number"),
        ('app = ["a", 5]', "app: must be text in quotes, not a number"),
        ("queues = 1", 'queues: must be a list such as ["high,6", "default"], not a number'),
        ("queues = []", "queues: queues is empty: name at least one queue"),
        ("queues = [5]", 'queues: each queue must be "NAME", "NAME,WEIGHT" or ["NAME", WEIGHT]'),
        ('queues = [["a", true]]', "queues: each queue must be"),
        ('queues = [["a", -1]]', "queues: queue 'a': the weight '-1' is not a whole number from 1"),
        ('[log]\nlevel = "loud"', "log.level: 'loud' is not one of"),
        ('log = "loud"', "log: must be a table, with log.format and log.level"),
        ('redis = "redis://h"', "redis: must be a table, with redis.url"),
        ("redis.url = 5", "redis.url: must be text in quotes, not a number"),
        ("environment = 5", "environment: write one table [environment.NAME] for each environment"),
        ("environment.production = 5", "environment.production: must be a table: [environment.production]"),
    ],
)
def test_a_wrong_value_in_the_file_is_named_with_its_key(tmp_path: Path, toml: str, complaint: str) -> None:
    write(tmp_path, toml)

    (line,) = problems({}, {}, tmp_path)

    assert line.startswith("file forkworker.toml, key ")
    assert complaint in line


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("concurency", "concurrency"),
        ("queue", "queues"),
        ("redis_url", "redis.url"),
        ("redis.uri", "redis.url"),
        ("time-out", "timeout"),
        ("log.levels", "log.level"),
        ("environment.production.concurency", "concurrency"),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest_neighbour(tmp_path: Path, key: str, near: str) -> None:
    write(tmp_path, f"{key} = 1")

    assert problems({}, {}, tmp_path) == [f"file forkworker.toml, key {key}: is not known: did you mean {near}?"]


@pytest.mark.parametrize("text", ["[log]", "[redis]", "redis = {}", "[environment]", "[environment.production]"])
def test_the_head_of_a_table_alone_says_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)

    assert config.load({}, {}, tmp_path).processes


def test_a_key_like_no_other_gets_the_list_of_all(tmp_path: Path) -> None:
    write(tmp_path, "zzz = 1")

    (line,) = problems({}, {}, tmp_path)

    assert all(key in line for key in config.KEYS)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, 'concurency = 5\nlease = 1\ntag = 3\n[log]\nlevel = "loud"')

    lines = problems(
        {"processes": "x", "queues": ["a/b", "c", "c"]},
        {"FORKWORKER_TIMEOUT": "soon", "FORKWORKER_QUEUE": "x", "REDIS_PROVIDER": "NOT_SET"},
        tmp_path,
    )

    assert len(lines) == len(set(lines)) == 10
    for part in (
        "concurency",
        "lease is 1",
        "tag",
        "log.level",
        "-P",
        "a/b",
        "twice",
        "TIMEOUT",
        "_QUEUE:",
        "PROVIDER",
    ):
        assert any(part in line for line in lines), part


def test_every_line_of_settings_is_traced_to_its_source(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"processes": 0, "concurrency": 0, "timeout": -1, "queues": ["ä", "ä"]}

    lines = problems(wrong, {"FORKWORKER_LEASE": "1"}, tmp_path)

    assert len(lines) > len(wrong)
    assert all(line.startswith(("flag -", "variable FORKWORKER_LEASE: ")) for line in lines)


@pytest.mark.parametrize(("name", "near"), [("FORKWORKER_QUEUE", "QUEUES"), ("FORKWORKER_CONCURENCY", "CONCURRENCY")])
def test_a_variable_that_is_nearly_ours_is_named(tmp_path: Path, name: str, near: str) -> None:
    assert problems({}, {name: "x"}, tmp_path) == [f"variable {name}: is not known: did you mean FORKWORKER_{near}?"]


@pytest.mark.parametrize("name", ["FORKWORKER_PORT", "FORKWORKER_SERVICE_HOST", "MYFORKWORKER_QUEUE"])
def test_other_variables_are_nobodys_business(tmp_path: Path, name: str) -> None:
    assert config.load({}, {name: "x"}, tmp_path) == config.load({}, {}, tmp_path)


def test_each_of_several_wrong_queues_is_named(tmp_path: Path) -> None:
    assert problems({"queues": ["a,x", "b", "c,0"]}, {}, tmp_path) == [
        "flag -q: queue 'a': the weight 'x' is not a whole number from 1",
        "flag -q: queue 'c': the weight '0' is not a whole number from 1",
    ]


def test_an_app_named_twice_is_imported_once(tmp_path: Path) -> None:
    settings = config.load({"apps": ["a", "b", "a"]}, {}, tmp_path)

    assert (settings.apps, settings.apps_source) == (("a", "b"), "flag APP")


def test_control_characters_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 'pidfile = "a\\u0000b"\ntag = "a\\u001b[2J"')

    assert problems({}, {}, tmp_path) == [
        "file forkworker.toml, key tag: 'a\\x1b[2J' has a control character in it",
        "file forkworker.toml, key pidfile: 'a\\x00b' has a control character in it",
    ]


def test_a_long_name_of_the_folder_is_cut_for_the_tag(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()

    assert config.load({}, {}, folder).tag == "x" * 100


def test_what_an_inspection_finds_is_traced_to_its_source(tmp_path: Path) -> None:
    def inspect(settings: Settings) -> list[tuple[str, str]]:
        assert settings.pidfile == "x"
        return [("pidfile", "is wrong"), ("control", "is wrong, too")]

    with pytest.raises(ConfigurationError) as caught:
        config.load({"pidfile": "x"}, {}, tmp_path, inspect=inspect)
    assert caught.value.problems == ["flag --pidfile: is wrong", "default: is wrong, too"]


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_name_of_a_file_is_an_error(tmp_path: Path, text: str) -> None:
    assert problems({"config": text}, {}, tmp_path) == ["flag -C: must not be empty"]


# Precedence


def test_a_flag_goes_before_a_variable_before_the_file_before_the_default(tmp_path: Path) -> None:
    write(tmp_path, "concurrency = 3\ntimeout = 3\nprocesses = 3")
    environ = {"FORKWORKER_CONCURRENCY": "2", "FORKWORKER_TIMEOUT": "2"}

    settings = config.load({"concurrency": "1"}, environ, tmp_path)

    assert (settings.concurrency, settings.timeout, settings.processes, settings.lease) == (1, 2, 3, 60)


def test_what_is_overridden_is_not_judged(tmp_path: Path) -> None:
    write(tmp_path, "concurrency = true")

    assert config.load({"concurrency": "1"}, {"FORKWORKER_CONCURRENCY": "x"}, tmp_path).concurrency == 1


# The file


def test_forkworker_toml_goes_before_pyproject(tmp_path: Path) -> None:
    write(tmp_path, "concurrency = 1")
    write(tmp_path, "[tool.forkworker]\nconcurrency = 2\ntimeout = 2", "pyproject.toml")

    settings = config.load({}, {}, tmp_path)

    assert (settings.concurrency, settings.timeout) == (1, 8)


def test_pyproject_is_read_in_its_own_section_alone(tmp_path: Path) -> None:
    write(tmp_path, "[project]\nname = 'x'\n[tool.forkworker]\nconcurency = 2\ntimeout = 2", "pyproject.toml")

    assert problems({}, {}, tmp_path) == [
        "file pyproject.toml, key tool.forkworker.concurency: is not known: did you mean concurrency?"
    ]


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'", "[tool.ruff]\nx = 1", "tool = 5"])
def test_a_pyproject_without_our_section_says_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path, text, "pyproject.toml")

    assert config.load({}, {}, tmp_path).concurrency == 25


def test_our_section_of_pyproject_must_be_a_table(tmp_path: Path) -> None:
    write(tmp_path, "tool.forkworker = 5", "pyproject.toml")

    assert problems({}, {}, tmp_path) == ["file pyproject.toml, key tool.forkworker must be a table"]


@pytest.mark.parametrize(
    ("flags", "environ"), [({"config": "other.toml"}, {}), ({}, {"FORKWORKER_CONFIG": "other.toml"})]
)
def test_another_file_can_be_chosen(tmp_path: Path, flags: dict[str, Any], environ: dict[str, str]) -> None:
    write(tmp_path, "concurrency = 1")
    write(tmp_path, "concurrency = 2", "other.toml")

    assert config.load(flags, environ, tmp_path).concurrency == 2


def test_a_chosen_file_that_is_missing_is_an_error_told_once(tmp_path: Path) -> None:
    assert problems({"config": "no.toml"}, {}, tmp_path) == [
        "flag -C: file no.toml cannot be read: No such file or directory"
    ]
    assert problems({}, {"FORKWORKER_CONFIG": "no.toml"}, tmp_path) == [
        "variable FORKWORKER_CONFIG: file no.toml cannot be read: No such file or directory"
    ]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "forkworker.toml").mkdir()

    assert problems({}, {}, tmp_path) == ["file forkworker.toml cannot be read: Is a directory"]


def test_a_link_that_leads_nowhere_is_no_missing_file(tmp_path: Path) -> None:
    (tmp_path / "forkworker.toml").symlink_to(tmp_path / "gone")

    assert problems({}, {}, tmp_path) == ["file forkworker.toml cannot be read: No such file or directory"]


def test_broken_toml_is_an_error_beside_the_others(tmp_path: Path) -> None:
    write(tmp_path, "concurrency = \n")

    lines = problems({"processes": "x"}, {}, tmp_path)

    assert len(lines) == 2
    assert lines[0].startswith("file forkworker.toml is not valid TOML: Invalid value (at line 1")


def test_a_file_of_strange_bytes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "forkworker.toml").write_bytes(b'tag = "\xff"')

    assert problems({}, {}, tmp_path) == ["file forkworker.toml is not valid TOML: it is not UTF-8 text"]


# Environments

SECTIONS = "concurrency = 1\ntimeout = 1\n[environment.production]\nconcurrency = 2\nlog.level = 'error'\n"


@pytest.mark.parametrize(
    ("flags", "environ"), [({"environment": "production"}, {}), ({}, {"FORKWORKER_ENV": "production"})]
)
def test_an_environments_section_lies_over_the_rest(
    tmp_path: Path, flags: dict[str, Any], environ: dict[str, str]
) -> None:
    write(tmp_path, SECTIONS)

    settings = config.load(flags, environ, tmp_path)

    assert (settings.concurrency, settings.timeout, settings.log_level) == (2, 1, "error")
    assert settings.environment == "production"


def test_other_environments_sections_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, SECTIONS + "[environment.test]\n")

    assert config.load({}, {}, tmp_path).concurrency == 1
    assert config.load({"environment": "test"}, {}, tmp_path).concurrency == 1


def test_an_environment_that_the_file_does_not_have_is_an_error(tmp_path: Path) -> None:
    """With another name the settings of production would not be in force, and nobody would know."""
    write(tmp_path, SECTIONS)
    lacking = "file forkworker.toml has no section [environment.prod]: there are production"

    assert problems({"environment": "prod"}, {}, tmp_path) == [f"flag -e: {lacking}"]
    assert problems({}, {"FORKWORKER_ENV": "prod"}, tmp_path) == [f"variable FORKWORKER_ENV: {lacking}"]
    with pytest.raises(ConfigurationError, match="no section"):
        config.redis_url({"FORKWORKER_ENV": "prod"}, tmp_path)


@pytest.mark.parametrize("text", [None, "", "concurrency = 25"])
def test_an_environment_is_but_a_name_where_the_file_has_no_sections(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        write(tmp_path, text)

    assert config.load({"environment": "production"}, {}, tmp_path).environment == "production"


def test_a_wrong_value_of_an_environment_is_named_with_its_section(tmp_path: Path) -> None:
    write(tmp_path, "[environment.production]\nconcurrency = 0\n")

    (line,) = problems({"environment": "production"}, {}, tmp_path)

    assert line.startswith("file forkworker.toml, key environment.production.concurrency: concurrency is 0")
    assert config.load({}, {}, tmp_path).concurrency == 25


# The address of Redis

ORDER: list[tuple[str | None, str, dict[str, str], str]] = [
    ("redis://flag", "redis://file", {"REDIS_PROVIDER": "P", "P": "redis://p"}, "redis://flag"),
    (None, "redis://file", {"REDIS_PROVIDER": "P", "P": "redis://p"}, "redis://file"),
    (None, "", {"REDIS_PROVIDER": "P", "P": "redis://p", "FORKWORKER_REDIS_URL": "redis://f"}, "redis://p"),
    (None, "", {"FORKWORKER_REDIS_URL": "redis://f", "REDIS_URL": "redis://r"}, "redis://f"),
    (None, "", {"REDIS_URL": "redis://r"}, "redis://r"),
    (None, "", {}, DEFAULT_REDIS_URL),
]


@pytest.mark.parametrize(("flag", "file", "environ", "url"), ORDER)
def test_workers_and_clients_look_the_address_up_in_the_same_order(
    tmp_path: Path, flag: str | None, file: str, environ: dict[str, str], url: str
) -> None:
    if file:
        write(tmp_path, f'redis.url = "{file}"')

    assert config.redis_url(environ, tmp_path, flag) == url
    assert config.load({"redis_url": flag}, environ, tmp_path).redis_url == url


def test_clients_look_into_the_chosen_file_and_environment(tmp_path: Path) -> None:
    write(tmp_path, "redis.url = 'redis://a'\n[environment.x]\nredis.url = 'redis://b'", "other.toml")
    environ = {"FORKWORKER_CONFIG": "other.toml", "FORKWORKER_ENV": "x"}

    assert config.redis_url(environ, tmp_path) == "redis://b"


def test_a_client_asks_the_process_it_lives_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_PROVIDER", "FORKWORKER_REDIS_URL", "FORKWORKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REDIS_URL", "redis://here")

    assert config.redis_url() == "redis://here"


def test_a_clients_address_does_not_depend_on_other_settings(tmp_path: Path) -> None:
    write(tmp_path, "concurency = 'x'\ntimeout = true\nredis.url = 'redis://h'")

    assert config.redis_url({"FORKWORKER_PROCESSES": "x"}, tmp_path) == "redis://h"


@pytest.mark.parametrize("toml", ["redis = 'redis://h'", "redis.url = 1", "[redis"])
def test_a_client_is_not_sent_elsewhere_when_the_file_is_wrong(tmp_path: Path, toml: str) -> None:
    write(tmp_path, toml)

    with pytest.raises(ConfigurationError, match=r"forkworker\.toml"):
        config.redis_url({}, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost/",
        "redis://[::1]:6379/15",
        "rediss://:pw@h:1/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
        "embedded://data",
        "embedded:///var/lib/app",
    ],
)
def test_good_addresses_pass_unchanged(tmp_path: Path, url: str) -> None:
    assert config.redis_url({}, tmp_path, url) == url


def test_a_scheme_may_be_written_in_capitals(tmp_path: Path) -> None:
    assert config.redis_url({}, tmp_path, "REDIS://Host") == "redis://Host"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        (
            "localhost:6379",
            "is not a URL: it must begin with one of redis://, rediss://, redis+sentinel://",
        ),
        (f":{SECRET}@localhost", "is not a URL"),
        (f"redis+cluster://:{SECRET}@h", "begins with redis+cluster://, which is not known: use one of redis://"),
        (f"redis+sentinel://:{SECRET}@h:port/shop", "has a host or port that cannot be read"),
        (f"redis+sentinel://:{SECRET}@h", "must end with the name that the sentinels have for the master"),
        (f"redis://h?sentinel_password={SECRET}", "is for redis+sentinel:// and rediss+sentinel:// only"),
        (f"http://u:{SECRET}@h", "begins with http://, which is not known"),
        (f"redis://u:{SECRET}@h:port/0", "has a host or port that cannot be read"),
        (f"redis://h:6379:{SECRET}", "has a host or port that cannot be read"),
        (f"redis://[{SECRET}", "has a host or port that cannot be read"),
        (f"redis://u:{SECRET}@h/name", "must end with the number of a database"),
        ("unix://", "names no socket"),
        (f"unix://?password={SECRET}", "names no socket"),
        ("embedded://", "names no folder"),
    ],
)
def test_a_wrong_address_is_named_by_its_source_and_kept_secret(tmp_path: Path, url: str, complaint: str) -> None:
    by_flag = problems({"redis_url": url}, {}, tmp_path)
    by_variable = problems({}, {"REDIS_URL": url}, tmp_path)
    by_provider = problems({}, {"REDIS_PROVIDER": "MY_REDIS", "MY_REDIS": url}, tmp_path)
    write(tmp_path, f"redis.url = '{url}'")
    by_file = problems({}, {}, tmp_path)

    lines = by_flag + by_variable + by_provider + by_file
    assert [line.partition(": ")[0] for line in lines] == [
        "flag --redis",
        "variable REDIS_URL",
        "variable MY_REDIS",
        "file forkworker.toml, key redis.url",
    ]
    assert all(complaint in line and SECRET not in line for line in lines)


def test_a_provider_that_is_not_set_is_named(tmp_path: Path) -> None:
    environ = {"REDIS_PROVIDER": "REDISGREEN_URL", "REDIS_URL": "redis://h"}

    assert problems({}, environ, tmp_path) == [
        "variable REDIS_PROVIDER: names the variable REDISGREEN_URL, which is not set"
    ]


def test_an_address_in_redis_provider_is_a_mistake_and_kept_secret(tmp_path: Path) -> None:
    (line,) = problems({}, {"REDIS_PROVIDER": URL}, tmp_path)

    assert "must hold the name of the variable" in line
    assert SECRET not in line


@pytest.mark.parametrize("field", ["queues", "processes", "timeout", "log_level", "preload", "config"])
def test_an_address_in_the_wrong_place_is_kept_secret(tmp_path: Path, field: str) -> None:
    assert SECRET not in "\n".join(problems({field: URL}, {}, tmp_path))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "redis://example.net:6379/3"),
        ("redis://:p@ss@h/0", "redis://h/0"),
        (f"unix:///r.sock?password={SECRET}", "unix:///r.sock"),
        ("embedded://data", "embedded://data"),
    ],
)
def test_the_public_address_has_no_password(url: str, shown: str) -> None:
    assert config.public_address(url) == shown


@pytest.mark.parametrize("line", [URL, f"to redis://:p w@{SECRET}@h", f"unix:///x?ssl_password={SECRET}&db=1"])
def test_no_line_keeps_a_password(line: str) -> None:
    assert SECRET not in config.without_password(line)
    assert "***" in config.without_password(line)
