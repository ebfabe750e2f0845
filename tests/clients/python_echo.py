"""Puts a WebSocket server to the test with Python's `websockets` client.

Usage: python_echo.py HOST:PORT. Prints one JSON object: which checks passed, which failed and why.
"""

import asyncio
import http.client
import json
import sys

import websockets
from websockets.asyncio.client import connect

CHECK_SECONDS = 30
MEBIBYTE = 1024 * 1024
# Characters of one, two, three and four bytes, to exactly 1 MiB.
LONG_TEXT = "aß語😀" * (MEBIBYTE // 10) + "filler"
MESSAGES = {
    "text": "Grüße, 世界 😀",
    "empty text": "",
    "empty binary": b"",
    "binary with every byte": bytes(range(256)),
    "1 MiB binary": bytes(range(256)) * (MEBIBYTE // 256),
    "1 MiB text": LONG_TEXT,
}


async def echoes(socket, message):
    await socket.send(message)
    expect(await socket.recv(), message)


async def echoes_fragments(socket, fragments):
    """Sends one message as one frame per fragment."""

    async def each():
        for fragment in fragments:
            yield fragment

    await socket.send(each())
    expect(await socket.recv(), type(fragments[0])().join(fragments))


async def answers_pings(socket):
    for payload in (b"", b"payload", bytes(range(125))):
        # Resolves only when a pong with this very payload arrives.
        await (await socket.ping(payload))


async def keeps_order(socket):
    messages = [f"message {number}" for number in range(200)]
    for message in messages:
        await socket.send(message)
    expect([await socket.recv() for _ in messages], messages)


async def closes(server, code, reason):
    async with connect(f"ws://{server}/echo") as socket:
        await socket.close(code, reason)
        received = socket.protocol.close_rcvd
        expect((received.code, received.reason), (code, reason))


async def echo_checks(verdict, server, compression, label):
    async with connect(f"ws://{server}/echo", compression=compression) as socket:
        for name, message in MESSAGES.items():
            await verdict.check(f"{name}, {label}", echoes(socket, message))
        fragments = ["frag", "men", "", "ted"]
        await verdict.check(f"fragmented text, {label}", echoes_fragments(socket, fragments))
        fragments = [bytes([number]) * 1000 for number in range(100)]
        await verdict.check(f"fragmented binary, {label}", echoes_fragments(socket, fragments))
        await verdict.check(f"pings, {label}", answers_pings(socket))
        await verdict.check(f"200 messages in order, {label}", keeps_order(socket))


async def selects_no_subprotocol(server):
    async with connect(f"ws://{server}/echo") as socket:
        expect(socket.subprotocol, None)


async def answers_http(server, path, status, text):
    def get():
        connection = http.client.HTTPConnection(server, timeout=CHECK_SECONDS)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()

    received_status, body = await asyncio.to_thread(get)
    expect(received_status, status)
    if text not in body:
        raise AssertionError(f"{text!r} is not in the body {body[:200]!r}")


class Verdict:
    """Which checks passed, and what went wrong in the others."""

    def __init__(self):
        self.passed = []
        self.failed = {}

    async def check(self, name, work):
        try:
            await asyncio.wait_for(work, CHECK_SECONDS)
            self.passed.append(name)
        except Exception as error:
            self.failed[name] = repr(error)


def expect(received, expected):
    if received != expected:
        raise AssertionError(f"received {excerpt(received)}, expected {excerpt(expected)}")


def excerpt(value):
    whole = repr(value)
    return whole if len(whole) <= 200 else f"{whole[:200]}… ({len(value)} long)"


async def main(server):
    verdict = Verdict()
    for compression, label in ((None, "no compression"), ("deflate", "compression offered")):
        # The whole connection is a check too: a refused upgrade is reported like any failure.
        checks = echo_checks(verdict, server, compression, label)
        await verdict.check(f"one connection, {label}", checks)
    await verdict.check("no subprotocol", selects_no_subprotocol(server))
    await verdict.check("close 1000", closes(server, 1000, ""))
    await verdict.check("close 3000 with a reason", closes(server, 3000, "bis später"))
    await verdict.check("GET /", answers_http(server, "/", 200, "WebSocket server running"))
    await verdict.check("GET /healthz", answers_http(server, "/healthz", 200, "ok"))
    await verdict.check("GET unknown path", answers_http(server, "/no-such-page", 404, ""))
    client = f"python {sys.version_info[0]}.{sys.version_info[1]}, websockets {websockets.__version__}"
    print(json.dumps({"client": client, "passed": verdict.passed, "failed": verdict.failed}))


asyncio.run(main(sys.argv[1]))
