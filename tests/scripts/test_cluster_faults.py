"""What scripts/cluster-faults makes of the metrics of nodes, and of a summary."""

import time
import types
import unittest
from unittest import mock

import common

script = common.load("cluster-faults")
WELL = {**dict.fromkeys(script.READ, 0), script.LINKS_UP: 2, script.NODES: 2}
ALONE = {**WELL, script.LINKS_UP: 1}
BEHIND = {**WELL, script.ROOMS_SYNCING: 3, script.LOST: 5}


class Judging(unittest.TestCase):
    """A fault from 10 to 20 s after the beginning."""

    def judge(self, looks, restore_seconds=0.2):
        watch = object.__new__(script.Watch)
        start = time.monotonic() - 30
        watch.nodes = [types.SimpleNamespace(name=name) for name in ("node-1", "node-2")]
        watch.looks = [(start + at, said) for at, said in looks]
        with mock.patch.object(script, "RESTORE_SECONDS", restore_seconds + 10):
            found = watch.judge(start + 10, start + 20)
        self.counted, self.not_well = watch.counted(script.LOST), found.pop("not_well")
        return [value and round(value, 3) for value in found.values()]

    def test_the_first_look_that_shows_it_detects(self):
        looks = [(9, [WELL, WELL]), (11, [None, WELL]), (12, [None, ALONE]), (13, [None, ALONE])]
        looks += [(21, [BEHIND, WELL]), (23, [WELL, WELL]), (24, [WELL, BEHIND])]
        self.assertEqual(self.judge(looks), [2, 3, True])
        # One of them has begun to count anew.
        self.assertEqual(self.counted, 10)

    def test_what_nobody_shows_is_not_detected(self):
        looks = [(9, [WELL, WELL]), (15, [WELL, WELL]), (21, [WELL, WELL])]
        self.assertEqual(self.judge(looks), [None, 1, True])

    def test_what_was_over_before_the_next_look_is_counted(self):
        looks = [(9, [WELL, WELL]), (11, [WELL, {**WELL, script.BREAKS: 1}]), (21, [WELL, WELL])]
        self.assertEqual(self.judge(looks), [1, 1, True])

    def test_what_a_node_had_counted_that_was_killed_is_not_forgotten(self):
        looks = [(9, [WELL, WELL]), (11, [BEHIND, BEHIND]), (12, [None, BEHIND])]
        looks += [(21, [{**WELL, script.LOST: 2}, {**BEHIND, script.ROOMS_SYNCING: 0}])]
        self.judge(looks)
        self.assertEqual(self.counted, 12)

    def test_what_stays_broken_is_not_restored(self):
        looks = [(9, [WELL, WELL]), (15, [None, ALONE]), (21, [None, ALONE])]
        self.assertEqual(self.judge(looks), [5, None, False])
        alone = f"node-2 has {script.LINKS_UP} 1, not 2"
        self.assertEqual(self.not_well, ["node-1 does not answer", alone])


class Metrics(unittest.TestCase):
    def test_all_series_are_summed_up(self):
        text = "ringwire_a 1\nringwire_a{x=\"1\"} 2\nringwire_ab 4\n# ringwire_a 8\n"
        self.assertEqual(script.total(text, "a"), 3)
        self.assertIsNone(script.total(text, "b"))


class Verdict(unittest.TestCase):
    def judge(self, fault, verdict, **wrong):
        messages = {**dict.fromkeys(script.WRONG, 0), **wrong}
        summary = {"verdict": verdict, "reasons": ["why"], "notes": [], "figures": []}
        summary.update(messages=messages, histograms={})
        run = script.Run(types.SimpleNamespace(), None, None, fault)
        found = {"detected_seconds": None, "restored_seconds": 1.0, "is_restored": True}
        result = run.judge(found, {}, summary, 5.0)
        self.assertIn(f"| {fault} | 5.00 s | – | 1.00 s |", script.table([result]).markdown())
        return result["verdict"]

    def test_only_faults_that_cut_connections_may_lose_them(self):
        self.assertEqual(self.judge("redis-kill", "VALID"), "PASSED")
        self.assertEqual(self.judge("redis-kill", "SERVER-ERRORS"), "FAILED")
        self.assertEqual(self.judge("node-kill", "SERVER-ERRORS"), "PASSED")
        self.assertEqual(self.judge("node-kill", "SERVER-ERRORS", missing=1), "FAILED")
        self.assertEqual(self.judge("node-kill", "CONNECTIONS-MISSING"), "FAILED")
