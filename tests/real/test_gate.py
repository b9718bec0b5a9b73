"""The gate on real servers: silent while nothing changes, and nothing that changed is missed.

The long run, with a hundred runs without a change, is ``make bench-gate``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.gate.servers import CHANGED as CHANGED_KINDS
from bench.gate.servers import mariadb, postgresql, score
from examples.servers.databases import MariaDB, PostgreSQL, folder

if TYPE_CHECKING:
    from bench.gate.servers import Score

pytestmark = pytest.mark.real

UNCHANGED, CHANGED = 4, 2


def judged(name: str) -> Score:
    with folder() as place:
        if name == "MariaDB":
            with MariaDB(place) as server:
                return score(mariadb(server), UNCHANGED, CHANGED)
        with PostgreSQL(place, version=15) as other:
            return score(postgresql(other), UNCHANGED, CHANGED)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MariaDB", "PostgreSQL"])
def test_five_percent_more_selects_and_wider_rows_alarm_and_nothing_else_does(
    name: str,
) -> None:
    found = judged(name)

    assert found.false_alarms == ()
    assert found.seen == dict.fromkeys(CHANGED_KINDS, (CHANGED, CHANGED))
