"""Reads an interval log with the reader of HdrHistogram's Python version.

    read_hlog.py FILE

Prints for each tag ("" for lines without one) how many lines there are, how many values they
count together, and percentiles of these in nanoseconds.
"""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader


def histogram():
    return HdrHistogram(1, 1_000_000_000_000, 3)


def main():
    reader = HistogramLogReader(sys.argv[1], histogram())
    sums, lines = {}, {}
    while (interval := reader.get_next_interval_histogram()) is not None:
        tag = interval.get_tag() or ""
        sums.setdefault(tag, histogram()).add(interval)
        lines[tag] = lines.get(tag, 0) + 1
    print(json.dumps({
        tag: {
            "lines": lines[tag],
            "count": total.get_total_count(),
            "p50": total.get_value_at_percentile(50),
            "p99": total.get_value_at_percentile(99),
            "max": total.get_max_value(),
        }
        for tag, total in sums.items()
    }))


main()
