"""Holds the files for Prometheus and Grafana against a page of metrics.

Usage: monitoring.py PROMETHEUS.yml DASHBOARD.json METRICS_URL. Every query must parse, and name
only metrics, labels and values that the page has. Prints one JSON object: which checks passed,
which failed and why.
"""

import collections
import json
import pathlib
import re
import sys
import urllib.request

import promql_parser
import yaml

JOB = "ringwire"
# What Prometheus adds to every series, and the one that it makes itself.
ADDED_LABELS = {"job", "instance"}
OWN_METRICS = {"up": {}}
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# What Grafana fills in, and something of its kind.
VARIABLES = {"$__rate_interval": "1m"}


def main(prometheus, dashboard, url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        page = series_of(answer.read().decode())
    passed, failed = [], {}
    for name, problems in checks(pathlib.Path(prometheus), pathlib.Path(dashboard), page):
        if problems:
            failed[name] = "; ".join(problems)
        else:
            passed.append(name)
    print(json.dumps({"client": "monitoring", "passed": passed, "failed": failed}))


def series_of(text):
    """Every metric of the page, with the values of its labels."""
    page = collections.defaultdict(lambda: collections.defaultdict(set))
    page.update(OWN_METRICS)
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels = SAMPLE.match(line).groups()
            of_metric = page[name]
            for label, value in LABEL.findall(labels or ""):
                of_metric[label].add(value)
    return page


def checks(prometheus, dashboard, page):
    configuration = yaml.safe_load(prometheus.read_text(encoding="utf-8"))
    yield "scrape", scrape_problems(configuration)
    for file in configuration["rule_files"]:
        rules = yaml.safe_load((prometheus.parent / file).read_text(encoding="utf-8"))
        for group in rules["groups"]:
            for rule in group["rules"]:
                problems = rule_problems(rule) + query_problems(rule["expr"], page)
                yield f"alert {rule['alert']}", problems
    board = json.loads(dashboard.read_text(encoding="utf-8"))
    yield "dashboard", board_problems(board)
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            name = f"panel {panel['title']}: {target['refId']}"
            yield name, query_problems(target["expr"], page)


def scrape_problems(configuration):
    jobs = [job for job in configuration["scrape_configs"] if job["job_name"] == JOB]
    if len(jobs) != 1:
        return [f"{len(jobs)} jobs of the name that the alerts use"]
    return [] if jobs[0]["metrics_path"] == "/metrics" else ["another path"]


def rule_problems(rule):
    problems = []
    if rule["labels"]["severity"] not in ("page", "ticket"):
        problems.append("no severity")
    if not rule["annotations"]["summary"] or not rule["annotations"]["description"]:
        problems.append("not explained")
    return problems


def query_problems(query, page):
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    problems, labels = [], set(ADDED_LABELS)

    def visit(selector):
        if not isinstance(selector, promql_parser.VectorSelector):
            return
        if selector.name not in page:
            problems.append(f"no metric {selector.name}")
            return
        known = page[selector.name]
        labels.update(known)
        for matcher in selector.matchers.matchers:
            if matcher.name in ADDED_LABELS:
                continue
            if matcher.value not in known.get(matcher.name, ()):
                problems.append(f"{selector.name} has no {matcher.name}={matcher.value!r}")

    try:
        expression = promql_parser.parse(query)
    except ValueError as error:
        return [f"{query}: {error}"]
    promql_parser.walk(expression, visit)
    for grouped in re.findall(r"\bby \(([^)]*)\)", query):
        for label in re.split(r",\s*", grouped):
            if label not in labels:
                problems.append(f"no label {label} to group by")
    return problems


def board_problems(board):
    problems = []
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(board["panels"])))
    if used != variables:
        problems.append(f"variables {variables}, used {used}")
    ids = [panel["id"] for panel in board["panels"]]
    if len(set(ids)) != len(ids):
        problems.append("two panels with one id")
    cells = collections.Counter(cell for panel in board["panels"] for cell in cells_of(panel))
    if any(count > 1 for count in cells.values()) or any(x >= 24 for x, _ in cells):
        problems.append("panels overlap, or leave the grid")
    if not isinstance(board["schemaVersion"], int):
        problems.append("no schemaVersion")
    return problems


def cells_of(panel):
    place = panel["gridPos"]
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


if __name__ == "__main__":
    main(*sys.argv[1:])
