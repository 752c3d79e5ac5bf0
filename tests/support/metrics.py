"""Parses an OpenMetrics text by the reference parser, and prints its samples as JSON."""

import json
import sys

from prometheus_client.openmetrics import parser

with open(sys.argv[1], newline="") as file:
    families = list(parser.text_fd_to_metric_families(file))
json.dump(
    [
        {"name": sample.name, "labels": sample.labels, "value": sample.value, "type": family.type}
        for family in families
        for sample in family.samples
    ],
    sys.stdout,
)
