"""Runs `ringwire top` in a terminal of its own and looks at what it does to it.

Usage: python_top.py BINARY ADMIN. Prints one JSON object: which checks passed, which failed and
why.
"""

import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import sys
import termios
import time

CHECK_SECONDS = 30
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


class Top:
    """One run, in a terminal of so many lines and columns."""

    def __init__(self, binary, admin, lines=24, columns=80):
        self.lines, self.columns = lines, columns
        self.printed = b""
        # The terminal is made here, not in the child, so that it can be looked at afterwards.
        self.terminal, self.end = pty.openpty()
        self.resize(lines, columns)
        self.before = termios.tcgetattr(self.end)
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.end, termios.TIOCSCTTY, 0)
            for stream in range(3):
                os.dup2(self.end, stream)
            os.execv(binary, [binary, "top", "--admin", admin])

    def resize(self, lines, columns):
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, size)

    def wait_for(self, words):
        """Reads until these are printed; what was printed up to them is forgotten."""
        deadline = time.monotonic() + CHECK_SECONDS
        while words not in self.printed:
            ready, _, _ = select.select([self.terminal], [], [], deadline - time.monotonic())
            if not ready:
                raise AssertionError(f"{words!r} is not in {self.printed!r}")
            self.printed += os.read(self.terminal, 65536)
        before, _, self.printed = self.printed.partition(words)
        return before

    def screen(self):
        """The lines of the next whole screen."""
        self.wait_for(b"\x1b[H")
        printed = self.wait_for(b"\x1b[J").decode().replace("\x1b[K", "").replace("\r", "")
        return printed.split("\n")

    def ends(self):
        """Expects exit code 0 and the terminal as it was."""
        self.wait_for(LEAVE)
        _, status = os.waitpid(self.pid, 0)
        expect(os.waitstatus_to_exitcode(status), 0)
        expect(termios.tcgetattr(self.end), self.before)
        os.close(self.end)
        os.close(self.terminal)


def expect(received, expected):
    if received != expected:
        raise AssertionError(f"received {received!r}, expected {expected!r}")


def shown(top):
    """Waits for the first page; returns its lines."""
    deadline = time.monotonic() + CHECK_SECONDS
    while time.monotonic() < deadline:
        lines = top.screen()
        if lines[0].startswith("ringwire "):
            return lines
    raise AssertionError(f"no page: {lines!r}")


def fits_and_follows_the_size(binary, admin):
    top = Top(binary, admin)
    top.wait_for(ENTER)
    lines = shown(top)
    if len(lines) > 24 or any(len(line) > 80 for line in lines):
        raise AssertionError(f"too large: {lines!r}")
    top.resize(10, 30)
    deadline = time.monotonic() + CHECK_SECONDS
    while len(lines) > 10 or any(len(line) > 30 for line in lines):
        if time.monotonic() > deadline:
            raise AssertionError(f"still too large: {lines!r}")
        lines = top.screen()
    os.kill(top.pid, signal.SIGTERM)
    top.ends()


def ends_by(stop):
    def check(binary, admin):
        top = Top(binary, admin)
        shown(top)
        stop(top)
        top.ends()

    return check


def waits_for_a_server_that_is_away(binary, _admin):
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        host, port = gone.getsockname()
    top = Top(binary, f"{host}:{port}")
    for _ in range(2):
        top.wait_for(b"no answer from")
    os.write(top.terminal, b"q")
    top.ends()


def main(binary, admin):
    verdict = {"client": "pty", "passed": [], "failed": {}}
    for name, check in {
        "it fits and follows the size": fits_and_follows_the_size,
        "SIGTERM": ends_by(lambda top: os.kill(top.pid, signal.SIGTERM)),
        "SIGHUP": ends_by(lambda top: os.kill(top.pid, signal.SIGHUP)),
        "Ctrl-C": ends_by(lambda top: os.write(top.terminal, b"\x03")),
        "q": ends_by(lambda top: os.write(top.terminal, b"q")),
        "a server that is away": waits_for_a_server_that_is_away,
    }.items():
        try:
            check(binary, admin)
            verdict["passed"].append(name)
        except Exception as error:
            verdict["failed"][name] = repr(error)
    print(json.dumps(verdict))


main(*sys.argv[1:])
