"""Runs of the load generator: starting them, ending them, and reading what they left."""

import json
import signal
import subprocess

from .verdicts import COULD_NOT_RUN

# Beyond the time that was asked for: connecting, warming up, settling, leaving, each with slow
# servers.
EXTRA_SECONDS = 300
# A run that is interrupted still closes its connections and writes its report.
INTERRUPT_SECONDS = 60


class Loadtest:
    """The load generator, on certain processors, before or behind others."""

    def __init__(self, programs, cpus=(), niceness=0):
        self.program = str(programs / "loadtest")
        self.cpus = cpus
        self.niceness = niceness

    def knows(self, command):
        """Whether it has this subcommand."""
        return self.call([command, "--help"]).returncode == 0

    def start(self, scenario, url, out, flags):
        """Starts a run that leaves its files in `out`, and its text beside it."""
        command = [self.program, scenario, f"--url={url}", f"--out={out}", *flags]
        if self.cpus:
            command.append(f"--cpus={','.join(map(str, self.cpus))}")
        if self.niceness:
            # Says so and goes on where that takes a right that we do not have.
            command = ["chrt", "--fifo", "1", *command]
        return Run(command, out)

    def run(self, scenario, url, out, flags, seconds):
        """As `start`, and waits for its end. Gives back its summary."""
        run = self.start(scenario, url, out, flags)
        try:
            run.wait(seconds + EXTRA_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            run.interrupt()
            if isinstance(error, KeyboardInterrupt):
                raise
        return run.summary()

    def report(self, folders, page):
        """Lays saved runs over each other in one page; says why when that is impossible."""
        found = self.call(["report", *map(str, folders), f"--html={page}"])
        return "" if page.exists() else (found.stderr.strip().splitlines() or ["no page"])[-1]

    def call(self, words):
        return subprocess.run(
            [self.program, *words], capture_output=True, text=True, check=False, timeout=120
        )


class Run:
    """A run that was started."""

    def __init__(self, command, out):
        self.out = out
        self.is_asked = False
        self.log = out.with_name(f"{out.name}.txt")
        with self.log.open("w") as output:
            # A session of its own: the script hands on the signals of the terminal.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Safe from the terminal's signals, but of the same session: sessions share the CPUs
                # as groups (sched_autogroup), which halves the rate of connects.
                process_group=0,
            )

    def wait(self, seconds):
        return self.process.wait(seconds)

    def ask_to_end(self):
        """Has the run end early and write its report; a second signal would not let it."""
        if not self.is_asked and self.process.poll() is None:
            self.is_asked = True
            self.process.send_signal(signal.SIGINT)

    def interrupt(self):
        """Ends the run early; it still writes its report."""
        self.ask_to_end()
        try:
            self.process.wait(INTERRUPT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def summary(self):
        """What the ended run left; without a summary, the verdict is that there was no run."""
        try:
            return json.loads((self.out / "summary.json").read_text())
        except (OSError, ValueError):
            words = self.log.read_text().strip().splitlines()[-3:]
            reason = f"it ended with {self.process.returncode}: {' / '.join(words) or 'silently'}"
            return {"verdict": COULD_NOT_RUN, "exit_code": 1, "reasons": [reason]}
