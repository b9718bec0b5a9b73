"""One case in a process of its own: ``python -m bench.case MODULE CASE`` prints JSON.

The floor is measured there too, before and after: a machine whose speed changes from minute to
minute would else make a case dearer or cheaper than it is.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

from bench.pairs import ROUNDS, Pair, added
from bench.peers.floor import two_clocks


def main() -> None:
    module, case, *rest = sys.argv[1:]
    rounds = int(rest[0]) if rest else ROUNDS
    floor = Pair(*two_clocks())
    before = added(floor, rounds=rounds).thread_ns
    pair = Pair(*import_module(f"bench.peers.{module}").CASES[case]())
    figures = added(pair, rounds=rounds)._asdict()
    figures["floor_ns"] = (before + added(floor, rounds=rounds).thread_ns) / 2
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
