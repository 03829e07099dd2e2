"""The web page's server and a browser, for the tests of the page."""

import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def web():
    pytest.importorskip("gradio", reason="the web page needs gradio: pip install -e '.[web]'")
    from zslab.app import web

    return web


@pytest.fixture(scope="module")
def browser() -> Iterator:
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, driven by playwright")
    with playwright.sync_playwright() as driver:
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        try:
            opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium that playwright can start: {str(error).splitlines()[0]}")
        yield opened
        opened.close()
