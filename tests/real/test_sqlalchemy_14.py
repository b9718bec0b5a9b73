"""SQLAlchemy 1.4 and the oslo.db of its time: all suites about them run there, too.

Both are in .cache/sqlalchemy14 (scripts/install-sqlalchemy14), apart from the rest.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".cache" / "sqlalchemy14" / "bin" / "python"
UNIT = [f"tests/integrations/test_{name}.py" for name in ("sqlalchemy", "sqlalchemy_orm")]
UNIT += [f"tests/integrations/test_{name}.py" for name in ("sqlalchemy_pools", "oslo_db")]
REAL = ["tests/real/test_databases.py"]


def passed(suites):
    """How many tests passed there; all others fail this one."""
    if not PYTHON.exists():
        pytest.fail(
            "SQLAlchemy 1.4 is not installed: run scripts/install-sqlalchemy14", pytrace=False
        )
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:nilometer"]
    # How long a statement is does not depend on SQLAlchemy, and it has no such dialect.
    chosen = ["-k", "not length_s and not async_engines_count_once"]
    done = subprocess.run(
        [PYTHON, *words, *chosen, *suites],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return int(re.search(r"(\d+) passed", done.stdout)[1])


def test_it_is_1_4_that_runs_there():
    said = subprocess.check_output(
        [PYTHON, "-c", "import sqlalchemy as s; print(s.__version__)"]
    )

    assert said.startswith(b"1.4.")


def test_the_suites_of_sqlalchemy_its_orm_and_oslo_db_hold_on_1_4():
    assert passed(UNIT) > 200


def test_the_suite_with_real_servers_holds_on_1_4():
    assert passed(REAL) > 15
