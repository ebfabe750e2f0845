"""The machine: its processors and ports, and what a process takes of it, from /proc."""

import os
import random
import re
import resource
import socket
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
# Of the descriptors that a table may have, the share that is planned for: the kernel spreads
# connections over the shards, each with a table of its own, by chance and not evenly.
TABLE_SHARE = 0.8
# Ports below this are for services that the host may run.
PORT_MIN = 10_000
PORT_ATTEMPTS = 100


def split_cpus():
    """The processors for the server and those for the generator; the same if there is only one.

    Two processors of one core are kept on one side while there are cores for both.
    """
    return split(tuple(sorted(os.sched_getaffinity(0))), siblings)


def split(cpus, siblings_of):
    """As `split_cpus`, where `siblings_of` gives the processors of a processor's core."""
    cores = sorted({tuple(sorted(siblings_of(cpu) & set(cpus))) for cpu in cpus})
    if len(cores) == 1:
        cores = [(cpu,) for cpu in cpus]
    if len(cores) == 1:
        return cpus, cpus
    half = len(cores) // 2
    sides = cores[:half], cores[half:]
    return tuple(tuple(sorted(cpu for core in side for cpu in core)) for side in sides)


def siblings(cpu):
    """The processors of the same core; only itself where the kernel does not say."""
    file = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return cpu_list(file.read_text())
    except OSError:
        return {cpu}


def cpu_list(text):
    """The processors of a list as the kernel writes it: 0-3,8."""
    found = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def shards_for(connections, cpus):
    """One shard per processor, more when the limit of descriptors asks for it."""
    _, table = resource.getrlimit(resource.RLIMIT_NOFILE)
    if table == resource.RLIM_INFINITY:
        return cpus
    return max(cpus, -(-connections // int(table * TABLE_SHARE)))


def free_port():
    """A port that nobody listens on, and that the kernel gives no client as a source port."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = range(PORT_MIN, low) if low > PORT_MIN else range(high + 1, 65_536)
    for port in random.sample(ports, min(PORT_ATTEMPTS, len(ports))):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise OSError("no free port outside of net.ipv4.ip_local_port_range: narrow that range")


def resident_bytes(pid):
    """What of the process is in memory; 0 when it is gone."""
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def cpu_seconds(pid):
    """CPU time of the process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def descriptors(pid):
    """Open descriptors of all threads, each of which may have a table of its own."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(len(list((task / "fd").iterdir())) for task in tasks)


def slab_bytes():
    """Bytes of the kernel's slab caches, where sockets and polls live."""
    return int(re.search(r"Slab:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
