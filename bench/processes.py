"""What measuring adds to real processes: CPU time of both, ``python -m bench.processes``.

One that is forked takes a millisecond or more, and more or less of it than `make bench` could
tell apart in its calling thread. In a child all is done for the first time, in memory that it
has to copy first, which no loop of calls shows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from resource import RUSAGE_CHILDREN, RUSAGE_SELF
from statistics import median, quantiles

from bench.threads import work
from nilometer.integrations import multiprocessing as ours

SIDE = 40  # processes
ROUNDS = 31


def cpu_us() -> float:
    """Of this process, and of all children that it has joined."""
    both = [resource.getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return 1e6 * sum(one.ru_utime + one.ru_stime for one in both)


def side() -> float:
    """CPU time of one process, in microseconds, made and started and joined."""
    process = multiprocessing.get_context("fork").Process
    before = cpu_us()
    for _ in range(SIDE):
        one = process(target=work)
        one.start()
        one.join()
    return (cpu_us() - before) / SIDE


def measured() -> float:
    """The same with the integration in its place."""
    ours.install()
    try:
        return side()
    finally:
        ours.uninstall()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    rounds = parser.parse_args().rounds
    side()
    bare, added = [], []
    for _ in range(rounds):
        bare.append(side())
        added.append(measured() - bare[-1])
    low, _, high = quantiles(added, n=4)
    print(
        f"a process that is forked: {median(bare):,.0f} us of CPU time, and ours "
        f"{median(added):,.0f} more (half of the rounds from {low:,.0f} to {high:,.0f})"
    )


if __name__ == "__main__":
    main()
