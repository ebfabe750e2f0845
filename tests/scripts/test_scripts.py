"""The scripts as programs, with a stand-in for the load generator and one for the server."""

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

STAND_IN = Path(__file__).with_name("stand_in.py")


class Answers(http.server.BaseHTTPRequestHandler):
    """An upgrade of /echo, nothing else to connect to, and the metrics of a server at rest."""

    def do_GET(self):
        known = self.path in ("/echo", "/metrics")
        self.send_response(101 if self.path == "/echo" else 200 if known else 404)
        self.end_headers()
        if self.path == "/metrics":
            self.wfile.write(b"ringwire_connections 0\nringwire_handshakes_in_progress 0\n")

    def log_message(self, *_):
        pass


class Help(unittest.TestCase):
    def test_every_script_explains_itself(self):
        names = "bench", "capacity", "cluster", "cluster-faults", "compare-peers", "large-room"
        names += "dev-cert", "restart", "soak"
        for name in names:
            with self.subTest(name):
                found = common.call(name, "--help")
                self.assertEqual(found.returncode, 0, found.stderr)
                self.assertIn("usage:", found.stdout)

    def test_wrong_flags_are_refused(self):
        for name, flag in (
            ("bench", "--repeats=0"),
            ("cluster", "0"),
            ("cluster-faults", "--fault=x"),
            ("cluster-faults", "--redis-cluster"),
            ("compare-peers", "--servers=x"),
            ("dev-cert", "--days=0"),
            ("restart", "--how=x"),
            ("restart", "--drain=0"),
            ("soak", "--hours=0"),
        ):
            with self.subTest(name):
                self.assertEqual(common.call(name, flag).returncode, 2)


class Bench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        program = self.folder / "loadtest"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
        program.chmod(0o755)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{server.server_port}"

    def bench(self, *words, **by_run):
        """Runs it; gives back its exit code, its last line, and its results."""
        out = self.folder / "results"
        environment = {"VERDICTS": json.dumps({k.replace("_", "-"): v for k, v in by_run.items()})}
        with mock.patch.dict(os.environ, environment):
            found = common.call(
                "bench",
                "--smoke",
                f"--programs={self.folder}",
                f"--out={out}",
                f"--url=ws://{self.address}",
                f"--admin=http://{self.address}",
                *words,
            )
        self.assertTrue((out / "results.json").exists(), found.stderr)
        results = json.loads((out / "results.json").read_text())
        return found.returncode, found.stdout.splitlines()[-1], results

    def test_a_good_server(self):
        code, last, results = self.bench()
        self.assertEqual(code, 0)
        # Everything on /echo; what is on /broadcast and rooms have their reasons.
        self.assertEqual(last, "verdict: VALID (9 runs; 5 of 14 left out)")
        runs = results["runs"]
        self.assertEqual(runs["rooms"]["skipped"], "loadtest has no scenario rooms")
        self.assertEqual(runs["slow"]["skipped"], "/broadcast is answered with 404 Not Found")
        # The sweep is a share of what the closed loop reached.
        self.assertIn("--rate=3000", runs["rate-30"]["flags"])
        self.assertEqual(runs["rate-30"]["figures"]["target/s"]["median"], 3000)
        page = self.folder / "results/report.html"
        self.assertEqual(page.read_text().count("results/rate-"), 5)
        index = (self.folder / "results/index.html").read_text()
        for file in ("report.html", "index.md", "results.json", "rate-90/summary.json"):
            self.assertIn(f'href="{file}"', index)

    def test_only_a_ceiling_may_be_the_generators(self):
        code, last, _ = self.bench(echo="GENERATOR-BOUND")
        self.assertEqual(code, 0)
        self.assertIn("VALID (9 runs; 5 of 14 left out; bound by the generator: echo)", last)

    def test_the_worst_run_decides(self):
        code, last, _ = self.bench(rate_90="GENERATOR-BOUND", churn="SERVER-ERRORS")
        self.assertEqual(code, 3)
        self.assertTrue(last.startswith("verdict: SERVER-ERRORS"), last)
        text = (self.folder / "results/index.md").read_text()
        self.assertIn("* churn: SERVER-ERRORS: the test wants it", text)

    def test_repeats_are_interleaved_and_summed_up(self):
        code, _, results = self.bench("--repeats=2", rate_10_2="GENERATOR-BOUND")
        self.assertEqual(code, 4)
        self.assertEqual(results["runs"]["rate-10"]["verdicts"], ["VALID", "GENERATOR-BOUND"])
        self.assertIn("GENERATOR-BOUND † (1 of 2)", (self.folder / "results/index.md").read_text())


class SoakMemory(unittest.TestCase):
    """An hour of samples, or less, judged."""

    def failures(self, resident, seconds=3600):
        script = common.load("soak")
        arguments = types.SimpleNamespace(growth=4)
        soak = script.Soak(None, None, arguments, None)
        soak.begin, soak.end = 0, seconds
        times = range(0, seconds + 1, 10)
        soak.samples = [{"t": t, "resident_bytes": resident(t)} for t in times]
        with mock.patch("sys.stderr"):
            soak.judge_memory()
        return soak.failures

    def test_a_leak_fails(self):
        self.assertEqual(len(self.failures(lambda t: 10**7 + 2000 * t)), 1)

    def test_a_short_soak_is_not_judged(self):
        self.assertEqual(self.failures(lambda t: 10**7 + 200_000 * t, seconds=300), [])
        self.assertEqual(self.failures(lambda t: 0, seconds=0), [])

    def test_caches_that_fill_pass(self):
        self.assertEqual(self.failures(lambda t: 10**7 + min(t, 900) * 20_000), [])

    def test_noise_passes(self):
        self.assertEqual(self.failures(lambda t: 10**7 + t // 10 % 7 * 2**18), [])
