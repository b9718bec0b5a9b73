"""What reading four real backends costs: the whole process, from its start to its end.

    .venv/bin/python -m bench.collect [RUNS]

Starts MariaDB, PostgreSQL, RabbitMQ and Redis, and runs `os-collect-counters` and `nilometer
counters collect` on all four, by turns with an interpreter that does nothing: the floor. All
are compiled into a folder once, as they are where they are installed.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from examples.servers import brokers, databases
from nilometer.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RUNS: Final = 20
WALL_MS_MAX: Final = 150  # the target of either, on a machine that does nothing else
MEMORY_MB_MAX: Final = 60
FLOOR: Final = "python -c pass"


class Cost(NamedTuple):
    """Of one process: time by the wall, CPU time, and the most memory it held."""

    wall_ms: float
    cpu_ms: float
    memory_mb: float


def compiled_into(folder: str) -> dict[str, str]:
    """Our environment, in which Python keeps what it compiled, and there."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def cost_of(command: Sequence[str], environment: Mapping[str, str], clock: Clock) -> Cost:
    """Run a command, its output to nobody. Raises RuntimeError if it fails."""
    sink = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began_ns = clock.elapsed_ns()
    pid = os.posix_spawn(command[0], command, environment, file_actions=sink)
    _, status, used = os.wait4(pid, 0)
    wall_ns = clock.elapsed_ns() - began_ns
    if status:
        raise RuntimeError(
            f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}"
        )
    return Cost(wall_ns / 1e6, (used.ru_utime + used.ru_stime) * 1e3, used.ru_maxrss / 1024)


def servers(stack: ExitStack) -> Iterator[str]:
    """Start the four; gives the URL of each."""
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nilo-")))
    place.chmod(0o755)
    yield stack.enter_context(databases.MariaDB(place / "mariadb")).url
    yield stack.enter_context(databases.PostgreSQL(place / "postgresql", version=15)).url
    rabbitmq = stack.enter_context(brokers.RabbitMQ(place / "rabbitmq"))
    yield f"rabbitmq://guest:guest@127.0.0.1:{rabbitmq.prometheus_port}?api=127.0.0.1:{rabbitmq.api_port}"
    redis = stack.enter_context(brokers.Redis(place / "redis"))
    yield f"redis://127.0.0.1:{redis.port}"


def main(runs: int = RUNS) -> int:
    """Print a table; the exit code is 1 if a target is missed."""
    clock = Clock()
    with ExitStack() as stack:
        flags = [word for url in servers(stack) for word in ("--backend", url)]
        commands = {
            FLOOR: ["-c", "pass"],
            "os-collect-counters": ["-m", "nilometer.cli.os_collect_counters", *flags],
            "nilometer counters collect": ["-m", "nilometer", "counters", "collect", *flags],
        }
        found: dict[str, list[Cost]] = {name: [] for name in commands}
        environment = compiled_into(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="nilo-"))
        )
        for _ in range(runs + 1):  # the first fills caches of files, and does not count
            for name, words in commands.items():
                found[name].append(cost_of([sys.executable, *words], environment, clock))
    print(f"| of {runs} | wall, least | median | CPU, median | memory, most |")
    print("|---|---|---|---|---|")
    for name, costs in found.items():
        wall, cpu, memory = (list(column) for column in zip(*costs[1:], strict=True))
        print(
            f"| `{name}` | {min(wall):.0f} ms | {statistics.median(wall):.0f} ms "
            f"| {statistics.median(cpu):.0f} ms | {max(memory):.0f} MB |"
        )
    ours = [costs[1:] for name, costs in found.items() if name != FLOOR]
    is_met = all(
        min(c.wall_ms for c in costs) < WALL_MS_MAX
        and max(c.memory_mb for c in costs) < MEMORY_MB_MAX
        for costs in ours
    )
    print(f"\ntarget, {WALL_MS_MAX} ms and {MEMORY_MB_MAX} MB: {'met' if is_met else 'missed'}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
