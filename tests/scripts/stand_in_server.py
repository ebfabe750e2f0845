"""Stands in for `ringwire`: says where it listens, and ends or is replaced when it is told to.

Its admin listener is at ADMIN, it ends with EXIT_CODE, and the first one leaves its number in the file
PID.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def say(*words):
    print(*words, flush=True)


def end(*_):
    say("draining at_most=1s")
    time.sleep(0.2)
    sys.exit(int(os.environ["EXIT_CODE"]))


def replace(*_):
    successor = subprocess.Popen(["sleep", "60"])
    say("process", successor.pid, "has taken over from process", os.getpid())
    end()


first = Path(os.environ["PID"])
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGUSR2, replace)
values = dict(flag.split("=", 1) for flag in sys.argv[1:] if "=" in flag)
say("listening on", f"ws://{values['--listen']}")
say("admin on", os.environ["ADMIN"])
if "--take-over" in sys.argv:
    os.kill(int(first.read_text()), signal.SIGTERM)
elif not first.exists():
    first.write_text(str(os.getpid()))
time.sleep(60)
