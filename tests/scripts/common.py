"""The scripts that measure, as modules and as programs."""

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))


def load(name):
    """A script as a module."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(SCRIPTS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def call(name, *words, seconds=60):
    """A script as a program, run to its end."""
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
