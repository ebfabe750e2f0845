"""Holds a conversation with a chat server, frame by frame, with Python's `websockets` client.

Usage: python_conversation.py URL. Prints one JSON object: {"ok":true,"checks":N}, or what went wrong,
and then exits with 1.

Every frame that a client gets is compared, in order and with all its fields, and at the end there is
none left: so what nobody should hear is noticed, too.
"""

import asyncio
import json
import re
import secrets
import socket
import struct
import sys
import time
import traceback

from websockets.asyncio.client import connect

WAIT_SECONDS = 10
NO_EPOCHS = ["ffffffffffffffff", "FFFFFFFFFFFFFFFF", "none of yours"]
TEXT = "Grüße, 世界 😀 \"quoted\" \\ <b>\n\tand\u2028so on"
INVALID_JSON = "Invalid JSON"
INVALID_FORMAT = "Invalid message format"
NOT_IN_ROOM = "Not in room"
BAD_MESSAGES = [
    ("", INVALID_JSON),
    ("hello", INVALID_JSON),
    ('{"type":"ping"', INVALID_JSON),
    ('{"type":"ping"} x', INVALID_JSON),
    ('{"type":"chat_message","text":"\\ud83d"}', INVALID_JSON),
    ("[]", INVALID_FORMAT),
    ("{}", INVALID_FORMAT),
    ('{"type":5}', INVALID_FORMAT),
    ('{"type":"dance"}', INVALID_FORMAT),
    ('{"type":"join_room"}', INVALID_FORMAT),
    (json.dumps({"type": "join_room", "roomId": "r" * 51}), INVALID_FORMAT),
    (json.dumps({"type": "chat_message", "text": ""}), INVALID_FORMAT),
    (json.dumps({"type": "chat_message", "text": "😀" * 1001}), INVALID_FORMAT),
    (b'{"type":"ping"}', INVALID_FORMAT),
    (json.dumps({"type": "chat_message", "roomId": "elsewhere", "text": "a"}), NOT_IN_ROOM),
    (json.dumps({"type": "leave_room", "roomId": "elsewhere"}), NOT_IN_ROOM),
]

checks = 0


class Client:
    """One connection, greeted."""

    @classmethod
    async def connect(cls, url):
        client = cls()
        client.connection = await soon(connect(url))
        welcome = await client.hear()
        client.id = welcome.get("connectionId")
        client.name = f"guest-{client.id}"
        same(type(client.id), str)
        same(bool(client.id), True)
        is_time(welcome.get("timestamp"))
        same(
            welcome,
            {
                "type": "welcome",
                "message": "Connected to server",
                "timestamp": welcome.get("timestamp"),
                "connectionId": client.id,
            },
        )
        return client

    async def say(self, kind, **fields):
        await self.say_raw(json.dumps({"type": kind} | fields))

    async def say_raw(self, payload):
        await soon(self.connection.send(payload))

    async def hear(self):
        payload = await soon(self.connection.recv())
        same(type(payload), str)
        return json.loads(payload)

    async def hears(self, kind, **fields):
        same(await self.hear(), {"type": kind} | fields)

    async def hears_nothing_else(self):
        await self.say("ping")
        await self.hears("pong")

    async def join(self, room, user_count, offset, recovered=False, **fields):
        """Joins, and returns the epoch."""
        await self.say("join_room", roomId=room, **fields)
        joined = await self.hear()
        epoch = joined.get("epoch")
        same(bool(re.fullmatch("[0-9a-f]{16}", str(epoch))), True)
        same(
            joined,
            {
                "type": "room_joined",
                "roomId": room,
                "userCount": user_count,
                "epoch": epoch,
                "offset": offset,
                "recovered": recovered,
            },
        )
        return epoch


async def converse(url):
    # Its own, so that one server can be asked twice.
    room = f"世界 {secrets.token_hex(8)}"
    ada, bob, eve = [await Client.connect(url) for _ in range(3)]
    same(len({ada.id, bob.id, eve.id}), 3)
    epoch = await everybody_joins(room, ada, bob, eve)
    first = await messages_come_to_all(room, ada, bob, eve)
    await the_last_room_is_meant(room, ada, bob)
    await joining_twice_changes_nothing(room, epoch, ada, bob, eve)
    await errors_end_nothing(ada)
    missed = await leaving_is_told(room, ada, bob, eve)
    await missed_messages_come_again(room, epoch, first + missed, ada, bob, eve)
    await all_hear_one_order(room, 7, ada, bob, eve)
    await ends_are_told(url, room, ada, bob, eve)
    await an_empty_room_is_gone(room, epoch, ada, bob)
    for client in (ada, bob):
        await client.hears_nothing_else()
        await soon(client.connection.close())


async def everybody_joins(room, ada, bob, eve):
    epoch = await ada.join(room, 1, 0)
    same(await bob.join(room, 2, 0), epoch)
    await ada.hears("user_joined", roomId=room, userCount=2)
    await bob.hears_nothing_else()
    same(await eve.join(room, 3, 0), epoch)
    for client in (ada, bob):
        await client.hears("user_joined", roomId=room, userCount=3)
    return epoch


async def messages_come_to_all(room, ada, bob, eve):
    everybody = (ada, bob, eve)
    await ada.say("chat_message", text=TEXT, extra=[None])
    messages = [await all_hear(everybody, room, ada.name, TEXT, 1)]

    await bob.say("auth", username="Bob 😀")
    await bob.hears("auth_success", userId="Bob 😀")
    bob.name = "Bob 😀"
    longest = "😀" * 1000
    await bob.say("chat_message", roomId=room, text=longest)
    messages.append(await all_hear(everybody, room, bob.name, longest, 2))

    # What is said again with its id is not published again: its sender alone gets it.
    known_by = secrets.token_hex(16)
    for _ in range(2):
        await eve.say("chat_message", text="once", id=known_by)
    messages.append(await all_hear(everybody, room, eve.name, "once", 3, id=known_by))
    same(await eve.hear(), messages[-1])
    await eve.say("chat_message", text="another", id="😀")
    another = await all_hear(everybody, room, eve.name, "another", 4, id="😀")
    return messages + [another]


async def the_last_room_is_meant(room, ada, bob):
    side = f"{room} side"
    await ada.join(side, 1, 0)
    await ada.say("chat_message", text="aside")
    await all_hear([ada], side, ada.name, "aside", 1)
    await bob.say("chat_message", roomId=side, text="me, too")
    await bob.hears("error", message=NOT_IN_ROOM)
    await bob.join(side, 2, 1)
    await ada.hears("user_joined", roomId=side, userCount=2)
    await ada.say("leave_room")
    await bob.hears("user_left", roomId=side, userCount=1)
    await bob.say("leave_room")
    await bob.hears_nothing_else()


async def joining_twice_changes_nothing(room, epoch, ada, bob, eve):
    for _ in range(2):
        same(await bob.join(room, 3, 4), epoch)
    for client in (ada, bob, eve):
        await client.hears_nothing_else()


async def errors_end_nothing(ada):
    for payload, message in BAD_MESSAGES:
        await ada.say_raw(payload)
        await ada.hears("error", message=message)
    await ada.hears_nothing_else()


async def leaving_is_told(room, ada, bob, eve):
    """Returns what the one that has left has missed."""
    await eve.say("leave_room", roomId=room)
    for client in (ada, bob):
        await client.hears("user_left", roomId=room, userCount=2)
    await eve.hears_nothing_else()
    await eve.say("leave_room", roomId=room)
    await eve.hears("error", message=NOT_IN_ROOM)
    await eve.say("leave_room")
    await eve.hears("error", message=NOT_IN_ROOM)
    await eve.say("chat_message", text="hello?")
    await eve.hears("error", message=NOT_IN_ROOM)
    missed = []
    for number, sender in enumerate((ada, bob), start=5):
        await sender.say("chat_message", roomId=room, text=f"number {number}")
        missed.append(await all_hear([ada, bob], room, sender.name, f"number {number}", number))
    return missed


async def missed_messages_come_again(room, epoch, messages, ada, bob, eve):
    async def comes_back(since, missed, recovered):
        # What nobody knows of a history is no error.
        same(await eve.join(room, 3, 6, recovered, since=since), epoch)
        for message in missed:
            same(await eve.hear(), message)
        await eve.hears_nothing_else()
        for client in (ada, bob):
            await client.hears("user_joined", roomId=room, userCount=3)
        await eve.say("leave_room")
        for client in (ada, bob):
            await client.hears("user_left", roomId=room, userCount=2)

    for offset in (4, 6, 0):
        await comes_back({"epoch": epoch, "offset": offset}, messages[offset:], True)
    for unknown in NO_EPOCHS:
        await comes_back({"epoch": unknown, "offset": 0}, [], False)
    await comes_back(None, [], False)
    same(await eve.join(room, 3, 6), epoch)
    for client in (ada, bob):
        await client.hears("user_joined", roomId=room, userCount=3)


async def all_hear_one_order(room, offset, *everybody):
    """Everybody talks at once."""

    async def talk(sender):
        for number in range(10):
            await sender.say("chat_message", roomId=room, text=f"{sender.id} {number}")

    await asyncio.gather(*map(talk, everybody))
    heard = [[await client.hear() for _ in range(30)] for client in everybody]
    same(heard, [heard[0]] * 3)
    same([message.get("offset") for message in heard[0]], list(range(offset, offset + 30)))
    for sender in everybody:
        texts = [message["text"] for message in heard[0] if message["username"] == sender.name]
        same(texts, [f"{sender.id} {number}" for number in range(10)])


async def ends_are_told(url, room, ada, bob, eve):
    async def is_told():
        for client in (ada, bob):
            await client.hears("user_left", roomId=room, userCount=2)

    await soon(eve.connection.close())
    await is_told()
    for end in (abort, reset):
        guest = await Client.connect(url)
        await guest.join(room, 3, 36)
        for client in (ada, bob):
            await client.hears("user_joined", roomId=room, userCount=3)
        end(guest)
        await is_told()


def abort(client):
    """Ends the TCP connection without a closing handshake."""
    client.connection.transport.abort()


def reset(client):
    """The same with a reset: a socket that does not linger is closed with one."""
    stream = client.connection.transport.get_extra_info("socket")
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.connection.transport.abort()


async def an_empty_room_is_gone(room, epoch, ada, bob):
    await ada.say("leave_room", roomId=room)
    await bob.hears("user_left", roomId=room, userCount=1)
    await bob.say("leave_room", roomId=room)
    for client in (ada, bob):
        await client.hears_nothing_else()
        await client.say("chat_message", roomId=room, text="anybody?")
        await client.hears("error", message=NOT_IN_ROOM)
    since = {"epoch": epoch, "offset": 0}
    same(await bob.join(room, 1, 0, since=since) == epoch, False)


async def all_hear(clients, room, username, text, offset, **fields):
    """All hear one message with these fields; returns it."""
    messages = [await client.hear() for client in clients]
    message = messages[0]
    is_time(message.get("timestamp"))
    expected = {
        "type": "chat_message",
        "roomId": room,
        "username": username,
        "text": text,
        "timestamp": message.get("timestamp"),
        "offset": offset,
    }
    same(messages, [expected | fields] * len(clients))
    return message


def is_time(milliseconds):
    """A whole number of milliseconds, within a minute of the clock here."""
    same(type(milliseconds), int)
    same(abs(milliseconds - time.time() * 1000) < 60_000, True)


def same(received, expected):
    global checks
    if received != expected:
        raise AssertionError(f"received {received!r}, expected {expected!r}")
    checks += 1


async def soon(work):
    return await asyncio.wait_for(work, WAIT_SECONDS)


async def main(url):
    try:
        await converse(url)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"ok": False, "checks": checks, "error": repr(error)}))
        return 1
    print(json.dumps({"ok": True, "checks": checks}))
    return 0


sys.exit(asyncio.run(main(sys.argv[1])))
