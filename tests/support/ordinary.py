"""A sample job that does what ordinary jobs do, to be run where much is forbidden.  Runs in the children."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zoneinfo import ZoneInfo

import forkworker
from support.jobs import noted


@forkworker.job(name="ordinary")
def ordinary(folder: str) -> None:
    """Do them one after the other; the first that is forbidden fails the job."""
    with noted():
        subprocess.run(["sh", "-c", "ps > /dev/null || true"], check=True)
        subprocess.run([sys.executable, "-c", "import ssl"], check=True)
        with tempfile.TemporaryDirectory() as temporary:
            Path(temporary, "file").write_text("x")
        with sqlite3.connect(Path(folder, "database")) as database:
            database.execute("CREATE TABLE IF NOT EXISTS sold (article TEXT)")
        socket.getaddrinfo("localhost", 80)
        ssl.create_default_context()
        ZoneInfo("UTC")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(os.stat, ["/etc/passwd"]))
        with multiprocessing.Lock():
            asyncio.run(asyncio.sleep(0))
        compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
        numbers = (ctypes.c_int * 3)(3, 1, 2)
        ctypes.CDLL(None).qsort(numbers, 3, ctypes.sizeof(ctypes.c_int), compare(lambda a, b: a[0] - b[0]))
        logging.getLogger("shop").warning("an ordinary line")
