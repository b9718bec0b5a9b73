"""One case in a process of its own: ``python -m bench.case MODULE CASE`` prints JSON.

The floor takes turns with it there: a machine whose speed changes from second to second would
else make a case dearer or cheaper than it is.
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
    pair = Pair(*import_module(f"bench.peers.{module}").CASES[case]())
    figures = added(pair, Pair(*two_clocks()), rounds=rounds)
    sys.stdout.write(json.dumps(figures._asdict()) + "\n")


if __name__ == "__main__":
    main()
