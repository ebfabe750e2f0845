"""The script that replaces a server under its clients: what it judges, and how it goes about it."""

import http.server
import json
import os
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path
from unittest import mock

import common

restart = common.load("restart")

CLIENTS = 100
NOTHING = (
    "never_back",
    "refused",
    "reset",
    "ended_without_close",
    "closed_otherwise",
    "not_upgraded",
    "timed_out",
    "broke_otherwise",
    "unanswered_at_farewell",
)


def summary(verdict="VALID", errors=(), missing=0, **figures):
    """What the generator says of a restart that nobody noticed, but for this."""
    found = {"farewells": CLIENTS, "returned": CLIENTS, **dict.fromkeys(NOTHING, 0)}
    for name in ("farewells", "returns"):
        found[f"{name}_per_second_max"] = 60
        found[f"{name}_per_second_mean"] = 50
        found[f"{name}_max_over_mean"] = 1.2
    found.update(figures)
    us = {"p50": 1.0, "p99": 2.0, "max": 3.0}
    return {
        "verdict": verdict,
        "reasons": [] if verdict == "VALID" else ["the test wants it"],
        "notes": [],
        "figures": [{"name": name, "value": value} for name, value in found.items()],
        "errors": [{"stage": stage, "kind": "any", "count": 1} for stage in errors],
        "messages": {"missing": missing, "duplicate": 0, "out_of_order": 0, "corrupt": 0},
        "histograms": {"recovery": {"us": us}},
        "latency_us": us,
    }


def facts(**changes):
    """What is seen of servers that do as they should, but for this."""
    good = {"exit_seconds": 1.5, "exit_code": 0, "looks_complete": 10, "connections_last": CLIENTS}
    return restart.Facts(1, 2, **{**good, **changes})


class Judge(unittest.TestCase):
    def judge(self, found=None, how="signal", **of_summary):
        arguments = types.SimpleNamespace(connections=CLIENTS, drain=2, how=how)
        return restart.judge(found or facts(), summary(**of_summary), arguments)

    def fails(self, words, *given, **flags):
        failures, _ = self.judge(*given, **flags)
        self.assertEqual(len(failures), 1, failures)
        self.assertIn(words, failures[0])

    def test_a_restart_that_nobody_noticed(self):
        self.assertEqual(self.judge(), ([], []))

    def test_whoever_noticed_fails_it(self):
        self.fails("the test wants it", verdict="SERVER-ERRORS", errors=["connect"])
        self.fails("the test wants it", verdict="CONNECTIONS-MISSING")
        self.fails("99 returned of 100", returned=99)
        self.fails("101 farewells of 100", farewells=101)

    def test_the_generators_limits_are_told(self):
        self.assertEqual(self.judge(verdict="GENERATOR-BOUND"), ([], ["the test wants it"]))

    def test_a_drain_is_pardoned_what_comes_while_nobody_listens(self):
        errors = {"verdict": "SERVER-ERRORS", "how": "drain"}
        found = self.judge(errors=["connect", "upgrade"], **errors)
        self.assertEqual(found, ([], ["the test wants it"]))
        self.fails("the test wants it", errors=["connect", "open"], **errors)
        self.fails("the test wants it", errors=["connect"], missing=1, **errors)

    def test_the_servers_must_do_their_part(self):
        self.fails("ended with 1", facts(exit_code=1))
        self.fails("did not end", facts(exit_code=None, exit_seconds=None))
        self.fails("did not say when", facts(exit_seconds=None))
        self.fails("took 4.1 s to end, over 4 s", facts(exit_seconds=4.1))
        self.fails("but 99", facts(looks_complete=9, connections_last=99))
        self.fails("left behind", facts(left_behind="1 connections"))

    def test_clients_are_let_go_evenly(self):
        self.fails("returns: 2.10 times", returns_max_over_mean=2.1)
        failures, remarks = self.judge(farewells_max_over_mean=2.1, farewells_per_second_mean=19)
        self.assertEqual(failures, [])
        self.assertIn("too few to be judged", remarks[0])

    def test_a_run_that_was_none_says_why(self):
        none = {"verdict": "COULD-NOT-RUN", "reasons": ["silently"]}
        self.assertEqual(restart.judge(facts(), none, None), (["loadtest: silently"], []))


class Gauge(http.server.BaseHTTPRequestHandler):
    """The metrics of a server that has the clients whose file is there. They leave when they were
    seen often enough after the end of the first server."""

    def do_GET(self):
        clients = self.server.clients
        count = CLIENTS if clients.exists() else 0
        if count and self.server.first.exists():
            self.server.looks += not is_running(int(self.server.first.read_text()))
            if self.server.looks > restart.LOOKS:
                clients.unlink()
        self.send_response(200)
        self.end_headers()
        words = f"ringwire_connections {count}\nringwire_handshakes_in_progress 0\n"
        self.wfile.write(words.encode())

    def log_message(self, *_):
        pass


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


class Course(unittest.TestCase):
    """A whole restart, with stand-ins for both programs."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for name, stand_in in (("loadtest", "stand_in"), ("ringwire", "stand_in_server")):
            program = self.folder / name
            script = Path(__file__).with_name(f"{stand_in}.py")
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
            program.chmod(0o755)
        self.admin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gauge)
        self.admin.clients, self.admin.first = self.folder / "clients", self.folder / "pid"
        self.addCleanup(self.admin.server_close)
        self.addCleanup(self.admin.shutdown)
        threading.Thread(target=self.admin.serve_forever, daemon=True).start()

    def restart(self, how, exit_code=0):
        """Runs it; gives back its exit code, its last line, and what it wrote."""
        self.admin.looks = 0
        self.admin.first.unlink(missing_ok=True)
        environment = {
            "PID": str(self.admin.first),
            "ADMIN": f"http://127.0.0.1:{self.admin.server_port}",
            "CLIENTS": str(self.admin.clients),
            "EXIT_CODE": str(exit_code),
            "SUMMARY": json.dumps(summary()),
        }
        out = self.folder / "found.json"
        words = f"restart {CLIENTS} --how={how} --drain=1 --programs={self.folder} --json={out}"
        with (
            mock.patch.dict(os.environ, environment),
            mock.patch.object(sys, "argv", words.split()),
            mock.patch.object(restart, "BEFORE", -1),
            mock.patch.object(restart, "LOOK_SECONDS", 0.02),
            mock.patch("builtins.print") as said,
            self.assertRaises(SystemExit) as end,
        ):
            restart.main()
        return end.exception.code, said.mock_calls[-1].args[0], json.loads(out.read_text())

    def test_every_way_leads_to_a_new_process(self):
        for how in ("signal", "take-over", "drain"):
            with self.subTest(how):
                code, last, found = self.restart(how)
                self.assertEqual((code, last), (0, "verdict: PASSED"), found["failures"])
                self.assertEqual((found["how"], found["passed"]), (how, True))
                self.assertNotEqual(found["old_pid"], found["new_pid"])
                self.assertLess(found["exit_seconds"], 1)

    def test_a_server_that_ends_badly_fails(self):
        code, last, _ = self.restart("signal", exit_code=3)
        self.assertEqual((code, last), (1, "verdict: FAILED; the old server ended with 3"))
