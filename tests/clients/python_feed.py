"""Watches the feed of the admin listener with Python's `websockets` client.

Usage: python_feed.py HOST:PORT [TOKEN]. Prints one JSON object: which checks passed, which failed
and why.
"""

import asyncio
import json
import sys

import websockets
from websockets.asyncio.client import connect

CHECK_SECONDS = 30


def expect(received, expected):
    if received != expected:
        raise AssertionError(f"received {received!r}, expected {expected!r}")


class Feed:
    def __init__(self, server, token):
        self.url = f"ws://{server}/api/feed"
        self.token = token

    def connect(self, token=None):
        """As a program connects: with a header."""
        token = token or self.token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return connect(self.url, additional_headers=headers, compression="deflate")

    async def overviews_come(self):
        async with self.connect() as socket:
            expect(socket.subprotocol, None)
            overviews = [json.loads(await socket.recv()) for _ in range(3)]
        expect([overview["state"] for overview in overviews], ["serving"] * 3)
        times = [overview["uptimeSeconds"] for overview in overviews]
        expect(times, sorted(times))

    async def ping_is_answered(self):
        async with self.connect() as socket:
            await (await socket.ping(b"there?"))

    async def closes(self):
        async with self.connect() as socket:
            await socket.close(3000, "bis später")
            expect(socket.protocol.close_rcvd.code, 3000)

    async def wrong_token_is_refused(self):
        try:
            async with self.connect("wrong"):
                status = 101
        except websockets.InvalidStatus as refusal:
            status = refusal.response.status_code
        expect(status, 401 if self.token else 101)


async def main(server, token=""):
    verdict = {"passed": [], "failed": {}}
    feed = Feed(server, token)
    for name, work in {
        "an overview every second": feed.overviews_come,
        "a ping is answered": feed.ping_is_answered,
        "close 3000 with a reason": feed.closes,
        "a wrong token": feed.wrong_token_is_refused,
    }.items():
        try:
            await asyncio.wait_for(work(), CHECK_SECONDS)
            verdict["passed"].append(name)
        except Exception as error:
            verdict["failed"][name] = repr(error)
    python = f"python {sys.version_info[0]}.{sys.version_info[1]}"
    print(json.dumps({"client": f"{python}, websockets {websockets.__version__}", **verdict}))


asyncio.run(main(*sys.argv[1:]))
