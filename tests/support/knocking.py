"""Asking a tree at its health address, as a probe would.  Runs in the test process."""

from __future__ import annotations

import socket


def knock(address: str, seconds: float = 5) -> socket.socket:
    """Connect to ``HOST:PORT`` or ``unix:/PATH``."""
    if address.startswith("unix:"):
        end = socket.socket(socket.AF_UNIX)
        end.settimeout(seconds)
        try:
            end.connect(address[5:])
        except OSError:
            end.close()
            raise
        return end
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), seconds)


def read(end: socket.socket) -> bytes:
    """Read until the other side hangs up."""
    answer = b""
    while part := end.recv(65536):
        answer += part
    return answer


def ask(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    """Return status and body; 0 and the reason if nobody answers."""
    try:
        with knock(address) as end:
            end.sendall(f"{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            head, _, body = read(end).partition(b"\r\n\r\n")
    except OSError as error:
        return 0, str(error)
    return int(head.split()[1]), body.decode()
