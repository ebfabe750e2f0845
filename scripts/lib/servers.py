"""Servers as processes: ours, its rivals, and those that run already."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from . import machine
from .project import ROOT

START_SECONDS = 30
# A rival is installed or built when it starts for the first time.
PREPARE_SECONDS = 1800
# The drain of our server takes 10 s at most.
STOP_SECONDS = 30
# After a run: time for the last connections to end, of which each may take 10 s.
BASELINE_SECONDS = 30
LOOK_SECONDS = 0.1


class Process:
    """A server in a process of its own, ready to be connected to."""

    def __init__(self, command, cpus, log, ready, start_seconds):
        """Waits until the log has a line that begins with `ready`."""
        if cpus:
            command = ["taskset", "--cpu-list", ",".join(map(str, cpus)), *command]
        self.log = Path(log)
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Safe from the terminal's signals, but of the same session: sessions share the CPUs
                # as groups (sched_autogroup), which halves the rate of connects.
                process_group=0,
            )
        self.pid = self.process.pid
        try:
            self.wait_for(ready, start_seconds)
        except BaseException:
            self.stop()
            raise

    def watched(self):
        """The flag that has a run say what this server took."""
        return [f"--server-pid={self.pid}"]

    def wait_for(self, ready, seconds):
        deadline = time.monotonic() + seconds
        while not self.said(ready):
            if self.process.poll() is not None:
                raise StartError(f"it ended with {self.process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise StartError(f"it was not ready after {seconds} s: {self.last_words()}")
            time.sleep(LOOK_SECONDS)

    def said(self, words):
        """What follows these words in the log, at the beginning of a whole line."""
        found = re.search(rf"^{re.escape(words)} (\S+)\n", self.log.read_text(), re.MULTILINE)
        return found and found[1]

    def last_words(self):
        return " / ".join(self.log.read_text().strip().splitlines()[-3:]) or "it said nothing"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class StartError(Exception):
    """A server that cannot be started, and why."""


class Ringwire(Process):
    """Our server, seen through /proc and its metrics."""

    def __init__(self, programs, log, shards, cpus=(), flags=(), address=None, files=()):
        """With `files`, a certificate and its key, it speaks TLS."""
        address = address or f"127.0.0.1:{machine.free_port()}"
        listen = [f"--listen={address}"]
        if files:
            cert, key = files
            listen = [f"--tls-listen={address}", f"--tls-cert={cert}", f"--tls-key={key}"]
        command = [
            programs / "ringwire",
            # A port that clients can have as well halves the rate at which they connect: the
            # kernel searches all connections of the server for every one that comes upon it.
            *listen,
            "--admin=127.0.0.1:0",
            f"--shards={shards}",
            # The generator is to be held back by nothing but the server's speed.
            "--rate-limit=off",
            "--rate-bytes=off",
            *flags,
        ]
        super().__init__(command, cpus, log, "listening on", START_SECONDS)
        self.wait_for("admin on", START_SECONDS)
        self.url = self.said("listening on")
        self.metrics = Metrics(self.said("admin on"))
        # Let every shard open what it opens once.
        time.sleep(1)
        self.descriptors_before = machine.descriptors(self.pid)

    def left_behind(self):
        """What is there beyond what an idle server has: words, empty at the baseline."""
        extra = machine.descriptors(self.pid) - self.descriptors_before
        found = self.metrics.left_behind()
        return found + ([f"{extra} descriptors"] if extra > 0 else [])


class Successor:
    """Our server, started by another one of them: no child of ours."""

    def __init__(self, pid, metrics):
        self.pid, self.metrics = pid, metrics
        self.handle = os.pidfd_open(pid)

    def has_ended(self, seconds=0):
        """Whether it ends within that time."""
        return bool(select.select([self.handle], [], [], seconds)[0])

    def stop(self):
        if not self.has_ended():
            signal.pidfd_send_signal(self.handle, signal.SIGTERM)
        if not self.has_ended(STOP_SECONDS):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        os.close(self.handle)


class Peer(Process):
    """A rival of benches/peers, installed first when it is missing."""

    def __init__(self, name, log, cpus, files=()):
        """With `files`, a certificate and its key, it speaks TLS."""
        command = [ROOT / "benches/peers/run", name, machine.free_port(), *files]
        super().__init__(command, cpus, log, "listening on", PREPARE_SECONDS)
        self.url = self.said("listening on")


class Given:
    """A server that runs already, somewhere."""

    def __init__(self, url, admin=None):
        self.url, self.pid = url, None
        self.metrics = admin and Metrics(admin)

    def watched(self):
        return [f"--server-metrics={self.metrics.url}"] if self.metrics else []

    def left_behind(self):
        return self.metrics.left_behind() if self.metrics else []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Metrics:
    """The metrics of our server."""

    def __init__(self, admin):
        self.url = f"{admin.rstrip('/')}/metrics"

    def read(self, name):
        with urllib.request.urlopen(self.url, timeout=30) as response:
            text = response.read().decode()
        return int(re.search(rf"^ringwire_{name} (\d+)$", text, re.MULTILINE)[1])

    def left_behind(self):
        """Connections and handshakes that are still there, in words."""
        names = {"connections": "connections", "handshakes_in_progress": "handshakes"}
        counts = {word: self.read(name) for name, word in names.items()}
        return [f"{count} {word}" for word, count in counts.items() if count]


def wait_for_baseline(server, seconds=BASELINE_SECONDS):
    """Waits until nothing is left behind; gives back what still is, or that nobody answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            left = server.left_behind()
        except OSError as error:
            return [f"no answer for its metrics ({error})"]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(LOOK_SECONDS)


def refusal(url):
    """Why a WebSocket cannot be opened at the URL; empty when it can."""
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname, parts.port or 80
    request = (
        f"GET {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1\r\n"
        f"Host: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    try:
        with socket.create_connection((host, port), timeout=10) as client:
            client.sendall(request.encode())
            status = client.makefile("rb").readline(1024).decode("latin-1").split()
    except OSError as error:
        return f"no answer from {host}:{port}: {error}"
    if status[1:2] == ["101"]:
        return ""
    return f"{parts.path or '/'} is answered with {' '.join(status[1:]) or 'nothing'}"


@contextlib.contextmanager
def scratch():
    """A folder for logs that nobody keeps."""
    with tempfile.TemporaryDirectory(prefix="ringwire-") as folder:
        yield Path(folder)
