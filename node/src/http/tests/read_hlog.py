"""Reads an interval log with the Python port of HdrHistogram: all of it, and each compressed histogram alone.

Prints one JSON object a line of the log: the tag, the interval, and what both ways of reading see.
"""

import json
import re
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

QUANTILES = [0, 25, 50, 90, 99, 99.9, 100]


def seen(histogram):
    return {
        "count": histogram.get_total_count(),
        "values": [histogram.get_value_at_percentile(quantile) for quantile in QUANTILES],
        "max": histogram.get_max_value(),
        "mean": histogram.get_mean_value(),
    }


path = sys.argv[1]
lines = [line.rstrip("\n") for line in open(path, encoding="utf-8")]
# What a reader that knows the published grammar alone would take for a line of an interval.
payloads = [match.group(1) for line in lines if (match := re.fullmatch(r"Tag=[^,]+,[^,]+,[^,]+,[^,]+,(.+)", line))]
reader = HistogramLogReader(path, HdrHistogram(1, 60_000_000_000, 3))
for payload in payloads:
    histogram = reader.get_next_interval_histogram()
    print(json.dumps({
        "tag": histogram.get_tag(),
        "start_ms": histogram.get_start_time_stamp(),
        "end_ms": histogram.get_end_time_stamp(),
        "in_log": seen(histogram),
        "alone": seen(HdrHistogram.decode(payload)),
    }))
assert reader.get_next_interval_histogram() is None, "the reader finds more than there are lines"
assert reader.observed_start_time and reader.observed_base_time
