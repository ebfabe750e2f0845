"""What the scripts have in common: statistics, verdicts, processors, tables, baselines."""

import re
import socket
import unittest
from pathlib import Path

import common
from lib import columns, machine, servers, stats, tables, verdicts


class Stats(unittest.TestCase):
    def test_spread_and_median(self):
        self.assertEqual(stats.spread([3, 1, 2]), (2, 1, 3))
        self.assertEqual(stats.spread([4, 1]), (2.5, 1, 4))
        self.assertEqual(stats.median_index([30, 10, 20]), 2)
        self.assertEqual(stats.median_index([40, 10, 30, 20]), 3)
        self.assertEqual(stats.median_index([7]), 0)

    def test_slope_is_that_of_the_line(self):
        line = [(x, 5 + 2 * x) for x in range(10)]
        self.assertAlmostEqual(stats.slope(line), 2)
        # Noise to both sides leaves the slope as it is.
        noisy = [(x, y + sign) for x, y in line for sign in (-3, 3)]
        self.assertAlmostEqual(stats.slope(noisy), 2)
        self.assertEqual(stats.slope([(1, 1), (1, 9)]), 0)

    def test_growth_of_the_second_half(self):
        # A server that fills its caches and then stays the same.
        points = [(t, min(t, 1800) * 1000) for t in range(0, 3601, 10)]
        hourly, total = stats.growth(stats.second_half(points))
        self.assertAlmostEqual(hourly, 0)
        self.assertAlmostEqual(total, 0)
        leak = [(t, 1000 * t) for t in range(0, 3601, 10)]
        hourly, total = stats.growth(stats.second_half(leak))
        self.assertAlmostEqual(hourly, 3_600_000)
        self.assertAlmostEqual(total, 1_800_000)

    def test_two_digits(self):
        found = [stats.two_digits(value) for value in (103_607, 99_600, 87, 1.26, 0.0123)]
        self.assertEqual(found, [100_000, 100_000, 87, 1.3, 0.012])


class Verdicts(unittest.TestCase):
    def test_the_worst_counts(self):
        self.assertEqual(verdicts.worst([]), "VALID")
        found = verdicts.worst(["VALID", "SERVER-ERRORS", "GENERATOR-BOUND"])
        self.assertEqual(found, "SERVER-ERRORS")
        self.assertEqual(verdicts.worst(["VALID", "of another version"]), "COULD-NOT-RUN")

    def test_in_short(self):
        self.assertEqual(verdicts.in_short(["VALID"] * 3), "VALID")
        found = verdicts.in_short(["VALID", "GENERATOR-BOUND", "VALID"])
        self.assertEqual(found, "GENERATOR-BOUND † (1 of 3)")

    def test_codes_and_weights_are_those_of_the_generator(self):
        source = common.SCRIPTS.parent / "loadtest/src/results/verdict.rs"
        text = source.read_text()
        names = dict(re.findall(r'Self::(\w+) => "([A-Z-]+)"', text))
        order = re.search(r"fn severity.*?\n    }", text, re.DOTALL)[0]
        found = re.findall(r"::(\w+) => (\d+)", order)
        weights = {names[name]: int(weight) for name, weight in found}
        self.assertEqual(list(verdicts.EXIT_CODES), sorted(weights, key=weights.get))
        codes = re.search(r"fn exit_code.*?\n    }", text, re.DOTALL)[0]
        for left, code in re.findall(r"((?:Self::\w+(?: \| )?)+) => (\d+)", codes):
            for name in re.findall(r"::(\w+)", left):
                self.assertEqual(verdicts.EXIT_CODES[names[name]], int(code), name)


class Machine(unittest.TestCase):
    def test_processors_of_one_core_stay_together(self):
        def pairs(cpu):
            return {cpu % 4, cpu % 4 + 4}

        def alone(cpu):
            return {cpu}

        self.assertEqual(machine.split(tuple(range(8)), pairs), ((0, 1, 4, 5), (2, 3, 6, 7)))
        self.assertEqual(machine.split((0, 4), pairs), ((0,), (4,)))
        self.assertEqual(machine.split((2,), pairs), ((2,), (2,)))
        self.assertEqual(machine.split((0, 1, 2), alone), ((0,), (1, 2)))

    def test_lists_of_the_kernel(self):
        self.assertEqual(machine.cpu_list("0-2,8\n"), {0, 1, 2, 8})
        self.assertEqual(machine.cpu_list("5\n"), {5})

    def test_ports_are_not_those_of_clients(self):
        low, high = map(
            int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        )
        port = machine.free_port()
        self.assertFalse(low <= port <= high)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))

    def test_a_process_that_is_gone_has_no_memory(self):
        self.assertEqual(machine.resident_bytes(2**22 + 1), 0)


class Baseline(unittest.TestCase):
    def test_waits_until_nothing_is_left(self):
        looks = [["3 connections"], ["1 connections"], []]
        server = type("Server", (), {"left_behind": lambda self: looks.pop(0)})()
        self.assertEqual(servers.wait_for_baseline(server, 60), [])
        self.assertEqual(looks, [])

    def test_says_what_is_left(self):
        server = type("Server", (), {"left_behind": lambda self: ["2 handshakes"]})()
        self.assertEqual(servers.wait_for_baseline(server, 0), ["2 handshakes"])

    def test_a_server_that_is_gone_is_no_baseline(self):
        server = servers.Given("ws://127.0.0.1:1", "http://127.0.0.1:1")
        self.assertIn("no answer", servers.wait_for_baseline(server, 0)[0])
        self.assertIn("no answer", servers.refusal("ws://127.0.0.1:1/echo"))


class Tables(unittest.TestCase):
    COLUMNS = [
        columns.Column("rate", lambda run: run["rate"], is_compared=True),
        columns.Column("never there", lambda run: run["missing"]["one"]),
    ]

    def test_rows_have_medians_ranges_and_ratios(self):
        def runs(*rates):
            return [{"verdict": "VALID", "rate": rate} for rate in rates]

        groups = {"ours": runs(1000, 3000, 2000), "theirs": runs(500)}
        table = tables.table_of_runs("t", "server", self.COLUMNS, groups, base="ours")
        self.assertEqual(table.header, ["server", "rate", "verdict"])
        self.assertEqual(table.rows[0], ["ours", "2,000 (1,000–3,000)", "VALID"])
        self.assertEqual(table.rows[1], ["theirs", "500, 0.25 ×", "VALID"])
        self.assertIn("<td>theirs</td>", table.html())

    def test_a_run_that_failed_leaves_a_gap(self):
        groups = {"a": [{"verdict": "COULD-NOT-RUN"}], "b": [{"verdict": "VALID", "rate": 1}]}
        table = tables.table_of_runs("t", "run", self.COLUMNS, groups, base="a")
        self.assertEqual(table.rows, [["a", "–", "COULD-NOT-RUN"], ["b", "1", "VALID"]])
        self.assertEqual(tables.figures(self.COLUMNS, groups["a"]), {})
