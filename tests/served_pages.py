"""Fixtures for tests of the page: a server, a browser and visitors. A pytest plugin."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muse_web.client import Process, browsing, chromium, serving

__all__ = ["DONE", "MOST", "Visit", "Visitor"]

DONE = "/^(Done|Stopped)/.test(document.querySelector('.status').textContent)"
NAMES = {"midi": "Music", "audio": "Sound", "text": "Text"}
MOST = {"midi": "300", "audio": "60", "text": "10000"}


def require_chromium() -> None:
    """Skip tests without Chromium, except in CI."""
    if chromium() is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: .ci/run installs it")
        pytest.skip("no Chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("page"), "--upload-mb", "1") as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    require_chromium()
    with browsing() as found:
        yield found


class Visitor:
    """A visitor with a browser."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        # Nothing is fetched from anywhere else.
        page.on("request", lambda request: self._look_at(request.url, url))
        page.goto(url)
        self.wait_for_status("Choose how much")

    def _look_at(self, address: str, url: str) -> None:
        if not address.startswith((url, "blob:", "data:")):
            self.complaints.append(f"fetched: {address}")

    def wait_for_status(self, words: str) -> None:
        self.page.wait_for_function(
            "(words) => document.querySelector('.status')?.textContent.includes(words)", arg=words, timeout=30_000
        )

    @property
    def status(self) -> str:
        return str(self.page.inner_text(".status"))

    def choose(self, domain: str, example: str | None = None) -> None:
        if domain != "midi":
            self.page.click(f"#muse-domain label:has-text('{NAMES[domain]}')")
            self.page.wait_for_function(
                "(most) => document.querySelector('#muse-amount input[type=number]').max == most", arg=MOST[domain]
            )
        if example is not None:
            self.page.click(f".muse-prompt .chips button:has-text('{example}')")
            self.wait_for_status(example)

    def set(self, control: str, value: str) -> None:
        field = self.page.locator(f"#muse-{control} input, #muse-{control} textarea").first
        if control in ("amount", "candidates", "temperature"):
            field = self.page.locator(f"#muse-{control} input[type=number]")
        field.fill(value)
        field.press("Tab")

    def go(self) -> None:
        self.page.click("#muse-go")

    def wait_until_done(self) -> None:
        self.page.wait_for_function(DONE, timeout=60_000)

    def continue_(self, **settings: str) -> None:
        for control, value in settings.items():
            self.set(control, value)
        self.page.evaluate("document.querySelector('.status').textContent = ''")
        self.go()
        self.wait_until_done()

    def download(self, name: str) -> tuple[str, bytes]:
        with self.page.expect_download() as download:
            self.page.click(f".download-row button >> text='{name}'")
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def problem(self) -> str:
        self.page.wait_for_selector(".problem:not([hidden])")
        return str(self.page.inner_text(".problem"))


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Any, served: Process) -> Iterator[Visit]:
    """Yield visitors with a browser context each; afterwards all consoles and the log must be empty."""
    visitors, before = [], served.log.read_text()

    def come(width: int = 1280, height: int = 900, scheme: str = "light") -> Visitor:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        visitors.append(Visitor(context.new_page(), served.url))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.page.context.close()
        assert visitor.complaints == []
    assert served.log.read_text()[len(before) :] == ""
