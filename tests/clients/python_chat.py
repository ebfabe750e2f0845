"""A chat server on Python's `websockets`, well-behaved or with one fault, to put clients to the test.

Usage: python_chat.py [MANNER]. Prints `listening on ws://HOST:PORT/` and serves until it is ended.
Everything runs on one thread and nothing waits within a change: all members of a room see one order.

A manner that is no fault:
    late      members join 20 ms after they have asked to

Faults, all but the last three with the fifth message of a room:
    skip      one member does not get it
    twice     one member gets it twice
    reorder   one member gets it after the next
    exchange  one member gets its text with the next offset, and the next one's with its offset
    repeat    the room has it a second time, with the next offset
    refuse    its sender gets an error
    damage    all members get another text
    count     the second member to join a room hears that it has a million users
    silence   nobody is told `room_joined`
    bar       whoever has left a room is not let in again
"""

import asyncio
import itertools
import json
import sys
import time
from collections import deque

from websockets.asyncio.server import broadcast, serve

HISTORY_MESSAGES = 1000
FAULTY_OFFSET = 5
MANNER = sys.argv[1] if len(sys.argv) > 1 else None
LATE_SECONDS = 0.02

rooms = {}
epochs = itertools.count(1)


class Room:
    """Members in the order they came, and the messages in the order they were said."""

    def __init__(self, name):
        self.name = name
        self.epoch = f"{next(epochs)}-{time.monotonic_ns()}"
        self.offset = 0
        self.members = {}
        self.history = deque(maxlen=HISTORY_MESSAGES)
        self.withheld = None

    def join(self, member, since):
        if member not in self.members:
            self.members[member] = None
            self.tell_others(member, "user_joined", self.user_count())
        missed = self.missed(since)
        if MANNER == "silence":
            return
        say(
            member,
            type="room_joined",
            roomId=self.name,
            userCount=self.user_count(),
            epoch=self.epoch,
            offset=self.offset,
            recovered=missed is not None,
        )
        for message in missed or []:
            say(member, **message)

    def missed(self, since):
        """All messages since then, or None when some of them are gone."""
        if since is None or since["epoch"] != self.epoch or since["offset"] > self.offset:
            return None
        count = self.offset - since["offset"]
        return None if count > len(self.history) else list(self.history)[len(self.history) - count :]

    def leave(self, member):
        del self.members[member]
        self.tell_others(member, "user_left", len(self.members))
        if not self.members:
            del rooms[self.name]

    def tell_others(self, member, kind, count):
        others = [other for other in self.members if other is not member]
        message = {"type": kind, "roomId": self.name, "userCount": count}
        broadcast(others, json.dumps(message))

    def user_count(self):
        """What everyone hears when someone joins."""
        count = len(self.members)
        return 1_000_000 if MANNER == "count" and count == 2 else count

    def publish(self, sender, text):
        faulty = self.offset + 1 == FAULTY_OFFSET
        if faulty and MANNER == "refuse":
            self.offset += 1
            say(sender, type="error", message="Rate limit exceeded")
            return
        if faulty and MANNER == "damage":
            text = text[:-1] + "?"
        message = self.number(sender, text)
        first = next(iter(self.members))
        if faulty and MANNER in ("skip", "reorder", "exchange"):
            self.withheld = message
            self.deliver(message, but=first)
        elif self.withheld and MANNER == "reorder":
            self.deliver(message)
            say(first, **self.withheld)
            self.withheld = None
        elif self.withheld and MANNER == "exchange":
            self.deliver(message, but=first)
            say(first, **message | {"offset": self.withheld["offset"]})
            say(first, **self.withheld | {"offset": message["offset"]})
            self.withheld = None
        else:
            self.deliver(message)
        if faulty and MANNER == "twice":
            say(first, **message)
        if faulty and MANNER == "repeat":
            self.deliver(self.number(sender, text))

    def number(self, sender, text):
        self.offset += 1
        message = {
            "type": "chat_message",
            "roomId": self.name,
            "username": f"user {sender.id}",
            "text": text,
            "timestamp": now(),
            "offset": self.offset,
        }
        self.history.append(message)
        return message

    def deliver(self, message, but=None):
        broadcast([member for member in self.members if member is not but], json.dumps(message))


class Visitor:
    """A connection, and the rooms it is in."""

    def __init__(self, socket):
        self.socket = socket
        self.joined = []
        self.left = set()

    def hear(self, payload):
        try:
            message = json.loads(payload)
        except ValueError:
            return self.fail("Invalid JSON")
        match message:
            case {"type": "join_room", "roomId": str(name)} if 1 <= len(name) <= 50:
                return self.join(name, message.get("since"))
            case {"type": "chat_message", "text": str(text)} if 1 <= len(text) <= 1000:
                room = self.room_of(message)
                return room.publish(self.socket, text) if room else self.fail("Not in room")
            case {"type": "leave_room"}:
                room = self.room_of(message)
                return self.leave(room) if room else self.fail("Not in room")
            case {"type": "auth"}:
                return say(self.socket, type="auth_success", userId=str(self.socket.id))
            case {"type": "ping"}:
                return say(self.socket, type="pong")
        self.fail("Invalid message format")

    def join(self, name, since):
        match since:
            case _ if MANNER == "bar" and name in self.left:
                self.fail("You have left")
            case None | {"epoch": str(), "offset": int()}:
                room = rooms.setdefault(name, Room(name))
                if room not in self.joined:
                    self.joined.append(room)
                room.join(self.socket, since)
            case _:
                self.fail("Invalid message format")

    def leave(self, room):
        self.joined.remove(room)
        self.left.add(room.name)
        room.leave(self.socket)

    def room_of(self, message):
        """The room that a message names, or the one that was joined last."""
        if "roomId" not in message:
            return self.joined[-1] if self.joined else None
        return next((room for room in self.joined if room.name == message["roomId"]), None)

    def fail(self, reason):
        say(self.socket, type="error", message=reason)


def say(socket, **message):
    """Sends without waiting: the order of calls is that of the messages."""
    broadcast([socket], json.dumps(message))


def now():
    return int(time.time() * 1000)


async def attend(socket):
    visitor = Visitor(socket)
    say(
        socket,
        type="welcome",
        message="Connected to server",
        timestamp=now(),
        connectionId=str(socket.id),
    )
    try:
        async for message in socket:
            if MANNER == "late" and "join_room" in message:
                await asyncio.sleep(LATE_SECONDS)
            visitor.hear(message)
    finally:
        for room in visitor.joined:
            room.leave(socket)


async def main():
    async with serve(attend, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"listening on ws://127.0.0.1:{port}/", flush=True)
        await asyncio.Future()


asyncio.run(main())
