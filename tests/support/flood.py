"""An attack on the admission port, as a process of its own: what any pod of a cluster can do without credentials.

``python -m tests.support.flood PORT BODY_FILE SECONDS`` opens connections from several loopback addresses: such that
sent one request each and stay open, such that begin no handshake, slow headers, slow bodies, and many small requests.
Whatever the server closes is opened again. It prints ``flooding`` when 2,000 connections have sent their request, and
at the end what it did, as JSON.
"""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

ONCE_USED: Final = 2000
SLOW: Final = 100
SILENT: Final = 200
ADDRESSES: Final = 8
OPENERS: Final = 8

_TICK_SECONDS: Final = 0.5
# Processor time is left to those who open connections, and to the API server, which shares the machine with the flood.
_PAUSE_SECONDS: Final = 0.01
_TIMEOUT_SECONDS: Final = 10.0


class Flood:
    """The connections, and what came of them."""

    def __init__(self, port: int, body: bytes, seconds: float) -> None:
        """Take the port, a review, and how long to go on."""
        self.done: Counter[str] = Counter()
        self._port = port
        head = "POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self._head = head.encode()
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._slow_body = f"{head}Content-Length: {2**20}\r\n\r\n".encode() + b" " * 1024
        self._end = time.monotonic() + seconds
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE
        self._lock = threading.Lock()
        self._addresses = itertools.cycle(f"127.0.0.{2 + number}" for number in range(ADDRESSES))
        self.is_flooding = threading.Event()

    def run(self) -> None:
        """Flood until the end."""
        works = (
            *[self._use_once] * OPENERS,
            self._stay_silent,
            self._send_headers,
            self._send_bodies,
            *[self._ask_often] * 4,
        )
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        if self.is_flooding.wait(self._end - time.monotonic()):
            print("flooding", flush=True)  # noqa: T201 - the protocol with the test
        for thread in threads:
            thread.join()
        print(json.dumps(self.done))  # noqa: T201 - the protocol with the test

    @property
    def _goes_on(self) -> bool:
        return time.monotonic() < self._end

    def _open(self) -> socket.socket:
        with self._lock:
            address = next(self._addresses)
        return socket.create_connection(("127.0.0.1", self._port), _TIMEOUT_SECONDS, (address, 0))

    def _open_tls(self) -> ssl.SSLSocket:
        raw = self._open()
        try:
            return self._tls.wrap_socket(raw)
        except OSError:
            raw.close()
            raise

    def _count(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1

    def _use_once(self) -> None:
        """Hold connections that sent one request each; the oldest gives way to a new one."""
        share = ONCE_USED // OPENERS
        held: list[ssl.SSLSocket | None] = [None] * share
        for number in itertools.count():
            if not self._goes_on:
                return
            former = held[number % share]
            if former is not None:
                former.close()
                held[number % share] = None
            with suppress(OSError):
                connection = self._open_tls()
                held[number % share] = connection
                connection.sendall(self._request)
                if connection.recv(65536).startswith(b"HTTP/1.1 200"):
                    self._count("used once")
                    if self.done["used once"] >= ONCE_USED:
                        self.is_flooding.set()

    def _stay_silent(self) -> None:
        """Hold connections that begin no handshake."""
        held: list[socket.socket] = []
        while self._goes_on:
            with suppress(OSError):
                held.append(self._open())
                self._count("silent")
            if len(held) > SILENT:
                held.pop(0).close()
            time.sleep(_TICK_SECONDS / 10)

    def _send_headers(self) -> None:
        self._drip(self._head, b"X-A: b\r\n", "slow headers")

    def _send_bodies(self) -> None:
        self._drip(self._slow_body, b" ", "slow bodies")

    def _drip(self, begin: bytes, drop: bytes, what: str) -> None:
        """Send requests little by little over many connections; one that ended gives way to a new one."""
        held: list[ssl.SSLSocket] = []
        while self._goes_on:
            with suppress(OSError):
                while len(held) < SLOW and self._goes_on:
                    connection = self._open_tls()
                    held.append(connection)
                    connection.sendall(begin)
                    self._count(what)
            for connection in [*held]:
                try:
                    connection.sendall(drop)
                except OSError:
                    held.remove(connection)
                    connection.close()
            time.sleep(_TICK_SECONDS)

    def _ask_often(self) -> None:
        """Send one small request after the other."""
        while self._goes_on:
            with suppress(OSError), self._open_tls() as connection:
                while self._goes_on:
                    connection.sendall(self._request)
                    if not connection.recv(65536):
                        break
                    self._count("small requests")
                    time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    Flood(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), float(sys.argv[3])).run()
