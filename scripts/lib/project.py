"""The project's folders and programs."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def add_programs_flag(parser):
    """Adds the flag that `programs` takes."""
    parser.add_argument(
        "--programs",
        metavar="DIR",
        type=Path,
        help="folder with ringwire and loadtest; default: both are built, in release mode",
    )


def programs(given=None):
    """The folder with the two programs, built now unless one is given."""
    if given:
        return given.resolve()
    command = ["cargo", "build", "--release", "--locked", "--workspace", "--bins", "--quiet"]
    try:
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
    except FileNotFoundError:
        sys.exit("cargo is missing: install Rust, for example with rustup")
    if status:
        sys.exit("the programs cannot be built: see above")
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"


def results_folder(given, name):
    """The folder for the results of a script, made now: the given one, or one of today's."""
    if given:
        given.mkdir(parents=True, exist_ok=True)
        if any(given.iterdir()):
            sys.exit(f"{given} is not empty: name another with --out, or remove it")
        return given
    today = ROOT / "results" / f"{datetime.date.today()}-{name}"
    for number in range(1, 1000):
        folder = today if number == 1 else today.with_name(f"{today.name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    sys.exit(f"{today} and 998 others are there already: remove some, or name one with --out")


def commit():
    """The commit of the sources, with a mark when they were changed since; empty if unknown."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return found.stdout.strip()
