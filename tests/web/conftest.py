"""Chromium for the tests of pages."""

import os
import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Chromium, driven by Playwright; of the test extra, but its system packages are not pip's."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        # as root it runs only without its sandbox; it sees pages of this machine alone
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser) -> Iterator:
    """A function that opens a page in a browser of its own, as another person has one."""
    contexts = []
    errors = []

    def open_page(url, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors
