"""Checks that every peer, or those named as arguments, does what it is measured for.

Needs the `websockets` package; the Python peers' environment, which `run` creates, has it:
    .deps/peers-python/bin/python benches/peers/verify.py
"""

import asyncio
import signal
import socket
import sys
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

HERE = Path(__file__).parent
PEERS = [
    "fastws-echo",
    "fastws-broadcast",
    "tungstenite-echo",
    "tungstenite-broadcast",
    "bun-echo",
    "bun-broadcast",
    "node-echo",
    "node-broadcast",
    "python-echo",
    "python-broadcast",
]
MESSAGES: list[str | bytes] = ["", "héllo", b"\x00\xff", "t" * 65_536, bytes(range(256)) * 256]
PREPARE_SECONDS = 600
ANSWER_SECONDS = 10


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def check_echo(url: str) -> None:
    """Each message comes back alone, with its type, from any path; pings are answered."""
    async with connect(url + "/any/path", compression=None) as client:
        assert not client.response.headers.get("Sec-WebSocket-Extensions")
        for message in MESSAGES:
            await client.send(message)
            assert await client.recv() == message
        await client.send(["frag", "men", "ted"])
        assert await client.recv() == "fragmented"
        await (await client.ping(b"there?"))
    assert client.close_code == 1000, client.close_code


async def check_broadcast(url: str) -> None:
    """Each message reaches all connections, the sender's too, once and in order."""
    clients: list[ClientConnection] = [await connect(url, compression=None) for _ in range(3)]
    for message in MESSAGES:
        for sender in clients:
            await sender.send(message)
            for receiver in clients:
                assert await receiver.recv() == message
    # Pipelined: what one connection sends arrives everywhere in its order.
    for number in range(1_000):
        await clients[0].send(str(number))
    for receiver in clients:
        assert [await receiver.recv() for _ in range(1_000)] == [str(n) for n in range(1_000)]
    # The end of one connection is no concern of the others.
    gone = clients.pop()
    await gone.close()
    assert gone.close_code == 1000, gone.close_code
    await clients[0].send("still here")
    for receiver in clients:
        assert await receiver.recv() == "still here"
        await (await receiver.ping(b"there?"))
        await receiver.close()


async def check(name: str) -> None:
    """Start the peer, check its behaviour, and end it by SIGTERM."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    peer = await asyncio.create_subprocess_exec(
        HERE / "run", name, str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PREPARE_SECONDS):
            assert await peer.stdout.readline() == f"listening on {url}\n".encode()
        command = Path(f"/proc/{peer.pid}/comm").read_text().strip()
        assert command != "bash", "the pid must be the server's own"
        async with asyncio.timeout(ANSWER_SECONDS):
            await (check_echo(url) if name.endswith("-echo") else check_broadcast(url))
            # Even with a client that stays.
            async with connect(url, compression=None):
                peer.send_signal(signal.SIGTERM)
                await peer.wait()
    finally:
        if peer.returncode is None:
            peer.kill()
            await peer.wait()
    print(f"{name}: ok")


async def main(names: list[str]) -> None:
    """Check one peer after the other; the first failure ends the run."""
    for name in names:
        await check(name)


asyncio.run(main(sys.argv[1:] or PEERS))
