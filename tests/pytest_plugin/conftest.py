"""What the tests of the plugin share: nothing is heard any more when one has ended."""

from __future__ import annotations

import pytest

from nilometer.pytest_plugin.instruments import let_go
from nilometer.pytest_plugin.listening import LISTENING


@pytest.fixture(autouse=True)
def _nothing_listens():
    yield
    LISTENING.end()
    let_go()
