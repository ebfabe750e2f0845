"""Stands in for `loadtest`: writes a small summary with the verdict that the test asks for.

VERDICTS is JSON, from the folder's name to a verdict; others are valid. A restart has clients as long
as the file CLIENTS is there, which it makes, and its summary is that in SUMMARY.
"""

import json
import os
import sys
import time
from pathlib import Path

EXIT_CODES = {"VALID": 0, "GENERATOR-BOUND": 4, "SERVER-ERRORS": 3}


def main(scenario, flags):
    values = dict(flag.removeprefix("--").split("=", 1) for flag in flags if "=" in flag)
    if "--help" in flags:
        sys.exit(2 if scenario == "rooms" else 0)
    if scenario == "report":
        Path(values["html"]).write_text(" ".join(flags))
        return
    out = Path(values["out"])
    if scenario == "restart":
        clients = Path(os.environ["CLIENTS"])
        clients.touch()
        deadline = time.monotonic() + 30
        while clients.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        out.mkdir()
        (out / "summary.json").write_text(os.environ["SUMMARY"])
        return
    verdict = json.loads(os.environ["VERDICTS"]).get(out.name, "VALID")
    out.mkdir()
    summary = {
        "verdict": verdict,
        "reasons": [] if verdict == "VALID" else ["the test wants it"],
        "rate": {"target": float(values.get("rate", 0)), "received": 10_000.0},
        "latency_us": {"p50": 1.0, "p99": 2.0, "p99_9": 3.0, "max": 4.0},
    }
    (out / "summary.json").write_text(json.dumps(summary))
    sys.exit(EXIT_CODES[verdict])


main(sys.argv[1], sys.argv[2:])
