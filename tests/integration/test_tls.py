"""Redis over TLS: all works as without it, and who cannot prove who it is gets nothing, on either side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.shell import shell
from support.tls import Authority, Certificate, TlsServer
from support.tour import QUEUES, Tour

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.daemon import Daemon
    from support.records import Records

    MakeDaemon = Callable[..., Daemon]

pytestmark = pytest.mark.integration

PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def test_a_tree_does_all_of_its_work_over_tls(daemon: MakeDaemon, authority: Authority, records: Records) -> None:
    ours = authority.issue("client", password="of the key")
    with TlsServer(authority.issue("server"), authority, asks_clients=True) as server:
        url = server.address(f"ssl_ca_certs={authority.file}", ours.options, "ssl_password=of%20the%20key")
        tree = daemon(
            url=url, client=server.client(), queues=QUEUES, lease=5, arguments=["--health", "unix:health.sock"]
        )
        Tour(tree, server.client(), records).go()


# Who cannot prove who it is


@dataclass(frozen=True)
class Wrong:
    """A server that must not be trusted: its certificate, whom the client trusts, and why it is refused."""

    own: Callable[[Authority], Certificate]
    why: str
    trust: str = "ssl_ca_certs={ours}"


WRONG = {
    "of another host": Wrong(lambda ours: ours.issue("elsewhere", "DNS:elsewhere.example"), "Hostname mismatch"),
    "expired": Wrong(lambda ours: ours.issue("expired", days=-1), "certificate has expired"),
    "self-signed": Wrong(lambda ours: ours.self_signed("self-made"), "self-signed certificate"),
    "of another authority": Wrong(
        lambda ours: ours.issue("server"), "self-signed certificate in", "ssl_ca_certs={theirs}"
    ),
    "of an authority that nobody has named": Wrong(lambda ours: ours.issue("server"), "self-signed certificate in", ""),
}


def heard(server: TlsServer) -> set[str]:
    """Return the names of the commands that a server has got over TLS; what the tests ask does not count."""
    stats: dict[str, Any] = server.client().info("commandstats")
    return {name.removeprefix("cmdstat_") for name in stats} - {"info", "ping", "hello", "client|setinfo"}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_server_with_a_wrong_certificate_is_refused_and_hears_no_password(
    wrong: Wrong, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    with TlsServer(wrong.own(authority), authority) as server:
        trust = wrong.trust.format(ours=authority.file, theirs=stranger.file)

        done = shell(tmp_path, "queues", "--redis", server.address(trust, login=f"shop:{PASSWORD}@"))

        assert done.returncode == 1
        assert f"certificate verify failed: {wrong.why}" in done.stderr
        assert "Traceback" not in done.stderr
        assert heard(server) == set()


@pytest.mark.parametrize("option", ["ssl_check_hostname=false", "ssl_cert_reqs=none"])
def test_a_check_is_left_out_only_where_that_is_said(option: str, authority: Authority, tmp_path: Path) -> None:
    own = authority.issue("elsewhere", "DNS:elsewhere.example")
    with TlsServer(own, authority) as server:
        url = server.address(f"ssl_ca_certs={authority.file}", option)
        assert shell(tmp_path, "queues", "--redis", url).returncode == 0


def test_a_client_without_the_right_certificate_gets_no_answer(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    trust = f"ssl_ca_certs={authority.file}"
    with TlsServer(authority.issue("server"), authority, asks_clients=True) as server:
        for own in ((), (stranger.issue("client").options,)):
            done = shell(tmp_path, "queues", "--redis", server.address(trust, *own))
            assert done.returncode == 1
            assert "cannot be reached: " in done.stderr
            assert "Traceback" not in done.stderr
        assert heard(server) == set()
        assert (
            shell(tmp_path, "queues", "--redis", server.address(trust, authority.issue("client").options)).returncode
            == 0
        )


def test_a_tree_waits_for_a_server_that_it_can_trust(daemon: MakeDaemon, authority: Authority) -> None:
    """A certificate that has run out is an outage like another; Redis reads the new one when it is started again."""
    with TlsServer(authority.issue("soon", days=-1), authority) as server:
        url = server.address(f"ssl_ca_certs={authority.file}")
        tree = daemon(url=url, client=server.client(), children=1, ready=False)
        tree.wait_until(lambda: "Redis is away: " in tree.log(), 10)
        assert "certificate has expired" in tree.log()
        authority.issue("soon")
        server.restart()
        tree.wait_ready()
        tree.stop()
