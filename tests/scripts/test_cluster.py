"""scripts/cluster with a stand-in for the server, real Redis and real nginx."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import types
import unittest
import urllib.request
from pathlib import Path

import common
from lib import cluster
from lib.servers import StartError

STAND_IN = Path(__file__).with_name("stand_in_node.py")
NODES = [types.SimpleNamespace(port=port) for port in (10_001, 10_002, 10_003)]


class NginxConfig(unittest.TestCase):
    def test_it_is_that_of_deploy_with_other_places(self):
        text = cluster.NGINX_CONFIG.read_text()
        found = cluster.nginx_config(text, Path("/folder"), 10_000, NODES)
        for node in NODES:
            self.assertRegex(found, rf"server 127.0.0.1:{node.port} max_fails=\d+ .*;\n")
        self.assertIn("listen 127.0.0.1:10000 reuseport;", found)
        for foreign in ("10.0.0.", "/var/", "\n        ip_hash;", "\nuser "):
            self.assertNotIn(foreign, found)
        self.assertIn("proxy_next_upstream", found)

    def test_a_place_that_is_gone_is_noticed(self):
        text = cluster.NGINX_CONFIG.read_text().replace("listen 80", "listen 81")
        with self.assertRaisesRegex(StartError, "0 places like listen 80"):
            cluster.nginx_config(text, Path("/folder"), 10_000, NODES)


class Answers(unittest.TestCase):
    def read(self, answer):
        return cluster.read_answer(io.BytesIO(answer))

    def test_every_kind_is_understood(self):
        self.assertEqual(self.read(b"+OK\r\n"), "OK")
        self.assertEqual(self.read(b":-5\r\n"), -5)
        self.assertEqual(self.read(b"$4\r\na\r\nb\r\n"), "a\r\nb")
        self.assertIsNone(self.read(b"$-1\r\n"))
        self.assertEqual(self.read(b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n"), ["a", [1]])

    def test_errors_are_raised(self):
        with self.assertRaisesRegex(cluster.RedisError, "ERR no"):
            self.read(b"-ERR no\r\n")
        with self.assertRaises(ConnectionError):
            self.read(b"$1")


class Program(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.binary = Path(folder.name) / "ringwire"
        self.binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
        self.binary.chmod(0o755)

    def start(self, *words):
        """Starts it; gives back what it says when all is up."""
        self.process = subprocess.Popen(
            [common.SCRIPTS / "cluster", *words, "--json", "--bin", self.binary, "--", "--x=1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end)
        return self.read()

    def read(self):
        line = self.process.stdout.readline()
        self.assertTrue(line, "it has ended")
        return json.loads(line)

    def order(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.read()

    def end(self):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.communicate(timeout=60)

    def test_everything_is_up_can_be_broken_and_is_ended(self):
        facts = self.start("2")
        self.assertEqual([node["name"] for node in facts["nodes"]], ["node-1", "node-2"])
        redis = facts["redis"][0]
        with urllib.request.urlopen(facts["url"]) as answer:
            words = answer.read().decode().splitlines()
        self.assertIn("--x=1", words)
        self.assertIn(f"--redis={redis['url']}", words)
        self.assertTrue({"--node-id=node-1", "--node-id=node-2"} & set(words))

        ask = cluster.Redis.ask
        place = types.SimpleNamespace(port=redis["port"])
        self.assertEqual(ask(place, "SET", "key", "kept"), "OK")
        self.assertEqual(self.order("kill redis-1")["done"], "kill")
        with self.assertRaises(ConnectionRefusedError):
            ask(place, "PING")
        self.assertNotEqual(self.order("start redis-1")["pid"], redis["pid"])
        self.assertEqual(ask(place, "GET", "key"), "kept")

        self.order("kill node-1")
        with urllib.request.urlopen(facts["url"]) as answer:
            self.assertIn(b"--node-id=node-2", answer.read())
        pids = [self.order("start node-1")["pid"], facts["nodes"][1]["pid"]]
        self.assertEqual(self.order("start node-1"), {"error": "node-1 runs"})
        self.assertEqual(self.order("burn node-1"), {"error": "not understood: burn node-1"})
        self.order("stop node-2")
        os.kill(pids[0], signal.SIGKILL)
        self.assertIn("node-1 has ended with -9", self.process.stderr.readline())
        self.end()
        self.assertEqual(self.process.returncode, 0)
        for pid in (*pids, facts["nginx"]["pid"]):
            self.assertFalse(Path(f"/proc/{pid}").exists())

    def test_a_redis_cluster_serves_all_slots(self):
        facts = self.start("1", "--redis-cluster")
        self.assertEqual(len(facts["redis"]), 3)
        with urllib.request.urlopen(facts["url"]) as answer:
            words = answer.read().decode().splitlines()
        # One is enough, and tells of the others.
        told = [word for word in words if word.startswith("--redis")]
        self.assertEqual(told, [f"--redis={facts['redis'][0]['url']}"])
        place = types.SimpleNamespace(port=facts["redis"][2]["port"])
        self.assertIn("cluster_state:ok", cluster.Redis.ask(place, "CLUSTER", "INFO"))

    def test_a_server_that_does_not_start_is_told(self):
        self.binary.write_text("#!/bin/sh\necho no io_uring here\nexit 78\n")
        found = common.call("cluster", "1", "--bin", self.binary)
        self.assertEqual(found.returncode, 1)
        self.assertIn("does not start: node-1 ended: no io_uring here", found.stderr)
