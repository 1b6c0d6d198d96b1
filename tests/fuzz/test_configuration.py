"""Flags, variables, files and addresses of any kind: settings, or lines that say what is wrong, without a password."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forkworker import address, config
from forkworker.cli.main import main
from forkworker.config import public_address, without_password
from forkworker.errors import ConfigurationError
from forkworker.settings import Settings
from forkworker.store.connection import make_pool
from fuzz.hostile import fuzzed, texts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

SECRET = "hunter2"
FIELDS = [option.field for option in (config.CONFIG, *config.OPTIONS)]
OTHERS = ("REDIS_PROVIDER", "REDIS_URL", "FORKWORKER_PROCESES", "DYNO", "PWD")
VARIABLES = [option.variable for option in (config.CONFIG, *config.OPTIONS)]

NEAR = [
    "1",
    "0",
    "-1",
    "4",
    "1e3",
    "nan",
    "inf",
    "yes",
    "TRUE",
    "200M",
    "1.5GiB",
    "info",
    "json",
    "٣",
    "a,b",
    ",",
    "high,6:low",
    "redis://h/0",
    "unix:///s",
    "embedded://d",
    ":9100",
    "[::1]:80",
    "unix:/x",
    "shop:app",
]
near = st.sampled_from([*NEAR, "high,6 low", "1" * 400])
values_of_any_kind = st.one_of(near, texts, st.lists(st.one_of(near, texts), max_size=3))


def toml_text(text: str) -> str:
    """Return any text as TOML has it; half a surrogate pair it has not."""
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text if not 0xD800 <= ord(c) < 0xE000) + '"'


toml_values = st.recursive(
    st.one_of(
        st.booleans().map(lambda yes: str(yes).lower()),
        st.integers(-(2**63), 2**63 - 1).map(str),
        st.sampled_from(("inf", "nan", "1e400", "-0.0", "1979-05-27", "07:32:00", "0xff", "''", "'''\n'''")),
        st.one_of(near, texts).map(toml_text),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(inner, max_size=2).map(
            lambda items: "{" + ", ".join(f"k{i} = {v}" for i, v in enumerate(items)) + "}"
        ),
    ),
    max_leaves=5,
)
KEYS = [*config.KEYS, "log", "redis", "environment", "environment.p", "environment.p.processes", "x", "'a b'"]
tomls = st.one_of(
    st.lists(st.tuples(st.sampled_from(KEYS), toml_values), max_size=5).map(
        lambda rows: "".join(f"{key} = {value}\n" for key, value in rows)
    ),
    texts,
    st.binary(max_size=100),
)


def check(lines: list[str]) -> None:
    assert lines
    assert SECRET not in "".join(lines)


@fuzzed()
@given(
    st.dictionaries(st.sampled_from(FIELDS), values_of_any_kind, max_size=4),
    st.dictionaries(
        st.one_of(st.sampled_from([*VARIABLES, *OTHERS]), texts),
        st.one_of(near, texts),
        max_size=4,
    ),
    tomls,
)
def test_sources_of_any_kind_are_settings_or_lines(
    tmp_path_factory: pytest.TempPathFactory, flags: dict[str, Any], environ: dict[str, str], text: str | bytes
) -> None:
    folder = folder_of(tmp_path_factory)
    (folder / "forkworker.toml").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        settings = config.load(flags, environ, folder)
    except ConfigurationError as error:
        check(error.problems)
        return
    assert settings.problems() == []
    assert Settings.from_dict(settings.to_dict()) == settings
    assert settings.tag.isprintable()


_folders: dict[str, Path] = {}


def folder_of(factory: pytest.TempPathFactory) -> Path:
    """Return one folder for all examples."""
    if "it" not in _folders:
        _folders["it"] = factory.mktemp("fuzz")
    return _folders["it"]


# Addresses

PARTS = [
    "redis",
    "rediss",
    "unix",
    "embedded",
    "://",
    ":",
    "/",
    "@",
    "?",
    "#",
    "[",
    "]",
    "&",
    "=",
    "localhost",
    "h",
    "6379",
    "0",
    "db",
    "username",
    "password",
    "ssl_cert_reqs",
    "none",
    "%40",
    "%",
    "%zz",
    "\\",
]
parts = st.one_of(st.sampled_from(PARTS), texts)


@st.composite
def logins(draw: st.DrawFn) -> str:
    """Draw an address with a password."""
    scheme = draw(st.sampled_from(("redis", "rediss", "unix", "embedded", "REDIS", "http")))
    host = draw(st.one_of(st.sampled_from(("h", "127.0.0.1", "[::1]", "")), texts))
    port, path = (draw(st.one_of(st.sampled_from(some), texts)) for some in (("6379", "0", ""), ("0", "15", "x", "")))
    query = "".join(draw(st.lists(parts, max_size=4)))
    return f"{scheme}://{draw(texts)}:{SECRET}{draw(texts)}@{host}:{port}/{path}?{query}"


addresses = st.one_of(st.lists(parts, max_size=12).map("".join), logins())


@fuzzed()
@given(addresses)
@example(f"redis://:{SECRET}/@h/0")
@example(f"redis://h/0?password={SECRET}&x")
@example(f"redis:/u:{SECRET}@h")
def test_an_address_is_taken_or_refused_in_words_that_do_not_repeat_it(text: str) -> None:
    try:
        read = address.read(text)
    except ValueError as error:
        check([str(line) for line in error.args])
        return
    if read.startswith("embedded"):
        return
    assert SECRET not in public_address(read) or SECRET in text.partition("@")[2]
    make_pool(read).make_connection()


@fuzzed()
@given(texts, texts, st.sampled_from(("redis", "rediss", "unix", "embedded")))
def test_a_password_before_a_host_is_in_no_line(before: str, behind: str, scheme: str) -> None:
    line = f"{before}{scheme}://user:{SECRET}@host{behind}"
    assert SECRET not in without_password(line)


@fuzzed()
@given(st.one_of(near, texts))
def test_every_reader_reads_or_refuses_any_text(text: str) -> None:
    for kind in (option.kind for option in config.OPTIONS):
        for read in (kind.from_text, kind.from_toml):
            with contextlib.suppress(ValueError):
                read(text)


# The command line

WORDS = [
    "check",
    "status",
    "stop",
    "queues",
    "jobs",
    "list",
    "dead",
    "retry",
    "processes",
    "pause",
    "doctor",
    "systemd-unit",
    "health",
    "stacks",
    "quiet",
    "resume",
    "--all",
    "--json",
    "--redis",
    "-q",
    "-P",
    "2",
    "--pidfile",
    "--control",
    "--pid",
    "/nowhere/x.sock",
    "1",
    "--since",
    "10m",
    "--count",
    "--",
    "-",
    "--help",
    "--child",
    "--yes",
    "--clear",
]
arguments = st.one_of(st.sampled_from(WORDS), texts.filter(lambda text: "\0" not in text))


@fuzzed(0.3)
@given(st.lists(arguments, min_size=1, max_size=6))
def test_a_command_line_ends_with_a_code_and_lines_that_do_nothing(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    folder = folder_of(tmp_path_factory)
    if not {"run", "quickstart", "bench", "--watch"}.isdisjoint(words):
        return
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("FORKWORKER_REDIS_URL", "redis://127.0.0.1:1")
        (folder / "forkworker.toml").write_text("")
        code = main(words)
    assert code in (0, 1, 2, 78)
    for line in err.getvalue().split("\n"):
        assert line.isprintable(), line
    assert code == 0 or err.getvalue() or out.getvalue()
