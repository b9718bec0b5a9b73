"""Debian's Chromium, driven by Playwright, and what a page must not do in it.

Browser tests stand in modules of their own, marked `real`: while Playwright runs, no other
event loop can run in the same thread. To wait, use Playwright's `expect`: the pages' policy
forbids what `wait_for_function` does.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.sync_api import expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",  # tests run as root, where it cannot
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 360, "height": 740}
SIDEWAYS = {"width": 740, "height": 360}
PATIENCE_MS = 30_000  # a page takes a tenth of a second, on a busy machine ten

expect.set_options(timeout=PATIENCE_MS)

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@contextmanager
def chromium():
    """The browser, to be opened once for a module."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def tab(browser, url, *, scheme="light", viewport=WIDE, refused=(), **more):
    """A page in a new context, paths relative to `url`; on leaving, nothing went wrong in it.

    `refused` are statuses with which the collector is meant to refuse something, `more` what
    else the context is to be.
    """
    more |= {"base_url": url, "color_scheme": scheme, "viewport": viewport}
    with browser.new_context(locale="en-GB", timezone_id="UTC", **more) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        wrong = watch(page, url, refused)
        yield page
        assert wrong == []


def watch(page, url, refused=()):
    """What goes wrong in the page from now on: errors it logs, requests that fail, and any to
    another host."""
    wrong = []
    host = urlsplit(url).netloc

    def asked(request):
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != host:
            wrong.append(f"asked another host: {request.url}")

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # the page itself gave up, or was left
            wrong.append(f"failed: {request.url}: {request.failure}")

    def logged(message):
        if any(f"a status of {status}" in message.text for status in refused):
            return
        if message.type in ("error", "warning"):
            wrong.append(f"{message.type}: {message.text} at {message.location.get('url')}")

    page.on("request", asked)
    page.on("requestfailed", failed)
    page.on("console", logged)
    page.on("pageerror", lambda error: wrong.append(f"raised: {error}"))
    return wrong


def faults(page):
    """The serious and critical faults that axe finds: rule, and the elements that break it."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['impact']}: {one['id']}: {[node['html'][:200] for node in one['nodes'][:5]]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def is_wider_than_the_screen(page):
    """Whether one would have to scroll sideways to read the page."""
    return page.evaluate(
        "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
