"""One case in a process of its own: ``python -m bench.case MODULE CASE`` prints JSON."""

from __future__ import annotations

import json
import sys
from importlib import import_module

from bench.pairs import ROUNDS, Pair, added


def main() -> None:
    module, case, *rest = sys.argv[1:]
    pair = Pair(*import_module(f"bench.peers.{module}").CASES[case]())
    rounds = int(rest[0]) if rest else ROUNDS
    sys.stdout.write(json.dumps(added(pair, rounds=rounds)._asdict()) + "\n")


if __name__ == "__main__":
    main()
