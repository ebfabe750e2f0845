"""Reads /metrics of a server with Prometheus's own parser and holds it to the rules of naming.

Usage: python_metrics.py HOST:PORT. Prints one JSON object: which checks passed, which failed and
why. Where promtool(1) is installed, it is asked, too.
"""

import collections
import json
import re
import shutil
import subprocess
import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

NAME = re.compile(r"(ringwire|process)_[a-z][a-z0-9_]*\Z")
# What a name may not carry beside the base units.
WRONG_UNITS = re.compile(r"(milli|micro|nano)seconds?|_ms\b|_kib|_mib|_kilobytes|_minutes|_hours")


def fetch(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read().decode("utf-8")


def has_the_media_type(kind, _text, _families):
    expect(kind, "text/plain; version=0.0.4; charset=utf-8")


def families_are_whole(_kind, text, families):
    """Each has HELP and TYPE once, in front of its samples, and has samples."""
    for word in ("HELP", "TYPE"):
        names = re.findall(rf"^# {word} (\S+) \S", text, re.MULTILINE)
        expect(sorted(set(names)), sorted(names))
        expect(len(names), len(families))
    for family in families:
        assert family.documentation.endswith("."), f"{family.name}: {family.documentation!r}"
        assert family.type in ("gauge", "counter", "histogram"), f"{family.name}: {family.type}"
        assert family.samples, f"{family.name} has no samples"


def names_follow_the_rules(_kind, text, families):
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        assert NAME.match(name), name
        assert not WRONG_UNITS.search(name), name
        expect(name.endswith("_total"), kind == "counter")
        expect(name.endswith("_seconds"), kind == "histogram" or name.endswith("time_seconds"))
        assert not re.search(r"_(gauge|counter|histogram|count|sum|bucket)(_|\Z)", name), name
    for family in families:
        words = family.documentation.lower().split()
        if "bytes" in words[:1]:
            assert "bytes" in family.name, f"{family.name}: {family.documentation}"


def no_series_comes_twice(_kind, _text, families):
    series = [
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families
        for sample in family.samples
    ]
    twice = [one for one, count in collections.Counter(series).items() if count > 1]
    expect(twice, [])
    assert len(series) > 200, len(series)


def values_are_numbers_that_fit_their_kind(_kind, _text, families):
    for family in families:
        for sample in family.samples:
            assert sample.value >= 0, sample
            if not sample.name.endswith(("_seconds", "_seconds_total", "_sum")):
                expect(sample.value, int(sample.value))


def histograms_are_cumulative(_kind, _text, families):
    histograms = [family for family in families if family.type == "histogram"]
    expect(len(histograms), 6)
    for family in histograms:
        buckets = [one for one in family.samples if one.name == f"{family.name}_bucket"]
        bounds = [float(one.labels["le"]) for one in buckets]
        expect(bounds[:-1], [2**exponent / 1e9 for exponent in range(12, 35)])
        expect(bounds[-1], float("inf"))
        values = [one.value for one in buckets]
        expect(values, sorted(values))
        rest = {one.name: one.value for one in family.samples}
        expect(rest[f"{family.name}_count"], values[-1])


def promtool_accepts_it(_kind, text, _families):
    promtool = shutil.which("promtool")
    if promtool:
        command = [promtool, "check", "metrics"]
        found = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
        expect((found.returncode, found.stdout + found.stderr), (0, ""))


CHECKS = (
    has_the_media_type,
    families_are_whole,
    names_follow_the_rules,
    no_series_comes_twice,
    values_are_numbers_that_fit_their_kind,
    histograms_are_cumulative,
    promtool_accepts_it,
)


def expect(found, wanted):
    assert found == wanted, f"{found!r}, not {wanted!r}"


def main():
    kind, text = fetch(sys.argv[1])
    families = list(text_string_to_metric_families(text))
    passed, failed = [], {}
    for check in CHECKS:
        try:
            check(kind, text, families)
            passed.append(check.__name__)
        except AssertionError as error:
            failed[check.__name__] = str(error)
    print(json.dumps({"client": "prometheus_client", "passed": passed, "failed": failed}))


if __name__ == "__main__":
    main()
