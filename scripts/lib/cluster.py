"""A cluster on this host: servers of ours that Redis joins, and nginx in front of them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from . import machine
from .project import ROOT
from .servers import START_SECONDS, STOP_SECONDS, Metrics, StartError

HOST = "127.0.0.1"
LOOK_SECONDS = 0.05
# A free port may be taken before who is to have it asks for it.
START_ATTEMPTS = 3
ANSWER_SECONDS = 10
NGINX = "/usr/sbin/nginx"
NGINX_CONFIG = ROOT / "deploy/nginx/nginx.conf"
# Masters of a Redis Cluster: fewer are none.
MASTERS = 3


class Part:
    """One process of the cluster, which can be killed, stopped, and started again as it was."""

    stdin = subprocess.DEVNULL

    def __init__(self, name, command, folder):
        self.name, self.command = name, list(map(str, command))
        self.log = folder / f"{name}.log"
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        """Returns when it is ready."""
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=self.stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Safe from the terminal's signals, and one group with the workers it may have.
                process_group=0,
            )
        deadline = time.monotonic() + START_SECONDS
        try:
            while not self.is_ready():
                if not self.is_running():
                    raise StartError(f"{self.name} ended: {self.last_words()}")
                if time.monotonic() > deadline:
                    raise StartError(f"{self.name} is not ready: {self.last_words()}")
                time.sleep(LOOK_SECONDS)
        except BaseException:
            self.kill()
            raise

    def is_ready(self):
        raise NotImplementedError

    def facts(self):
        """What those need to know who are to reach it."""
        return {"name": self.name, "pid": self.pid, "port": self.port, "url": self.url}

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def last_words(self):
        return " / ".join(self.log.read_text().strip().splitlines()[-3:]) or "it said nothing"

    def signal(self, number):
        """Sends a signal to the process, unless it has ended."""
        if self.is_running():
            self.process.send_signal(number)

    def kill(self):
        """Ends it at once, with its workers."""
        if self.is_running():
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()

    def ask_to_end(self):
        # One that is stopped hears nothing.
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)

    def end(self):
        """Ends it as it likes to be ended."""
        self.ask_to_end()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


class Redis(Part):
    """A Redis with an append-only file: killed and started again, it has what it confirmed."""

    def __init__(self, name, folder, is_of_cluster=False):
        self.port, self.bus_port = machine.free_port(), machine.free_port()
        self.url = f"redis://{HOST}:{self.port}"
        data = folder / name
        data.mkdir(exist_ok=True)
        command = ["redis-server", "--bind", HOST, "--port", self.port, "--dir", data]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        if is_of_cluster:
            command += ["--cluster-enabled", "yes", "--cluster-port", self.bus_port]
            command += ["--cluster-node-timeout", 2000]
        super().__init__(name, command, folder)

    def is_ready(self):
        try:
            return f"process_id:{self.pid}" in self.ask("INFO", "server")
        except (OSError, RedisError):
            return False

    def ask(self, *words, seconds=ANSWER_SECONDS):
        """What it answers: text, a number, None, or a list of such."""
        with socket.create_connection((HOST, self.port), timeout=seconds) as connection:
            parts = [str(word).encode() for word in words]
            request = b"*%d\r\n" % len(parts)
            request += b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            connection.sendall(request)
            return read_answer(connection.makefile("rb"))


class RedisError(Exception):
    """Redis answered with an error."""


def read_answer(stream):
    """An answer of Redis, in the second version of its protocol."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("Redis closed the connection")
    kind, rest = line[:1], line[1:-2].decode()
    if kind == b"-":
        raise RedisError(rest)
    if kind == b"+":
        return rest
    if kind == b":":
        return int(rest)
    count = int(rest)
    if count < 0:
        return None
    if kind == b"*":
        return [read_answer(stream) for _ in range(count)]
    return stream.read(count + 2)[:-2].decode(errors="replace")


class Node(Part):
    """A server of ours."""

    def __init__(self, name, folder, binary, redis_urls, flags):
        self.port, self.admin_port = machine.free_port(), machine.free_port()
        self.url = f"ws://{HOST}:{self.port}"
        self.admin = f"http://{HOST}:{self.admin_port}"
        self.metrics = Metrics(self.admin)
        command = [
            binary,
            f"--listen={HOST}:{self.port}",
            f"--admin={HOST}:{self.admin_port}",
            f"--node-id={name}",
            f"--trusted-proxy={HOST}",
            *(f"--redis={url}" for url in redis_urls),
            *flags,
        ]
        super().__init__(name, command, folder)

    def is_ready(self):
        return answers(f"{self.admin}/readyz")

    def facts(self):
        return {**super().facts(), "admin": self.admin}


class Nginx(Part):
    """nginx with the configuration of deploy/, in front of nodes."""

    def __init__(self, name, folder, nodes, port=None):
        self.port = port or machine.free_port()
        self.url = f"http://{HOST}:{self.port}/"
        config = folder / "nginx.conf"
        config.write_text(nginx_config(NGINX_CONFIG.read_text(), folder, self.port, nodes))
        globals_ = f"daemon off; pid {folder}/nginx.pid;"
        command = [NGINX, "-e", "stderr", "-g", globals_, "-c", config]
        super().__init__(name, command, folder)

    def is_ready(self):
        return answers(f"{self.url}healthz")


class Proxy(Part):
    """A line to somebody that can be broken: see tests/clients/fault_proxy.mjs."""

    stdin = subprocess.PIPE

    def __init__(self, name, folder, port):
        self.port = machine.free_port()
        program = ROOT / "tests/clients/fault_proxy.mjs"
        super().__init__(name, ["node", program, f"{HOST}:{port}", self.port], folder)

    def is_ready(self):
        return f"listening on {HOST}:{self.port}" in self.log.read_text()

    def tell(self, order):
        """Gives an order such as "hole on"."""
        self.process.stdin.write(f"{order}\n".encode())
        self.process.stdin.flush()


def nginx_config(text, folder, port, nodes):
    """The configuration of deploy/, for these nodes and an ordinary user's folder and port."""
    servers = "".join(f"        server {HOST}:{node.port} \\1\n" for node in nodes)
    paths = "".join(
        f"    {kind}_temp_path {folder}/nginx-{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # What may stand in place of it all is no part of it.
    text = text.split("\n# Or pass bytes on", 1)[0]
    for pattern, replacement in (
        # Whose folder it is, is who may write into it.
        (r"^user .*;\n", ""),
        (r"listen 80 reuseport;", f"listen {HOST}:{port} reuseport;"),
        (r"(?:^ +server [\d.]+:\d+ (.*;)\n)+", servers),
        (r"/var/log/nginx/", f"{folder}/nginx-"),
        (r"^http \{\n", f"http {{\n{paths}"),
        # On one host all clients have one address. Joined nodes need no client to stay with one.
        (r"^ +(?:ip_hash|hash .*|least_conn|random.*);\n", ""),
    ):
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        is_optional = "ip_hash" in pattern or "user" in pattern
        if count != 1 and not (is_optional and count == 0):
            raise StartError(f"{NGINX_CONFIG} has {count} places like {pattern}")
    return text


class Cluster:
    """All of them. To be used in a `with`, which starts and ends them."""

    def __init__(self, binary, folder, nodes, flags=(), redis_servers=1, is_redis_cluster=False):
        self.binary, self.folder, self.flags = binary, folder, with_short_drain(flags)
        self.node_count, self.redis_count = nodes, redis_servers
        self.is_redis_cluster = is_redis_cluster
        self.redis, self.nodes, self.nginx = [], [], None

    @property
    def parts(self):
        found = [*self.redis, *self.nodes, self.nginx]
        return {part.name: part for part in found if part}

    def redis_urls(self, _node):
        """What a node is told: of a Redis Cluster one server, which tells of the others."""
        found = self.redis[:1] if self.is_redis_cluster else self.redis
        return [server.url for server in found]

    def facts(self):
        return {
            "url": self.nginx.url,
            "folder": str(self.folder),
            "nginx": self.nginx.facts(),
            "nodes": [node.facts() for node in self.nodes],
            "redis": [server.facts() for server in self.redis],
        }

    def start(self, port=None):
        for program in ("redis-server", "redis-cli", NGINX):
            if not shutil.which(program):
                raise StartError(f"{program} is missing: scripts/test installs it")
        self.start_redis()
        for number in range(1, self.node_count + 1):
            name = f"node-{number}"
            urls = self.redis_urls(name)
            self.nodes.append(started(Node, name, self.folder, self.binary, urls, self.flags))
        self.nginx = started(Nginx, "nginx", self.folder, self.nodes, port)

    def start_redis(self):
        count = MASTERS if self.is_redis_cluster else self.redis_count
        for number in range(1, count + 1):
            name = f"redis-{number}"
            self.redis.append(started(Redis, name, self.folder, self.is_redis_cluster))
        if self.is_redis_cluster:
            self.join_redis()

    def join_redis(self):
        """Makes one Redis Cluster of the servers."""
        places = [f"{HOST}:{server.port}@{server.bus_port}" for server in self.redis]
        command = ["redis-cli", "--cluster", "create", *places, "--cluster-yes"]
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if found.returncode:
            raise StartError(f"redis-cli makes no cluster: {found.stdout}{found.stderr}")
        deadline = time.monotonic() + START_SECONDS
        while not all(is_joined(server, len(self.redis)) for server in self.redis):
            if time.monotonic() > deadline:
                raise StartError("the Redis Cluster does not serve all slots")
            time.sleep(LOOK_SECONDS)

    def end(self):
        """Ends all that runs: who comes first is served by the others to its end."""
        for group in ([self.nginx] if self.nginx else [], self.nodes, self.redis):
            for part in group:
                part.ask_to_end()
            for part in group:
                part.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def started(kind, *arguments):
    """A part that runs: on other ports when those it was to have were taken."""
    for attempt in range(1, START_ATTEMPTS + 1):
        part = kind(*arguments)
        try:
            part.start()
            return part
        except StartError:
            if attempt == START_ATTEMPTS:
                raise


def with_short_drain(flags):
    """Nobody here needs to be let go slowly, unless it is asked for."""
    is_given = any(flag.split("=")[0] == "--drain" for flag in flags)
    return [*flags, *([] if is_given else ["--drain=1s"])]


def is_joined(server, count):
    info = server.ask("CLUSTER", "INFO")
    return "cluster_state:ok" in info and f"cluster_known_nodes:{count}" in info


def answers(url):
    """Whether a GET of it is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as response:
            return response.status == 200
    except (OSError, urllib.error.URLError):
        return False
