"""A broadcast server on Python's `websockets`: every message to every connection."""

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

members: set[ServerConnection] = set()


async def share(connection: ServerConnection) -> None:
    """Send every message to all members, the sender too, until the connection ends."""
    members.add(connection)
    try:
        async for message in connection:
            broadcast(members, message)
    finally:
        members.discard(connection)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    async with serve(share, "127.0.0.1", port, compression=None, backlog=4096):
        print(f"listening on ws://127.0.0.1:{port}", flush=True)
        await asyncio.Future()


uvloop.run(main(int(sys.argv[1])))
