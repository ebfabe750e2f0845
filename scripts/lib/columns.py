"""The figures of each kind of run that a table shows."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A figure of a summary: its title with the unit, where it is, and how it is written."""

    title: str
    of: Callable
    form: str = "{:,.0f}"
    # Whether a table that compares servers shows its ratio.
    is_compared: bool = False

    def value(self, summary):
        """The figure, or None where the summary does not have it."""
        try:
            value = self.of(summary)
        except (KeyError, TypeError, ZeroDivisionError):
            return None
        return value


def figure(name):
    """A figure that only one scenario has."""
    return lambda run: {found["name"]: found["value"] for found in run["figures"]}[name]


def histogram(name, percentile, unit_us=1):
    return lambda run: run["histograms"][name]["us"][percentile] / unit_us


def latency(percentile):
    return lambda run: run["latency_us"][percentile]


def server_ns(run):
    return run["server"]["cpu_seconds_per_million_messages"] * 1000


def lost(run):
    messages = run["messages"]
    wrong = ("missing", "duplicate", "out_of_order", "corrupt")
    return run["connections"]["lost"] + sum(messages[name] for name in wrong)


LOST = Column("lost or wrong", lost)
SERVER_CPU = Column("server CPU ns/message", server_ns, is_compared=True)
SERVER_USER = Column(
    "server user ns/message", lambda run: run["server"]["user_ns_per_message"], is_compared=True
)
RECEIVED = Column("messages/s", lambda run: run["rate"]["received"], is_compared=True)
P50 = Column("p50 µs", latency("p50"), is_compared=True)
P99 = Column("p99 µs", latency("p99"), is_compared=True)
P99_9 = Column("p99.9 µs", latency("p99_9"))
MAX = Column("max µs", latency("max"))
LAG = Column("generator late, p99 µs", histogram("schedule_lag", "p99"))

IDLE = [
    Column("connected", lambda run: run["connections"]["achieved"]),
    Column("connects/s", lambda run: run["connections"]["connects_per_second"], is_compared=True),
    Column("handshake p50 ms", histogram("handshake", "p50", 1000), "{:,.1f}"),
    Column("handshake p99 ms", histogram("handshake", "p99", 1000), "{:,.1f}"),
    Column(
        "server B/connection",
        lambda run: run["server"]["resident_bytes_per_connection"],
        is_compared=True,
    ),
    Column("kernel B/connection", lambda run: run["kernel"]["slab_bytes_per_connection"]),
    Column("generator B/connection", lambda run: run["generator"]["resident_bytes_per_connection"]),
    Column("lost", lambda run: run["connections"]["lost"]),
]
CLOSED = [RECEIVED, P50, P99, P99_9, SERVER_USER, SERVER_CPU, LOST]
OPEN = [
    Column("target/s", lambda run: run["rate"]["target"]),
    Column("messages/s", lambda run: run["rate"]["received"]),
    P50,
    P99,
    P99_9,
    MAX,
    LAG,
    SERVER_CPU,
    Column("shed", lambda run: run["messages"]["shed"]),
    LOST,
]
FAN_OUT = [
    Column("target/s", lambda run: run["rate"]["target"]),
    Column("deliveries/s", lambda run: run["rate"]["received"]),
    P50,
    P99,
    P99_9,
    Column("last receiver p99 µs", histogram("last_receiver", "p99")),
    LAG,
    Column("server CPU ns/delivery", server_ns, is_compared=True),
    LOST,
]
ROOMS = [
    *(column for column in FAN_OUT if not column.title.startswith("last receiver")),
    Column("join p99 ms", histogram("join", "p99", 1000), "{:,.1f}"),
]
ROUNDS = [
    Column("rounds/s", figure("rounds_per_second"), "{:,.1f}", is_compared=True),
    Column(
        "server user ns/delivery",
        lambda run: run["server"]["user_ns_per_message"],
        "{:,.1f}",
        is_compared=True,
    ),
    Column("server CPU ns/delivery", server_ns, "{:,.1f}", is_compared=True),
    LOST,
]
CHURN = [
    Column("handshakes/s", figure("handshakes_per_second")),
    Column("handshake p50 ms", histogram("handshake", "p50", 1000), "{:,.1f}"),
    Column("handshake p99 ms", histogram("handshake", "p99", 1000), "{:,.1f}"),
    Column("starts without a free client", figure("not_started")),
    LOST,
]
STORM = [
    Column("dropped", figure("dropped")),
    Column("90 % back s", figure("recovered_90_seconds"), "{:,.2f}"),
    Column("99 % back s", figure("recovered_99_seconds"), "{:,.2f}"),
    Column("all back s", figure("recovered_100_seconds"), "{:,.2f}"),
    Column("attempts that failed", figure("refused")),
    Column("never back", figure("never_back")),
]
SLOW = [
    Column("messages/s of the others", lambda run: run["rate"]["received"]),
    P50,
    P99,
    P99_9,
    Column("slow readers", figure("slow_readers")),
    Column("of them ended", figure("slow_ended")),
    Column("last ended after s", figure("slow_last_ended_seconds"), "{:,.1f}"),
    LOST,
]
