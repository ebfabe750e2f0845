"""Puts a WebSocket server to the test with Python's `websockets` client.

Usage: python_echo.py URL [COMPRESSION [MEBIBYTES]]. The URL is one of ws: or wss:, without a path;
SSL_CERT_FILE names the authority that vouches for the server. COMPRESSION is what the server was told:
`off`, `shared` (as it does by itself) or `dedicated`. MEBIBYTES is the size of the largest message.
Prints one JSON object: which checks passed, which failed and why.
"""

import asyncio
import json
import sys
import urllib.error
import urllib.request

import websockets
from websockets.asyncio.client import connect as connect_to
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

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
# As long as half of the largest window, and not like itself: said twice, it refers to far before.
VARIED_TEXT = " ".join(str(number * 7919 % 10007) for number in range(3000))
# Where the form of a length changes.
SIZES = (0, 1, 125, 126, 65535, 65536)
# Offers, and what the server answers to them in each of its manners.
OFFERS = {
    "as by itself": (
        {"server_max_window_bits": 12, "client_max_window_bits": 12},
        "server_max_window_bits=12; client_max_window_bits=12",
    ),
    "no server takeover": (
        {"server_no_context_takeover": True, "client_max_window_bits": 12},
        "server_no_context_takeover; client_max_window_bits=12",
    ),
    "no client takeover": (
        {"client_no_context_takeover": True},
        "client_no_context_takeover; client_max_window_bits=12",
    ),
    "small windows": (
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
        "server_max_window_bits=9; client_max_window_bits=9",
    ),
}


def connect(url, **options):
    """A connection on which messages may be of any size."""
    return connect_to(f"{url}/echo", max_size=None, **options)


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


async def echoes_sizes(socket):
    """Text and binary, each unlike the one before and, in the second round, like one of the first."""
    for turn in (0, 1):
        for size in SIZES:
            text = f"{turn}, größer und größer " * (size // 20 + 1)
            await echoes(socket, text.encode()[:size])
            await echoes(socket, text[:size])
            await echoes_fragments(socket, [text[: size // 3], text[size // 3 : size]])


async def takes_offer(server, offer, answer, mode):
    """All that is offered is answered; what the server never does with it is told beside it."""
    factory = ClientPerMessageDeflateFactory(**offer)
    async with connect(server, compression=None, extensions=[factory]) as socket:
        expect(parameters(socket), None if mode == "off" else settled(answer, mode))
        await echoes_sizes(socket)
        for message in (VARIED_TEXT, VARIED_TEXT.encode(), VARIED_TEXT[::-1], VARIED_TEXT):
            await echoes(socket, message)


def parameters(socket):
    """What the server has granted."""
    fields = socket.response.headers.get_all("Sec-WebSocket-Extensions")
    expect(len(fields), len(socket.protocol.extensions))
    name, *rest = fields[0].split("; ") if fields else [None]
    if name not in (None, "permessage-deflate"):
        raise AssertionError(f"{name} was not offered")
    return sorted(rest) if name else None


def settled(answer, mode):
    found = set(answer.split("; "))
    if mode == "shared":
        found |= {"server_no_context_takeover", "client_no_context_takeover"}
    return sorted(found)


async def closes(server, code, reason):
    async with connect(server) as socket:
        await socket.close(code, reason)
        received = socket.protocol.close_rcvd
        expect((received.code, received.reason), (code, reason))


async def echo_checks(verdict, server, compression, label, mode, largest):
    async with connect(server, compression=compression) as socket:
        is_compressed = parameters(socket) is not None
        expect(is_compressed, compression is not None and mode != "off")
        for name, message in MESSAGES.items():
            await verdict.check(f"{name}, {label}", echoes(socket, message))
        fragments = ["frag", "men", "", "ted"]
        await verdict.check(f"fragmented text, {label}", echoes_fragments(socket, fragments))
        fragments = [bytes([number]) * 1000 for number in range(100)]
        await verdict.check(f"fragmented binary, {label}", echoes_fragments(socket, fragments))
        await verdict.check(f"pings, {label}", answers_pings(socket))
        await verdict.check(f"200 messages in order, {label}", keeps_order(socket))
        await verdict.check(f"sizes, {label}", echoes_sizes(socket))
        await verdict.check(f"the largest, {label}", echoes(socket, MESSAGES["1 MiB binary"] * largest))


async def selects_no_subprotocol(server):
    async with connect(server) as socket:
        expect(socket.subprotocol, None)


async def answers_http(server, path, status, text):
    def get():
        url = server.replace("ws", "http", 1) + path
        try:
            response = urllib.request.urlopen(url, timeout=CHECK_SECONDS)
        except urllib.error.HTTPError as refusal:
            response = refusal
        with response:
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


async def main(server, mode="shared", largest="1"):
    verdict = Verdict()
    for compression, label in ((None, "no compression"), ("deflate", "compression offered")):
        # The whole connection is a check too: a refused upgrade is reported like any failure.
        checks = echo_checks(verdict, server, compression, label, mode, int(largest))
        await verdict.check(f"one connection, {label}", checks)
    for name, (offer, answer) in OFFERS.items():
        await verdict.check(f"offer: {name}", takes_offer(server, offer, answer, mode))
    await verdict.check("no subprotocol", selects_no_subprotocol(server))
    await verdict.check("close 1000", closes(server, 1000, ""))
    await verdict.check("close 3000 with a reason", closes(server, 3000, "bis später"))
    await verdict.check("GET /", answers_http(server, "/", 200, "WebSocket server running"))
    await verdict.check("GET /healthz", answers_http(server, "/healthz", 200, "ok"))
    await verdict.check("GET unknown path", answers_http(server, "/no-such-page", 404, ""))
    client = f"python {sys.version_info[0]}.{sys.version_info[1]}, websockets {websockets.__version__}"
    print(json.dumps({"client": client, "passed": verdict.passed, "failed": verdict.failed}))


asyncio.run(main(*sys.argv[1:]))
