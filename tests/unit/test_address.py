"""Addresses of Redis: those taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from forkworker import address, config
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
        "redis+sentinel://a/shop",
        "redis+sentinel://user:p%40ss@a:1,b:2,[::1]:3/shop.main-1/15?client_name=x&wait_replicas=2",
        "rediss+sentinel://a,b,c/shop/?db=3&sentinel_username=s&sentinel_password=p%26w&ssl_cert_reqs=none",
        "redis://h/0?wait_replicas=1",
        "embedded://data",
        "embedded:///srv/what?/#1",
    ],
)
def test_good_addresses_pass_unchanged(url: str) -> None:
    assert address.read(f" {url}\n") == url
    make_pool(url).make_connection()


@pytest.mark.parametrize("scheme", [scheme for scheme in address.SCHEMES if scheme != "embedded"])
def test_every_option_taken_is_one_that_the_client_knows(scheme: str) -> None:
    right = {"db": "1", "ssl_cert_reqs": "none", "ssl_check_hostname": "false", "wait_replicas": "1"}
    place = "h/shop" if scheme in address.SENTINEL_SCHEMES else "/0"
    for name in address.OPTIONS[scheme]:
        url = f"{scheme}://{place}?{name}={right.get(name, 'x')}"
        assert address.read(url) == url
        make_pool(url).make_connection()


def test_every_option_taken_is_told_in_the_documents() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    assert [name for names in address.OPTIONS.values() for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", f"is not a URL: it must begin with one of {', '.join(f'{scheme}://' for scheme in address.SCHEMES)}"),
        ("localhost:6379", "is not a URL"),
        (f":{SECRET}@localhost", "is not a URL"),
        (f"redis+cluster://:{SECRET}@h", "begins with redis+cluster://, which is not known: use one of redis://"),
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
        ("redis://h/0?ssl_cert_reqs=none", "option ssl_cert_reqs, which is for rediss:// and rediss+sentinel:// only"),
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
    assert len(problems("redis+sentinel://a:x/0?sentinel=1&db=x&wait_replicas=x")) == 5


def test_an_address_with_sentinels_is_taken_apart() -> None:
    url = "redis+sentinel://u:p%40s@a,b:7,[::1]:8/shop/5?sentinel_password=s%26&client_name=x&wait_replicas=1"
    assert address.group(url) == address.Group(
        sentinels=(("a", address.SENTINEL_PORT), ("b", 7), ("::1", 8)),
        service="shop",
        master="redis://u:p%40s@/5?client_name=x&wait_replicas=1",
    )
    assert address.group("rediss+sentinel://a/b").master == "rediss:///"


def test_user_and_password_are_for_redis_and_those_of_the_options_for_the_sentinels() -> None:
    url = "rediss+sentinel://u:p%40s@a:1,b/shop/5?sentinel_username=v&sentinel_password=s%26&ssl_cert_reqs=none"
    pool = make_pool(url)
    master = pool.make_connection()
    assert (master.username, master.password, master.db) == ("u", "p@s", 5)
    clients = pool.connection_kwargs["sentinels"]._own_clients().values()
    for client, place in zip(clients, (("a", 1), ("b", address.SENTINEL_PORT)), strict=True):
        sentinel = client.connection_pool.make_connection()
        assert (sentinel.host, sentinel.port) == place
        assert (sentinel.username, sentinel.password, sentinel.db) == ("v", "s&", 0)
        assert sentinel.cert_reqs == master.cert_reqs


@pytest.mark.parametrize("scheme", address.SENTINEL_SCHEMES)
def test_nothing_that_may_be_printed_shows_a_password(scheme: str) -> None:
    url = f"{scheme}://u:{SECRET}@h/shop/0?sentinel_password={SECRET}"
    pool = make_pool(url)
    sentinels = pool.connection_kwargs["sentinels"]
    shown = f"{pool!r} {pool.make_connection()!r} {sentinels!r} {config.public_address(url)}"
    assert SECRET not in shown
    assert SECRET not in config.without_password(f"Redis at {url} is away")
