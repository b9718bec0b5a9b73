"""Apache Otava, run by the Python of its own environment: series in, change points out.

A JSON list of series on standard input, a JSON list of lists of indexes on standard output,
found with the settings that Otava has if nothing else is said.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    from otava.analysis import compute_change_points  # what only that environment has

    found = []
    for series in json.load(sys.stdin):
        points, _ = compute_change_points(series)
        found.append([int(point.index) for point in points])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
