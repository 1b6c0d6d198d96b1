"""Addresses of Redis: those taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from forkworker import address
from forkworker.store.connection import make_pool

pytestmark = pytest.mark.unit

SECRET = "hunter2"


def problems(url: str) -> list[str]:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its arguments are judged
        address.read(url)
    return list(caught.value.args)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://localhost",
        "redis://localhost/",
        "redis://[::1]:6379/15",
        "redis://user:p%40ss@h/0?client_name=shop&db=3",
        "redis://user:p%2Fss%3F%23@h/0",
        "rediss://:pw@h:1/0?ssl_cert_reqs=none&ssl_check_hostname=False&ssl_ca_certs=/etc/ca.pem",
        "unix:///run/redis.sock?db=1",
        "unix://user:pw@/run/redis.sock",
        "unix:///srv/my folder/redis.sock",
        "embedded://data",
        "embedded:///srv/what?/#1",
    ],
)
def test_good_addresses_pass_unchanged(url: str) -> None:
    assert address.read(f" {url}\n") == url
    make_pool(url).make_connection()


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_every_option_taken_is_one_that_the_client_knows(scheme: str) -> None:
    right = {"db": "1", "ssl_cert_reqs": "none", "ssl_check_hostname": "false"}
    for name in address.OPTIONS[scheme]:
        url = f"{scheme}:///0?{name}={right.get(name, 'x')}"
        assert address.read(url) == url
        make_pool(url).make_connection()


def test_every_option_taken_is_told_in_the_documents() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    assert [name for names in address.OPTIONS.values() for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "is not a URL: it must begin with one of redis://, rediss://, unix://, embedded://"),
        ("localhost:6379", "is not a URL"),
        (f":{SECRET}@localhost", "is not a URL"),
        (f"redis+sentinel://:{SECRET}@h", "begins with redis+sentinel://, which is not known: use one of redis://"),
        (f"redis://u:{SECRET}@h:port/0", "has a host or port that cannot be read"),
        (f"redis://u:{SECRET}@h:65536/0", "has a host or port that cannot be read"),
        (f"redis://u:{SECRET}/x@h/0", "has a host or port that cannot be read"),
        (f"redis://u:{SECRET}@h:0/0", "has the port 0"),
        (f"redis://u:{SECRET}@a b/0", "has a space in it"),
        (f"redis://u:{SECRET}@h/0#{SECRET}", "has a # in it"),
        (f"redis://u:{SECRET}@h\n/0", "has a control character in it"),
        (f"redis://u:{SECRET}@h/name", "must end with the number of a database"),
        ("redis:///run/redis.sock", "that of a socket is unix:///PATH"),
        ("unix://", "unix:// names no socket"),
        ("unix:///", "unix:// names no socket"),
        (f"unix://u:{SECRET}@?db=1", "unix:// names no socket"),
        ("unix://redis.sock", "unix:// needs the whole path of the socket: three slashes"),
        ("unix://./redis.sock", "unix:// needs the whole path of the socket"),
        ("embedded://", "embedded:// names no folder"),
        ("redis://h/0?socket_timeout=1", "has an option, 'socket_timeout', which is not supported: there are db"),
        ("redis://h/0?databse=1", "which is not supported: there are db, username, password, client_name"),
        ("redis://h/0?user=x", "did you mean username?"),
        (f"redis://h/0?{SECRET}%26=1", "has an option, that, which is not supported"),
        ("redis://h/0?ssl_cert_reqs=none", "has the option ssl_cert_reqs, which is for rediss:// only"),
        ("redis://h/0?db=x", "has the option db, which must be a number"),
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", "which must be one of none, optional, required"),
        ("rediss://h/0?ssl_check_hostname=maybe", "which must be true or false"),
    ],
)
def test_a_wrong_address_is_explained_and_its_password_not_told(url: str, complaint: str) -> None:
    (line,) = problems(url)

    assert line.startswith("the Redis address ")
    assert complaint in line
    assert SECRET not in line


def test_all_that_is_wrong_with_an_address_is_told_at_once() -> None:
    assert len(problems("redis://a b/name?retry_on_timeout=1&db=x")) == 4
