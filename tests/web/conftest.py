"""A browser and a collector for whoever looks at pages; both live as long as a test module."""

from __future__ import annotations

import pytest

from tests.collector import Collector


@pytest.fixture(scope="module")
def browser():
    """Chromium."""
    from tests.web.browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A collector on the tables of `seeded`, for everybody of this machine."""
    from tests.web import seeded

    folder = tmp_path_factory.mktemp("seeded")
    seeded.write(folder / "store")
    with Collector(folder, statsd="off") as collector:
        yield collector


@pytest.fixture
def page(browser, seeded):
    """A tab at that collector; the test fails if anything goes wrong in it."""
    from tests.web.browser import tab

    with tab(browser, seeded.url) as page:
        yield page
