"""A chat server on Python's `websockets`, well-behaved or with one fault, to put clients to the test.

Usage: python_chat.py [MANNER [NODES]]. Prints `listening on ws://HOST:PORT/`, with the URLs of all
nodes divided by commas, and serves until it is ended. Everything runs on one thread and nothing
waits within a change: all members of a room see one order, whatever their node.

Manners that are no fault:
    well      does what it should
    late      members join 20 ms after they have asked to
    fast      each node has epochs and offsets of its own; what is said on another comes 2 ms later
    told      the last node loses the fifth message of a room, and tells its members
    epoch     all lose the fifth message of a room and are told so, with another epoch
    away      the fifth message of a room is refused: it is unavailable
    shut      the first who asks to join a room is refused: it is unavailable
    restart   the last node lets all go with 1001 at the twentieth message of a room
    kill      the last node is dead from the twentieth message of a room on, and was deaf before
    fast-kill both fast and kill

Faults, all but the last three with the fifth message of a room:
    skip      one member does not get it
    twice     one member gets it twice
    reorder   one member gets it after the next
    exchange  one member gets its text with the next offset, and the next one's with its offset
    repeat    the room has it a second time, with the next offset
    refuse    its sender gets an error
    untold    the last node loses it, and says nothing
    double    the last node has it twice, with one offset
    split     the last node has another epoch from there on, and says nothing but that
    fast-lost     as fast, and the last node never gets it
    fast-twice    as fast, and the last node gets it twice, with two offsets
    fast-late     as fast, and the last node gets it behind the next of the same sender
    forget    as restart and late, and the first message is left out of what was missed
    damage    all members get another text
    count     the second member to join a room hears that it has a million users
    silence   nobody is told `room_joined`
    bar       whoever has left a room is not let in again
"""

import asyncio
import contextlib
import functools
import itertools
import json
import sys
import time
from collections import deque

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosedError

HISTORY_MESSAGES = 1000
FAULTY_OFFSET = 5
RESTART_OFFSET = 20
MANNER = sys.argv[1] if len(sys.argv) > 1 else "well"
NODES = int(sys.argv[2]) if len(sys.argv) > 2 else 1
LAST_NODE = NODES - 1
LATE_SECONDS = 0.02
FAST_SECONDS = 0.002

rooms = {}
servers = []
closing = []
shut = set()
epochs = itertools.count(1)


class Room:
    """Members in the order they came, and the messages in the order they were said."""

    def __init__(self, name):
        self.name = name
        self.epoch = new_epoch()
        self.offset = 0
        # Of nodes that count on their own.
        self.own_epochs = [new_epoch() for _ in range(NODES)]
        self.own_offsets = [0] * NODES
        self.members = {}
        self.history = deque(maxlen=HISTORY_MESSAGES)
        self.withheld = None
        self.has_failed = False

    def join(self, member, since):
        if member not in self.members:
            self.members[member] = None
            self.tell_others(member, "user_joined", self.user_count())
        missed = self.missed(since)
        if MANNER == "silence":
            return
        self.tell_place(member, missed is not None)
        for message in (missed or [])[1 if MANNER == "forget" else 0 :]:
            say(member, **message)

    def tell_place(self, member, recovered, place=None):
        epoch, offset = place or (self.epoch, self.offset)
        if MANNER.startswith("fast"):
            epoch, offset = self.own_epochs[member.node], self.own_offsets[member.node]
        say(
            member,
            type="room_joined",
            roomId=self.name,
            userCount=self.user_count(),
            epoch=epoch,
            offset=offset,
            recovered=recovered,
        )

    def missed(self, since):
        """All messages since then, or None when some of them are gone."""
        if MANNER.startswith("fast"):
            return None
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
        if faulty and MANNER in ("refuse", "away"):
            self.offset += 1
            reason = "Rate limit exceeded" if MANNER == "refuse" else "Room unavailable"
            say(sender, type="error", message=reason)
            return
        if MANNER.startswith("fast"):
            self.publish_fast(sender, text)
            return
        if faulty and MANNER == "epoch":
            self.epoch, self.offset = new_epoch(), FAULTY_OFFSET
            self.history.clear()
            for member in self.members:
                self.tell_place(member, False)
            return
        if MANNER == "kill" and self.offset + 3 > RESTART_OFFSET and sender.node == LAST_NODE:
            if servers[LAST_NODE].is_serving():
                return
        if faulty and MANNER == "damage":
            text = text[:-1] + "?"
        message = self.number(sender, text)
        first = next(iter(self.members))
        if faulty and MANNER in ("told", "untold", "double", "split"):
            self.deliver_apart(message)
        elif faulty and MANNER in ("skip", "reorder", "exchange"):
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
        if self.offset == RESTART_OFFSET and MANNER in ("restart", "kill", "forget"):
            end_last_node()

    def deliver_apart(self, message):
        """The last node does something else than the others with it."""
        away = [member for member in self.members if member.node == LAST_NODE]
        broadcast([member for member in self.members if member not in away], json.dumps(message))
        for member in away:
            if MANNER == "told":
                self.tell_place(member, False)
            elif MANNER == "double":
                say(member, **message)
                say(member, **message)
            elif MANNER == "split":
                place = (self.own_epochs[LAST_NODE], message["offset"] - 1)
                self.tell_place(member, False, place)
                say(member, **message)

    def publish_fast(self, sender, text):
        """Each node has its own count; others than the sender's have it later."""
        self.offset += 1
        message = self.message(sender, text)
        self.deliver_on(sender.node, message)
        for node in range(NODES):
            if node != sender.node:
                for late in self.relayed(sender, node, message):
                    later = asyncio.get_running_loop().call_later
                    later(FAST_SECONDS, self.deliver_on, node, late)
        if self.offset == RESTART_OFFSET and MANNER == "fast-kill":
            end_last_node()

    def relayed(self, sender, node, message):
        """What another node gets instead of a message. From the fifth on, the first for the last
        node has the fault."""
        if node != LAST_NODE or self.offset < FAULTY_OFFSET:
            return [message]
        if self.withheld and self.withheld[0] is sender:
            (_, earlier), self.withheld = self.withheld, None
            return [message, earlier]
        if self.has_failed:
            return [message]
        self.has_failed = True
        if MANNER == "fast-late":
            self.withheld = (sender, message)
        return {"fast-lost": [], "fast-late": [], "fast-twice": [message] * 2}.get(MANNER, [message])

    def deliver_on(self, node, message):
        self.own_offsets[node] += 1
        message = message | {"offset": self.own_offsets[node]}
        broadcast([member for member in self.members if member.node == node], json.dumps(message))

    def number(self, sender, text):
        self.offset += 1
        message = self.message(sender, text) | {"offset": self.offset}
        self.history.append(message)
        return message

    def message(self, sender, text):
        return {
            "type": "chat_message",
            "roomId": self.name,
            "username": f"user {sender.id}",
            "text": text,
            "timestamp": now(),
        }

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
            case _ if MANNER == "shut" and name not in shut:
                shut.add(name)
                self.fail("Room unavailable")
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


def new_epoch():
    return f"{next(epochs)}-{time.monotonic_ns()}"


def end_last_node():
    """Lets everyone go, or is gone itself."""
    is_kill = MANNER.endswith("kill")
    members = {member for room in rooms.values() for member in room.members}
    for member in members:
        if member.node != LAST_NODE:
            continue
        if is_kill:
            member.transport.abort()
        else:
            closing.append(asyncio.create_task(member.close(1001)))
    if is_kill:
        servers[LAST_NODE].server.close()


def now():
    return int(time.time() * 1000)


async def attend(socket, node):
    socket.node = node
    visitor = Visitor(socket)
    say(
        socket,
        type="welcome",
        message="Connected to server",
        timestamp=now(),
        connectionId=str(socket.id),
    )
    try:
        # A client that is cut off says no farewell.
        with contextlib.suppress(ConnectionClosedError):
            await listen(socket, visitor)
    finally:
        for room in visitor.joined:
            room.leave(socket)


async def listen(socket, visitor):
    async for message in socket:
        if MANNER in ("late", "forget") and "join_room" in message:
            await asyncio.sleep(LATE_SECONDS)
        visitor.hear(message)


async def main():
    for node in range(NODES):
        handler = functools.partial(attend, node=node)
        servers.append(await serve(handler, "127.0.0.1", 0, compression=None))
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print("listening on", ",".join(f"ws://127.0.0.1:{port}/" for port in ports), flush=True)
    await asyncio.Future()


asyncio.run(main())
