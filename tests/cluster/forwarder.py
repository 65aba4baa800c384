"""Connects pods to the API server, which listens on loopback only: `python -m tests.cluster.forwarder ADDRESS PORT`.

It listens at port 443 of the address, which the machine has while there is a pod with a network of its own, and which
nobody but these pods has a route to.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

# linux/in.h; Python has no name for it before 3.13: bind to an address that the machine does not have yet.
IP_FREEBIND = 15
SERVICE_PORT = 443
CHUNK = 1 << 16


async def main(address: str, port: int) -> None:
    """Forward connections until killed."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            others = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_copy(reader, others[1]), _copy(others[0], writer))

    listener = _listen(address)
    server = await asyncio.start_server(connect, sock=listener, limit=CHUNK)
    await server.serve_forever()


def _listen(address: str) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    listener.bind((address, SERVICE_PORT))
    return listener


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction until its end, and end the other side then."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    # A client that is gone must not leave a watch open, and a server that restarts must be seen at once.
    writer.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
