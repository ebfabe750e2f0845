"""An echo server on Python's `websockets`, with the event loop its users take for speed."""

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    """Send every message back until the connection ends."""
    async for message in connection:
        await connection.send(message)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    async with serve(echo, "127.0.0.1", port, compression=None, backlog=4096):
        print(f"listening on ws://127.0.0.1:{port}", flush=True)
        await asyncio.Future()


uvloop.run(main(int(sys.argv[1])))
