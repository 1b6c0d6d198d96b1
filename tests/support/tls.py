"""Certificates, and a Redis that speaks TLS.  Runs in the test process; needs the program openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.servers import RedisServer, free_port, server_binary
from support.tools import lack, tool

if TYPE_CHECKING:
    from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@dataclass(frozen=True)
class Certificate:
    """A certificate's file, and its key's."""

    file: str
    key: str

    @property
    def options(self) -> str:
        """How an address names it, as a client's own."""
        return f"ssl_certfile={self.file}&ssl_keyfile={self.key}"


class Authority:
    """Issues certificates in a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self.certificate = self.self_signed(name)

    @property
    def file(self) -> str:
        """What those have who trust it."""
        return self.certificate.file

    def self_signed(self, name: str, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificate:
        """Make one that nobody has signed but itself."""
        made = self._named(name)
        _openssl("req", "-x509", *_KEY, "-nodes", "-keyout", made.key, "-out", made.file, "-days", "2",
                 "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")  # fmt: skip
        return made

    def issue(
        self, name: str, names: str = "DNS:localhost,IP:127.0.0.1", *, days: int = 2, password: str = ""
    ) -> Certificate:
        """Make one for these names; days that are negative are over."""
        made, request = self._named(name), str(self._folder / f"{name}.csr")
        protected = ("-passout", f"pass:{password}") if password else ("-nodes",)
        _openssl("req", *_KEY, *protected, "-keyout", made.key, "-out", request,
                 "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")  # fmt: skip
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate.file, "-CAkey", self.certificate.key,
                 "-CAcreateserial", "-days", str(days), "-copy_extensions", "copy", "-out", made.file)  # fmt: skip
        return made

    def _named(self, name: str) -> Certificate:
        return Certificate(str(self._folder / f"{name}.crt"), str(self._folder / f"{name}.key"))


def _openssl(*words: str) -> None:
    line = [tool("openssl", "openssl"), *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def _speaks_tls() -> bool:
    """Whether the server was built with TLS: then it ends because it misses a certificate."""
    line = [server_binary(), "--port", "0", "--tls-port", "1"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    return "No tls-cert-file configured" in done.stdout


class TlsServer(RedisServer):
    """A Redis with a TLS port; the tests' own client comes by its Unix socket."""

    def __init__(self, own: Certificate, authority: Authority, *, asks_clients: bool = False) -> None:
        if not _speaks_tls():
            lack(f"{server_binary()} was built without TLS: apt install redis-server")
        self.tls_port = free_port()
        files = ["--tls-cert-file", own.file, "--tls-key-file", own.key, "--tls-ca-cert-file", authority.file]
        asks = ["--tls-auth-clients", "yes" if asks_clients else "no"]
        super().__init__(durable=True, config=["--tls-port", str(self.tls_port), *files, *asks])

    def address(self, *options: str, host: str = "localhost", login: str = "") -> str:
        """Return its TLS address."""
        return f"rediss://{login}{host}:{self.tls_port}/0?{'&'.join(options)}"
